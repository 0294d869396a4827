//! `berth inside sftp` and a client that means no good: absurd lengths, false handles, noise, no reading. Needs root.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);
const NOBODY: u32 = 65534;

/// The most memory a session may ever need, in KiB: its two buffers, its tables, the program.
const MEMORY: u64 = 24 << 10;

struct Sftp {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Sftp {
    /// As nobody, in a directory of nobody's, with files of at most 16 MiB: what noise asks for may be done.
    fn start(dir: &tempfile::TempDir) -> Self {
        std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let script = "ulimit -f 32768; trap '' XFSZ; exec \"$0\" inside sftp";
        let mut child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_berth")])
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn greeted(dir: &tempfile::TempDir) -> Self {
        let mut sftp = Self::start(dir);
        sftp.send(&packet(1, 3, &[]));
        assert_eq!(sftp.answer()[..5], [2, 0, 0, 0, 3]);
        sftp
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.output.read_exact(&mut answer).unwrap();
        answer
    }

    /// The status code and the message that come for this request.
    fn status(&mut self, request: &[u8]) -> (u32, String) {
        self.send(request);
        let answer = self.answer();
        assert_eq!(answer[0], 101, "{answer:?}");
        let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        let message = &answer[13..13 + number(9) as usize];
        (number(5), String::from_utf8_lossy(message).into_owned())
    }

    fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Ends the requests; the exit status and what was said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn packet(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
    let body = [&[kind], id.to_be_bytes().as_slice(), &fields.concat()].concat();
    [u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(), &body].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text].concat()
}

fn open(id: u32, path: &str, flags: u32) -> Vec<u8> {
    packet(3, id, &[&string(path.as_bytes()), &flags.to_be_bytes(), &[0; 4]])
}

#[test]
fn an_absurd_length_ends_the_session_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for length in [0_u32, 4, 263_169, 1 << 30, u32::MAX] {
        let mut sftp = Sftp::greeted(&dir);
        sftp.send(&[length.to_be_bytes().as_slice(), &[1; 100]].concat());
        let (status, said) = sftp.end();
        assert_eq!(status, Some(2), "{length}: {said}");
        assert!(said.contains(&format!("a packet of {length} bytes was announced")), "{said}");
    }
    let mut early = Sftp::start(&dir);
    early.send(&open(1, "x", 1));
    let (status, said) = early.end();
    assert!(status == Some(2) && said.contains("did not start with its version"), "{said}");
}

#[test]
fn requests_that_make_no_sense_get_a_reason_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut sftp = Sftp::greeted(&dir);
    for handle in [&b""[..], b"x", &[0; 8], &[255; 8], &[7; 1000]] {
        let handle = string(handle);
        assert_eq!(sftp.status(&packet(5, 1, &[&handle, &[0; 12]])), (4, "there is no such handle".into()));
        assert_eq!(sftp.status(&packet(4, 1, &[&handle])), (4, "there is no such handle".into()));
    }
    for (request, code, message) in [
        (packet(3, 1, &[]), 5, "the packet ends in the middle of a field"),
        (packet(17, 1, &[&string(b"a\0b")]), 5, "a path contains a NUL byte"),
        (packet(17, 1, &[&string(&[b'x'; 5000])]), 5, "a path is longer than 4096 bytes"),
        (packet(17, 1, &[&string(&[b'x'; 300])]), 5, "File name too long"),
        (packet(17, 1, &[&[255; 4]]), 5, "the packet ends in the middle of a field"),
        (
            packet(9, 1, &[&string(b"x"), &[0x80, 0, 0, 0, 255, 255, 255, 255]]),
            5,
            "more than 64 extended attributes",
        ),
        (packet(99, 1, &[]), 8, "requests of type 99 are not supported"),
        (packet(200, 1, &[&string(b"evil@example")]), 8, "this extension is not supported"),
        (packet(17, 1, &[&string(b"nothing")]), 2, "No such file or directory"),
    ] {
        assert_eq!(sftp.status(&request), (code, message.to_owned()));
    }
    assert_eq!(sftp.end(), (Some(0), String::new()));
}

#[test]
fn a_hundred_thousand_open_files_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let mut sftp = Sftp::greeted(&dir);
    let (mut opened, mut refused) = (0, 0);
    for batch in 0..100_u32 {
        let requests: Vec<u8> = (0..1000).flat_map(|at| open(batch * 1000 + at, "file", 1)).collect();
        sftp.send(&requests);
        for _ in 0..1000 {
            match sftp.answer()[0] {
                102 => opened += 1,
                _ => refused += 1,
            }
        }
    }
    assert!(opened > 500 && opened <= 16 << 10 && opened + refused == 100_000, "{opened} were opened");
    let (code, message) = sftp.status(&open(1, "new", 0x1a));
    assert!(code == 4 && message.ends_with("files are open, which is the limit"), "{message}");
    assert!(!dir.path().join("new").exists(), "a file that could not be opened was made");
    assert!(sftp.peak_memory() < MEMORY, "{} KiB", sftp.peak_memory());
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; 4 << 20]).unwrap();
    let mut sftp = Sftp::greeted(&dir);
    sftp.send(&open(1, "file", 1));
    let handle = sftp.answer()[5..].to_vec();
    let read = packet(5, 2, &[&handle, &0_u64.to_be_bytes(), &u32::MAX.to_be_bytes()]);
    let input = sftp.input.take().unwrap();
    rustix::io::ioctl_fionbio(&input, true).unwrap();
    let (many, mut sent, mut quiet) = (read.repeat(1000), 0, Instant::now());
    // As long as it takes anything, within reason.
    while quiet.elapsed() < Duration::from_secs(1) && sent < 100 << 20 {
        match rustix::io::write(&input, &many[sent % read.len()..]) {
            Ok(count) => (sent, quiet) = (sent + count, Instant::now()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    assert!(sent < 8 << 20, "{sent} bytes of requests were taken");
    assert!(sftp.peak_memory() < MEMORY, "{} KiB", sftp.peak_memory());
    // When the client is gone the session ends, without a word.
    drop(input);
    drop(sftp.output);
    let ended = sftp.child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

/// Bytes that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }
    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// One field that could stand in a request.
    fn field(&mut self) -> Vec<u8> {
        let paths: [&[u8]; 9] = [b"a", b"b", b"d", b"d/c", b".", b"..", b"~", b"", b"\xd6\xd0"];
        match self.below(7) {
            0..=2 => string(self.of(&paths)),
            // Handles of the first files and directories.
            3 => {
                let number = u8::try_from(self.below(6)).unwrap();
                string(&[0, 0, 0, number, 0, 0, 0, number + 1])
            }
            4 => u32::try_from(self.below(64)).unwrap().to_be_bytes().to_vec(),
            5 => (self.next() >> self.below(31)).to_be_bytes().to_vec(),
            _ => {
                let length = self.below(40);
                (0..length).map(|_| self.byte()).collect()
            }
        }
    }

    fn request(&mut self) -> Vec<u8> {
        let extensions: [&[u8]; 11] = [
            b"posix-rename@openssh.com",
            b"statvfs@openssh.com",
            b"fstatvfs@openssh.com",
            b"hardlink@openssh.com",
            b"fsync@openssh.com",
            b"lsetstat@openssh.com",
            b"limits@openssh.com",
            b"expand-path@openssh.com",
            b"copy-data",
            b"home-directory",
            b"users-groups-by-id@openssh.com",
        ];
        let mut fields = Vec::new();
        let kind = match self.below(10) {
            0 => self.byte(),
            1 | 2 => {
                fields.push(string(self.of(&extensions)));
                200
            }
            _ => 3 + u8::try_from(self.below(18)).unwrap(),
        };
        for _ in 0..self.below(6) {
            fields.push(self.field());
        }
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let id = u32::try_from(self.next() & 0xffff_ffff).unwrap();
        let mut request = packet(kind, id, &fields);
        // Flips of bits behind the length, which is tried elsewhere; now and then in it.
        for _ in 0..self.below(3) {
            let from = if self.below(2000) == 0 { 0 } else { 4 };
            let at = from + self.below(request.len() - from);
            request[at] ^= 1 << self.below(8);
        }
        request
    }
}

#[test]
fn noise_gets_answers_and_nothing_else() {
    const REQUESTS: usize = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let mut noise = Noise(3);
    let (mut sent, mut answers, mut sessions) = (0, 0_usize, 0);
    let started = Instant::now();
    while sent < REQUESTS {
        sessions += 1;
        fs::write(dir.path().join("a"), "x".repeat(10_000)).unwrap_or_default();
        let mut sftp = Sftp::greeted(&dir);
        let mut input = sftp.input.take().unwrap();
        let batch: Vec<u8> = (0..REQUESTS / 10).flat_map(|_| noise.request()).collect();
        sent += REQUESTS / 10;
        let writer = std::thread::spawn(move || drop(input.write_all(&batch)));
        let mut all = Vec::new();
        sftp.output.read_to_end(&mut all).unwrap();
        writer.join().unwrap();
        let ended = sftp.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        // Cut short by a length that cannot be meant, or not at all.
        let fine = ended.status.success() && said.is_empty()
            || ended.status.code() == Some(2) && said.contains("was announced");
        assert!(fine, "{:?}: {said}", ended.status);
        let mut rest = all.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk() {
            rest = &behind[u32::from_be_bytes(*length) as usize..];
            answers += 1;
        }
        assert!(started.elapsed() < PATIENCE, "{sent} requests took too long");
    }
    assert!(answers > REQUESTS / 4, "{answers} answers in {sessions} sessions");
}
