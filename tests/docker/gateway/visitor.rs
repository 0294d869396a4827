//! Somebody with nothing but an ssh client, in front of a gateway.

use crate::machine::{try_run, until};
use crate::rig::{Ran, Rig, Setup};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An agent with a gateway on the last of the slot's ports.
pub fn start_with(setup: Setup) -> Option<Rig> {
    let mut rig = Rig::prepare(&setup)?;
    let port = port(&rig);
    let path = rig.path("berth.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("gateway = \"\"", &format!("gateway = \"127.0.0.1:{port}\""));
    std::fs::write(&path, config).unwrap();
    rig.start_agent();
    rig.api("/v1/version")["instance"].as_str().unwrap().clone_into(&mut rig.instance);
    for user in ["alice", "bob"] {
        let key = rig.key(user);
        rig.ok(&["user", "add", user, "--key", &format!("{key}.pub"), "--no-login"]);
    }
    if !setup.image.is_empty() {
        rig.import("base", setup.image);
    }
    Some(rig)
}

/// Above those that the berths have.
pub fn port(rig: &Rig) -> u16 {
    rig.slot.first_port() + crate::machine::PORTS - 1
}

/// So that no berth gets the gateway's port.
pub fn fewer_ports() -> Setup {
    Setup { ports: crate::machine::PORTS - 1, ..Setup::default() }
}

/// `ssh -p PORT USER@127.0.0.1`, with the gateway's key pinned.
pub fn ssh(rig: &Rig, user: &str) -> Command {
    ssh_with(rig, user, &rig.key(user))
}

pub fn ssh_with(rig: &Rig, user: &str, key: &str) -> Command {
    let known = rig.text("known-gateway");
    let host_key = rig.api("/v1/gateway")["host_key"].as_str().unwrap().to_owned();
    std::fs::write(&known, format!("[127.0.0.1]:{} {host_key}\n", port(rig))).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", &format!("UserKnownHostsFile={known}")]);
    ssh.args(["-o", "ConnectTimeout=20", "-i", key, "-p", &port(rig).to_string()]);
    ssh.arg(format!("{user}@127.0.0.1"));
    ssh.stdin(Stdio::null()).env_remove("SSH_AUTH_SOCK");
    ssh
}

/// One command line at the gateway.
pub fn run(rig: &Rig, user: &str, line: &str) -> Ran {
    Ran::of(&try_run(ssh(rig, user).args(["--", line])))
}

/// Its standard output; it has to succeed.
pub fn ok(rig: &Rig, user: &str, line: &str) -> String {
    let ran = run(rig, user, line);
    assert_eq!(ran.code, 0, "{line}: {ran:?}\nagent:\n{}", rig.log());
    ran.out
}

/// The texts of all events of a kind.
pub fn events(rig: &Rig, kind: &str) -> Vec<String> {
    let of_kind = rig.events().into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

/// Until an event of this kind has these words: the gateway writes its events beside its work.
pub fn event(rig: &Rig, kind: &str, words: &[&str]) -> String {
    until(&format!("{kind} with {words:?}"), Duration::from_secs(10), || {
        events(rig, kind).into_iter().find(|text| words.iter().all(|word| text.contains(word)))
    })
}

/// The fingerprint of somebody's key.
pub fn fingerprint(rig: &Rig, user: &str) -> String {
    let line = crate::machine::run("ssh-keygen", &["-lf", &format!("{}.pub", rig.key(user))]);
    line.split(' ').nth(1).unwrap().to_owned()
}

/// A program that is talked to.
pub struct Talk {
    pub child: Child,
    said: std::sync::mpsc::Receiver<u8>,
    heard: String,
}

impl Talk {
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for byte in BufReader::new(stdout).bytes() {
                if byte.is_err() || sender.send(byte.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, said, heard: String::new() }
    }

    /// What it says up to these words.
    pub fn expect(&mut self, words: &str) -> String {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).ends_with(words) {
            match self.said.recv_timeout(Duration::from_mins(1)) {
                Ok(byte) => bytes.push(byte),
                Err(error) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let mut errors = String::new();
                    let _ = self.child.kill();
                    let _ = self.child.stderr.take().unwrap().read_to_string(&mut errors);
                    panic!("{words:?} did not come ({error}): {}{text}\n{errors}", self.heard);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.heard.push_str(&text);
        text
    }

    pub fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> i32 {
        let status = until("its end", Duration::from_secs(30), || self.child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// The next line of its standard error.
    pub fn error_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
