//! One SSH connection to a machine, over which all commands go: a login costs an emulated processor a second.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The connection; ends when it is dropped.
pub struct Shell {
    key: PathBuf,
    port: u16,
    dir: tempfile::TempDir,
    master: Child,
}

impl Shell {
    /// `None` when the machine does not let us in yet.
    pub fn open(key: &Path, port: u16) -> Option<Self> {
        // A socket's path has at most 107 bytes, so it is not in the machine's directory.
        let dir = tempfile::tempdir().unwrap();
        let mut command = ssh(key, port, dir.path());
        command.args(["-M", "-N", "root@127.0.0.1"]);
        let null = Stdio::null;
        let master = command.stdin(null()).stdout(null()).stderr(null()).spawn().expect("ssh is there");
        let mut shell = Self { key: key.into(), port, dir, master };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && shell.master.try_wait().unwrap().is_none() {
            // It listens when the login is done.
            if shell.dir.path().join("s").exists() {
                return Some(shell);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn command(&self, script: &str) -> Command {
        let mut command = ssh(&self.key, self.port, self.dir.path());
        command.args(["root@127.0.0.1", "--", script]);
        command
    }

    /// Joins its standard input and output with a port of the machine's loopback.
    pub fn tunnel(&self, port: u16) -> Command {
        let mut command = ssh(&self.key, self.port, self.dir.path());
        command.arg("-W").arg(format!("127.0.0.1:{port}")).arg("root@127.0.0.1");
        command
    }

    /// Runs a shell script as root.
    pub fn run(&self, script: &str, input: Option<&Path>, limit: Duration) -> Ran {
        let mut command = self.command(script);
        command.stdin(input.map_or_else(Stdio::null, |file| File::open(file).unwrap().into()));
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), script, limit)
    }

    /// Starts a script, and gives its lines as they come.
    pub fn follow(&self, script: &str) -> Follow {
        let mut command = self.command(script);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Follow { child, lines }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        end(&mut self.master);
    }
}

/// A script that runs in the machine; its connection ends when it is dropped.
pub struct Follow {
    child: Child,
    lines: Receiver<String>,
}

impl Follow {
    /// The next line; `None` when the time is over. A script that has ended has to have said so.
    pub fn line(&self, limit: Duration) -> Option<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the connection to the machine has ended"),
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// With the control socket in `dir`: a command uses the connection that listens there.
fn ssh(key: &Path, port: u16, dir: &Path) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=15"]);
    command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    command.args(["-o", "KexAlgorithms=curve25519-sha256", "-p", &port.to_string(), "-i"]).arg(key);
    command.arg("-S").arg(dir.join("s"));
    command
}

/// Waits for a command, and ends it when the time is over.
pub fn finish(mut child: Child, what: &str, limit: Duration) -> Ran {
    let out = read_all(child.stdout.take().unwrap());
    let err = read_all(child.stderr.take().unwrap());
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let (out, err) = (out.join().unwrap(), err.join().unwrap());
            return Ran { code: status.code().unwrap_or(-1), out, err };
        }
        if Instant::now() > deadline {
            end(&mut child);
            panic!("{what}: not done after {limit:?}\n{}{}", out.join().unwrap(), err.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
