//! What a cell works with: a server, a directory of its own, data to carry.

use crate::rig::{Server, Setup};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Larger than every window and buffer between client and program.
pub const SIZE: usize = 6_000_000;

/// Bytes that do not compress and do not repeat.
pub static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; SIZE];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
});

/// The servers of a run: berth's and OpenSSH's, and each once more with start files that print.
pub struct Servers {
    quiet: [Server; 2],
    noisy: [Server; 2],
    _homes: [tempfile::TempDir; 2],
}

impl Servers {
    pub fn start() -> Self {
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for name in [".bashrc", ".profile", ".bash_profile"] {
            fs::write(homes[1].path().join(name), "echo this start file prints\n").unwrap();
        }
        let pair = |home: &Path| {
            let setup = Setup { home: Some(home), rsa: true, ..Setup::default() };
            [setup.start_sshd(), setup.start()]
        };
        Self { quiet: pair(homes[0].path()), noisy: pair(homes[1].path()), _homes: homes }
    }
    pub fn sshd(&self, noisy: bool) -> Site<'_> {
        Site::new(&self.pair(noisy)[0])
    }
    pub fn berth(&self, noisy: bool) -> Site<'_> {
        Site::new(&self.pair(noisy)[1])
    }
    fn pair(&self, noisy: bool) -> &[Server; 2] {
        if noisy { &self.noisy } else { &self.quiet }
    }
}

pub struct Site<'a> {
    pub server: &'a Server,
    pub dir: tempfile::TempDir,
}

impl<'a> Site<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, dir: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// A file of noise in this cell's directory.
    pub fn noise(&self, name: &str) -> PathBuf {
        fs::write(self.at(name), &*NOISE).unwrap();
        self.at(name)
    }

    /// A program with a deadline.
    pub fn program(&self, name: &str) -> Command {
        self.program_within("40", name)
    }

    /// One that works for a while before it does anything, on a busy machine.
    pub fn slow_program(&self, name: &str) -> Command {
        self.program_within("120", name)
    }

    fn program_within(&self, seconds: &str, name: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([seconds, name]).current_dir(self.dir.path());
        command
    }

    /// The options that ssh, scp, sftp, rsync, git and sshfs pass to the OpenSSH client.
    pub fn options(&self) -> Vec<String> {
        let known = self.server.dir.path().join("known").display().to_string();
        let key = self.server.key().display().to_string();
        let pairs = [
            "IdentitiesOnly=yes".to_owned(),
            "BatchMode=yes".into(),
            "StrictHostKeyChecking=accept-new".into(),
            "LogLevel=ERROR".into(),
            format!("UserKnownHostsFile={known}"),
            format!("IdentityFile={key}"),
        ];
        ["-F".to_owned(), "none".into()]
            .into_iter()
            .chain(pairs.into_iter().flat_map(|pair| ["-o".to_owned(), pair]))
            .collect()
    }

    /// The same as one command line, for rsync and git.
    pub fn transport(&self) -> String {
        format!("ssh -p {} {}", self.server.port, self.options().join(" "))
    }
}

pub fn same(one: &Path, other: &Path) {
    let (a, b) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    assert!(a == b, "{} ({} bytes) is not {} ({} bytes)", other.display(), b.len(), one.display(), a.len());
}

/// Runs it and wants it to end well.
pub fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
