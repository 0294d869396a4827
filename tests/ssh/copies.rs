//! Clients that copy files, started against the rig's server.

use crate::rig::{PATIENCE, Server};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The system's Python: another one on the PATH would not see Debian's packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// `sftp`, `scp` or `sshfs` with what they need to get in. Only the first words; the rest is the caller's.
pub fn client(server: &Server, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program);
    if program != "sshfs" {
        command.args(["-F", "none"]);
    }
    for option in options(server) {
        command.args(["-o", &option]);
    }
    command.current_dir(server.dir.path());
    command
}

pub fn options(server: &Server) -> [String; 7] {
    [
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "BatchMode=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("UserKnownHostsFile={}", server.dir.path().join("known").display()),
        format!("IdentityFile={}", server.key().display()),
        format!("Port={}", server.port),
    ]
}

pub fn place(server: &Server, path: &str) -> String {
    format!("{}@127.0.0.1:{path}", server.user)
}

/// Runs it and wants it to end well.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// OpenSSH's sftp with these commands.
pub fn batch(server: &Server, commands: &str) -> Output {
    let mut child = client(server, "sftp")
        .args(["-b", "-", &format!("{}@127.0.0.1", server.user)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that was refused reads no commands; its output tells.
    let _ = child.stdin.take().unwrap().write_all(commands.as_bytes());
    child.wait_with_output().unwrap()
}
