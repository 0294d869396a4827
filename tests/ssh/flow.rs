//! Uploads beside a reader that is slow or has stopped, over one connection, with the real client. Needs root and ssh.

use crate::rig::{Server, Setup, has_changed_russh, wait_until};
use std::fs::File;
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Longer than an upload takes on a busy machine; beside a reader that holds it up it would take hours.
const SOON: Duration = Duration::from_secs(20);

/// One connection that clients share.
struct Shared {
    server: Server,
    option: String,
    master: Child,
}

impl Shared {
    fn start() -> Self {
        let server = Setup::default().start();
        let control = server.dir.path().join("control");
        let option = format!("ControlPath={}", control.display());
        let master = server.client(&["-M", "-N", "-o", &option], &[]).stdin(Stdio::null()).spawn().unwrap();
        wait_until("the connection is there", || control.exists());
        Self { server, option, master }
    }

    fn client(&self, command: &str) -> Command {
        self.server.client(&["-o", &self.option, "-o", "ControlMaster=no"], &[command])
    }

    /// A client that sends zeros as long as somebody takes them.
    fn sends_to(&self, command: &str) -> Child {
        let zeros = File::open("/dev/zero").unwrap();
        self.client(command).stdin(zeros).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// How long an upload of 100 MiB takes.
    fn upload(&self) -> Duration {
        let file = self.server.dir.path().join("upload");
        File::create(&file).unwrap().set_len(100 * MIB).unwrap();
        let began = Instant::now();
        let output = self.client("wc -c").stdin(File::open(&file).unwrap()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (100 * MIB).to_string());
        began.elapsed()
    }

    /// A client of SFTP with these commands.
    fn sftp(&self, commands: &str) -> Child {
        let batch = self.server.dir.path().join("commands");
        std::fs::write(&batch, commands).unwrap();
        let mut sftp = Command::new("sftp");
        sftp.args(["-q", "-F", "none", "-o", &self.option, "-o", "ControlMaster=no", "-b"]).arg(&batch);
        sftp.arg(format!("{}@127.0.0.1", self.server.user)).stdout(Stdio::null()).spawn().unwrap()
    }

    /// How often the client has looked for packets of the server.
    fn reads(&self) -> u64 {
        let counted = std::fs::read_to_string(format!("/proc/{}/io", self.client_pid())).unwrap();
        let line = counted.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        line.parse().unwrap()
    }

    /// `timeout` has started it.
    fn client_pid(&self) -> String {
        let timeout = self.master.id();
        let children = std::fs::read_to_string(format!("/proc/{timeout}/task/{timeout}/children")).unwrap();
        children.trim().to_owned()
    }

    fn forward(&self, which: &str, from: u16, to: u16) {
        let spec = format!("127.0.0.1:{from}:127.0.0.1:{to}");
        let options = ["-O", "forward", which, &spec, "-o", &self.option];
        assert!(self.server.client(&options, &[]).status().unwrap().success());
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.server.client(&["-O", "exit", "-o", &self.option], &[]).output();
        let _ = self.master.wait();
    }
}

/// The number that a session's program wrote into a file.
fn pid_in(path: &std::path::Path) -> nix::unistd::Pid {
    wait_until("the reader runs", || std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n')));
    nix::unistd::Pid::from_raw(std::fs::read_to_string(path).unwrap().trim().parse().unwrap())
}

#[test]
fn readers_that_are_slow_or_have_stopped_hold_up_no_upload_and_their_memory_goes_back() {
    let shared = Shared::start();
    let alone = shared.upload();
    let before = shared.resident();
    let dir = shared.server.dir.path();
    let (stopped, slow) = (dir.join("stopped"), dir.join("slow"));
    let mut stopped_client = shared.sends_to(&format!("echo $$ > {}; exec sleep 1000", stopped.display()));
    let stopped = pid_in(&stopped);
    let beside_stopped = shared.upload();
    let mut slow_client = shared.sends_to(&format!(
        "echo $$ > {}; while head -c 50000 > /dev/null; do sleep 0.01; done",
        slow.display()
    ));
    let slow = pid_in(&slow);
    let beside_both = shared.upload();
    eprintln!("alone {alone:?}, beside a stopped reader {beside_stopped:?}, and a slow one {beside_both:?}");
    assert!(beside_stopped < alone * 4 + SOON && beside_both < alone * 4 + SOON);
    let held = shared.resident();
    for reader in [stopped, slow] {
        nix::sys::signal::kill(reader, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    stopped_client.wait().unwrap();
    slow_client.wait().unwrap();
    let after = shared.upload();
    eprintln!("after them {after:?}; resident {before}, {held} with them, {} after", shared.resident());
    assert!(after < alone * 4 + SOON);
    wait_until("their memory is given back", || shared.resident() < before + 8 * MIB);
}

#[test]
fn a_connection_recovers_as_soon_as_the_program_that_did_not_read_has_ended() {
    let shared = Shared::start();
    let alone = shared.upload();
    let readers: Vec<(Child, nix::unistd::Pid)> = (0..10)
        .map(|number| {
            let path = shared.server.dir.path().join(number.to_string());
            (shared.sends_to(&format!("echo $$ > {}; exec sleep 1000", path.display())), pid_in(&path))
        })
        .collect();
    if has_changed_russh() {
        // Each has a window of its own: what many of them cost has a bound.
        let beside_ten = shared.upload();
        eprintln!("alone {alone:?}, beside ten readers that have stopped {beside_ten:?}");
        assert!(beside_ten < alone * 4 + Duration::from_secs(5));
    }
    for (mut client, reader) in readers {
        nix::sys::signal::kill(reader, nix::sys::signal::Signal::SIGKILL).unwrap();
        client.wait().unwrap();
    }
    let began = Instant::now();
    let output =
        shared.client("head -c 1000000 | wc -c").stdin(File::open("/dev/zero").unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1000000");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_reader_that_has_stopped_is_not_asked_for_again_and_again() {
    if !has_changed_russh() {
        return;
    }
    let shared = Shared::start();
    let file = shared.server.dir.path().join("stopped");
    let mut client = shared.sends_to(&format!("echo $$ > {}; exec sleep 1000", file.display()));
    let reader = pid_in(&file);
    // Long enough for what may wait for the other.
    shared.upload();
    let before = shared.reads();
    assert!(shared.client("sleep 2").output().unwrap().status.success());
    let reads = shared.reads() - before;
    assert!(reads < 60, "{reads} reads while nothing but a session came and went");
    nix::sys::signal::kill(reader, nix::sys::signal::Signal::SIGKILL).unwrap();
    client.wait().unwrap();
}

/// More than windows and a pipe take while nobody reads,
const REST: usize = 6 << 20;
/// and the buffers of two sockets.
const TUNNEL_REST: usize = 32 << 20;

/// Ends when all was taken from it.
fn sender(mut to: impl Write + Send + 'static, bytes: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || to.write_all(&vec![0; bytes]).unwrap())
}

#[test]
fn readers_that_stopped_and_go_on_get_the_rest_however_many_they_are() {
    let shared = Shared::start();
    let (go, dropped) = (shared.server.dir.path().join("go"), shared.server.dir.path().join("dropped"));
    let when_told = format!("while [ ! -e {} ]; do sleep 0.2; done", go.display());
    let start = |then: &str| {
        let mut client = shared.client(&format!("{when_told}; {then}"));
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let sender = sender(client.stdin.take().unwrap(), REST);
        (client, sender)
    };
    let before = shared.resident();
    // With so many, more waits than a connection may have before all its windows are small.
    let sessions: Vec<_> = (0..24).map(|_| start("wc -c")).collect();
    let closes = start(&format!("exec 0<&-; while [ ! -e {} ]; do sleep 0.2; done", dropped.display()));
    let tunnels = tunnels(&shared);
    wait_until("too much waits", || shared.resident() > before + 60 * MIB);
    assert!(sessions.iter().chain([&closes]).all(|(_, sender)| !sender.is_finished()));
    assert!(tunnels.iter().all(|(_, sender)| !sender.is_finished()));

    File::create(&go).unwrap();
    closes.1.join().unwrap();
    File::create(&dropped).unwrap();
    for (mut socket, sender) in tunnels {
        let mut got = Vec::new();
        socket.read_to_end(&mut got).unwrap();
        sender.join().unwrap();
        assert_eq!(got.len(), TUNNEL_REST);
    }
    for (client, sender) in sessions {
        let output = client.wait_with_output().unwrap();
        sender.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), REST.to_string());
    }
    assert!(closes.0.wait_with_output().unwrap().status.success());
}

/// A forward each way, with the end at the server where nobody reads yet, and who sends there.
fn tunnels(shared: &Shared) -> Vec<(TcpStream, thread::JoinHandle<()>)> {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let free = || port(&listen());
    let (here, there) = (listen(), listen());
    let (local, remote) = (free(), free());
    shared.forward("-L", local, port(&there));
    shared.forward("-R", remote, port(&here));
    let from_client = sender(TcpStream::connect(("127.0.0.1", local)).unwrap(), TUNNEL_REST);
    let from_client = (there.accept().unwrap().0, from_client);
    let socket = TcpStream::connect(("127.0.0.1", remote)).unwrap();
    let to_client = (socket, sender(here.accept().unwrap().0, TUNNEL_REST));
    vec![from_client, to_client]
}

#[test]
fn the_memory_of_downloads_and_of_sftp_goes_back() {
    let shared = Shared::start();
    let dir = shared.server.dir.path();
    let file = dir.join("file");
    File::create(&file).unwrap().set_len(40 * MIB).unwrap();
    let commands = format!("get {0} {0}-here\nput {0} {0}-there\n", file.display());
    let transfers = || {
        let mut clients: Vec<Child> = (0..4)
            .map(|_| {
                let zeros = shared.client("head -c 40000000 /dev/zero").stdout(Stdio::null()).spawn();
                zeros.unwrap()
            })
            .collect();
        clients.push(shared.sftp(&commands));
        for client in &mut clients {
            assert!(client.wait().unwrap().success());
        }
        // Readers that stop and go away: what was on its way to them is dropped.
        let stopped: Vec<Child> =
            (0..4).map(|_| shared.client("cat /dev/zero").stdout(Stdio::piped()).spawn().unwrap()).collect();
        for mut client in stopped {
            let mut first = [0];
            client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
            client.kill().unwrap();
            client.wait().unwrap();
        }
    };
    // What a first login and a first transfer load stays.
    shared.client("true").output().unwrap();
    let before = shared.resident();
    for _ in 0..3 {
        transfers();
    }
    eprintln!("resident {before}, {} after", shared.resident());
    wait_until("their memory is given back", || shared.resident() < before + 12 * MIB);
}
