//! The old scp protocol in an image that has no scp: real clients, and peers that lie. Needs root.

use crate::copies::{client, place, succeed};
use crate::rig::{PATIENCE, Server, Setup};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const GBK: &[u8] = b"\xd6\xd0\xce\xc4";

/// A server whose image has no scp: nothing is on the PATH but what berth puts there.
fn start() -> Server {
    let server = Setup { environment: &[("PATH", "/nowhere")], ..Setup::default() }.start();
    place_scp(&server);
    server
}

fn place_scp(server: &Server) {
    let programs = server.dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(server.dir.path().join("berth"), programs.join("scp")).unwrap();
}

fn make_tree(at: &Path) {
    fs::create_dir_all(at.join("sub/deep")).unwrap();
    fs::create_dir(at.join("read-only")).unwrap();
    fs::write(at.join("read-only/file"), "r").unwrap();
    fs::write(at.join(OsStr::from_bytes(GBK)), "gbk").unwrap();
    fs::write(at.join("sub/a name 'with\" $(quotes)"), "q").unwrap();
    fs::write(at.join("sub/deep/empty"), "").unwrap();
    fs::write(at.join("big"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    fs::set_permissions(at.join("big"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(at.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    succeed(Command::new("diff").arg("-r").arg(one).arg(other));
}

#[test]
fn an_image_without_scp_has_ours_and_one_with_it_keeps_its_own() {
    let server = start();
    let ours = server.dir.path().join("programs/scp");
    assert_eq!(server.text("command -v scp").trim(), ours.to_str().unwrap());
    let output = server.run("scp a host:b");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a client"), "{output:?}");
    let usual = Setup { environment: &[("PATH", "/usr/bin:/bin")], ..Setup::default() }.start();
    place_scp(&usual);
    assert_eq!(usual.text("command -v scp").trim(), "/usr/bin/scp");
}

#[test]
fn trees_come_back_as_they_went() {
    let server = start();
    let dir = server.dir.path();
    make_tree(&dir.join("tree"));
    let remote = dir.join("remote");
    let there = place(&server, remote.to_str().unwrap());
    succeed(client(&server, "scp").args(["-O", "-q", "-r", "-p"]).arg(dir.join("tree")).arg(&there));
    same(&dir.join("tree"), &remote);
    succeed(client(&server, "scp").args(["-O", "-q", "-r", "-p", &there, "back"]));
    same(&dir.join("tree"), &dir.join("back"));
    for copy in ["remote", "back"] {
        let meta = |root: &str, file: &str| {
            let meta = fs::metadata(dir.join(root).join(file)).unwrap();
            (meta.mode(), meta.mtime())
        };
        for file in ["big", "sub", "read-only", "read-only/file"] {
            assert_eq!(meta("tree", file), meta(copy, file), "{copy}/{file}");
        }
    }
    // Into a directory that is there, the tree gets its own name.
    succeed(client(&server, "scp").args(["-O", "-q", "-r"]).arg(dir.join("tree/sub")).arg(&there));
    same(&dir.join("tree/sub"), &remote.join("sub"));
}

#[test]
fn single_files_patterns_and_dropbear() {
    let server = start();
    let dir = server.dir.path();
    fs::create_dir(dir.join("from")).unwrap();
    for name in ["a.txt", "b.txt", "c.dat"] {
        fs::write(dir.join("from").join(name), name.repeat(1000)).unwrap();
    }
    fs::create_dir(dir.join("to")).unwrap();
    let pattern = place(&server, &format!("{}/*.txt", dir.join("from").display()));
    succeed(client(&server, "scp").args(["-O", "-q", &pattern, "to"]));
    assert!(dir.join("to/a.txt").exists() && dir.join("to/b.txt").exists() && !dir.join("to/c.dat").exists());
    // A shorter file over a longer one.
    fs::write(dir.join("over"), "x".repeat(100_000)).unwrap();
    let over = place(&server, dir.join("over").to_str().unwrap());
    succeed(client(&server, "scp").args(["-O", "-q", "from/a.txt", &over]));
    same(&dir.join("over"), &dir.join("from/a.txt"));
    // dropbear's client is started by OpenSSH's scp, as PuTTY's pscp would start its own.
    let key = dir.join("dropbear");
    succeed(Command::new("dropbearconvert").args(["openssh", "dropbear"]).arg(server.key()).arg(&key));
    let wrapper = dir.join("dbclient");
    let script = format!(
        "#!/bin/sh\nwhile [ \"${{1#-}}\" != \"$1\" ]; do case $1 in --) ;; -[loi]) shift ;; esac; shift; done\n\
         shift\nexec dbclient -y -y -i {} -p {} root@127.0.0.1 \"$@\" 2>/dev/null\n",
        key.display(),
        server.port
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut scp = Command::new("timeout");
    scp.arg(PATIENCE.as_secs().to_string()).args(["scp", "-O", "-q", "-S"]).arg(&wrapper);
    succeed(scp.current_dir(dir).args(["from/c.dat", &place(&server, dir.join("db").to_str().unwrap())]));
    same(&dir.join("db"), &dir.join("from/c.dat"));
}

#[test]
fn what_cannot_be_copied_is_said_and_the_rest_is_copied() {
    let server = start();
    let dir = server.dir.path();
    fs::create_dir(dir.join("from")).unwrap();
    fs::write(dir.join("from/good"), "good").unwrap();
    nix::unistd::mkfifo(&dir.join("from/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("loop", dir.join("from/loop")).unwrap();
    let from = place(&server, dir.join("from").to_str().unwrap());
    let output = client(&server, "scp").args(["-O", "-r", &from, "to"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("fifo: not a regular file"), "{said}");
    assert!(said.contains("loop: Too many") || said.contains("loop: Symbolic link loop"), "{said}");
    assert_eq!(fs::read(dir.join("to/good")).unwrap(), b"good");
    let directory = client(&server, "scp").args(["-O", &from, "to2"]).output().unwrap();
    assert!(String::from_utf8_lossy(&directory.stderr).contains("not a regular file"), "{directory:?}");
    let nowhere = place(&server, "/no/such/dir/file");
    let output = client(&server, "scp").args(["-O", "from/good", &nowhere]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file or directory"), "{output:?}");
}

/// `berth inside scp` with these arguments and this input, in this directory.
fn talk(dir: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).args([env!("CARGO_BIN_EXE_berth"), "inside", "scp"]);
    command.args(arguments).current_dir(dir);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have refused before it read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_sender_that_lies_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("dir");
    fs::create_dir(&dir).unwrap();
    for (arguments, input, answer) in [
        ("-t .", "C0644 1 ../evil\nx", "\0\u{1}scp: error: unexpected filename: ../evil\n"),
        ("-t .", "C0644 1 /evil\nx", "\0\u{1}scp: error: unexpected filename: /evil\n"),
        ("-rt .", "D0755 0 ..\n", "\0\u{1}scp: error: unexpected filename: ..\n"),
        ("-t .", "D0755 0 d\n", "\0\u{1}scp: protocol error: received directory without -r\n"),
        ("-t .", "hello\n", "\0\u{1}scp: hello\n"),
        ("-t .", "T1 0 1 0\nhello\n", "\0\0\u{1}scp: protocol error: expected control record\n"),
        ("-t .", "C0644 99999999999999999999999 x\n", "\0\u{1}scp: C0644 99999999999999999999999 x\n"),
        ("-t .", "C0644 9 x\nshort", "\0\0\u{1}scp: dropped connection\n"),
        ("-dt nothing", "", "\u{1}scp: nothing: No such file or directory\n"),
    ] {
        let output = talk(&dir, &arguments.split(' ').collect::<Vec<_>>(), input.as_bytes());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((said.as_str(), output.status.code()), (answer, Some(1)), "{input:?}");
    }
    let long = talk(&dir, &["-t", "."], &vec![b'C'; 1 << 20]);
    assert_eq!(String::from_utf8_lossy(&long.stdout), "\0\u{1}scp: protocol error: line too long\n");
    assert!(!root.path().join("evil").exists() && !Path::new("/evil").exists());
}

#[test]
fn a_directory_without_end_ends_at_the_longest_path() {
    let root = tempfile::tempdir().unwrap();
    let output = talk(root.path(), &["-rt", "."], "D0755 0 a\n".repeat(100_000).as_bytes());
    assert!(output.stdout.windows(18).any(|part| part == b"File name too long"), "{:?}", output.status);
    assert!(output.status.code().is_some_and(|code| code < 2), "{:?}", output.status);
}

#[test]
fn setuid_comes_only_with_preserve() {
    let root = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().mode() & 0o7777;
    talk(root.path(), &["-t", "."], b"C6755 1 plain\nx\0");
    talk(root.path(), &["-pt", "."], b"T7 0 8 0\nC6755 1 kept\nx\0");
    assert_eq!((mode("plain"), mode("kept")), (0o755, 0o6755));
    let kept = fs::metadata(root.path().join("kept")).unwrap();
    assert_eq!((kept.mtime(), kept.atime()), (7, 8));
}
