//! `berth inside session`: changes from root to the session user and then executes the program. It is a process of
//! its own, so that no thread of the server ever changes its identity, and no unsafe code runs between fork and
//! exec.
//!
//! It must not run anything of the image before it has given up the last privilege.

use super::account::Account;
use super::descriptors;
use super::editors;
use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, chdir, setgid, setgroups, setsid, setuid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In thousandths of the memory that is short: a session counts as if it had so much more.
const SESSION_OOM_SCORE: &str = "300";

/// Whom to become and what to run then. The environment is this process' own.
#[derive(Debug, Clone, clap::Args)]
pub struct Become {
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    /// Supplementary groups
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,
    /// Where to go; / if it is not there
    #[arg(long)]
    home: PathBuf,
    /// Make standard input the controlling terminal
    #[arg(long)]
    tty: bool,
    /// The soft limit of open files, where the server has another
    #[arg(long)]
    files: Option<u64>,
    /// Make the node's editors visible at home
    #[arg(long)]
    editors: bool,
    /// The program's name for itself
    #[arg(long, allow_hyphen_values = true)]
    argv0: Option<OsString>,
    #[arg(last = true, required = true, num_args = 1.., value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Become {
    pub(in crate::ssh) fn new(account: &Account, home: &Path, program: &Path) -> Self {
        Self {
            uid: account.uid,
            gid: account.gid,
            groups: account.groups.clone(),
            home: home.to_path_buf(),
            tty: false,
            files: descriptors::given(),
            editors: false,
            argv0: None,
            program: vec![program.into()],
        }
    }
    pub(in crate::ssh) fn arguments(mut self, arguments: impl IntoIterator<Item = OsString>) -> Self {
        self.program.extend(arguments);
        self
    }
    pub(in crate::ssh) fn with_terminal(mut self, has_terminal: bool) -> Self {
        self.tty = has_terminal;
        self
    }
    pub(in crate::ssh) fn with_editors(mut self) -> Self {
        self.editors = true;
        self
    }
    pub(in crate::ssh) fn called(mut self, name: Option<OsString>) -> Self {
        self.argv0 = name;
        self
    }

    /// The command that starts this program again, to do this.
    pub(in crate::ssh) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(own_program());
        command.args(["inside", "session", "--uid"]).arg(self.uid.to_string());
        command.arg("--gid").arg(self.gid.to_string());
        if !self.groups.is_empty() {
            let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
            command.arg("--groups").arg(groups.join(","));
        }
        command.arg("--home").arg(&self.home);
        if self.tty {
            command.arg("--tty");
        }
        if let Some(files) = self.files {
            command.arg("--files").arg(files.to_string());
        }
        if self.editors {
            command.arg("--editors");
        }
        if let Some(name) = &self.argv0 {
            let mut option = OsString::from("--argv0=");
            option.push(name);
            command.arg(option);
        }
        command.arg("--").args(&self.program).env_clear();
        command
    }
}

/// The command that runs a program of the node as a uid that nobody has, and its group, in a session of its own. This
/// program is started, and becomes that before it runs the other one.
pub fn as_nobody(uid: u32, program: &Path) -> tokio::process::Command {
    let nobody = Account { name: String::new(), uid, gid: uid, groups: Vec::new(), home: None, shell: None };
    Become::new(&nobody, Path::new("/"), program).command()
}

/// This program, also when its file was replaced, and in a container without /proc.
pub(in crate::ssh) fn own_program() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if Path::new(SELF).exists() { SELF.into() } else { own_path() }
}

/// The path under which other programs can start this one. In a container it leads to this very file, also when the
/// node has another by now.
pub(in crate::ssh) fn own_path() -> PathBuf {
    std::env::current_exe()
        .ok()
        .map(without_mark)
        .or_else(|| std::env::args_os().next().map(PathBuf::from))
        .unwrap_or_else(|| "/opt/berth/bin/berth".into())
}

/// The kernel marks the path of a file that was replaced, on the node too, where a container has it mounted.
fn without_mark(path: PathBuf) -> PathBuf {
    const MARK: &[u8] = b" (deleted)";
    match path.as_os_str().as_bytes().strip_suffix(MARK) {
        Some(marked) if !path.exists() => OsStr::from_bytes(marked).into(),
        _ => path,
    }
}

/// Becomes the user and runs the program. It returns only on an error: the exit status and the message, as a shell
/// would give them.
pub fn become_and_run(wanted: Become) -> (u8, String) {
    let name =
        wanted.program.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    if let Err(error) = drop_privileges(&wanted) {
        return (126, format!("{error:#}"));
    }
    if wanted.editors {
        editors::link_home(&wanted.home);
    }
    let mut words = wanted.program.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    if let Some(name) = wanted.argv0 {
        command.arg0(name);
    }
    // Through std, not execve itself: std gives SIGPIPE and the signal mask back to the program.
    let error = command.exec();
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    (status, format!("{name}: {error}"))
}

fn drop_privileges(wanted: &Become) -> Result<()> {
    setsid().context("starting a session")?;
    offer_to_the_kernel();
    if let Some(files) = wanted.files {
        descriptors::limit(files).context("limiting open files")?;
    }
    if wanted.tty {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).context("taking the terminal")?;
    }
    let groups: Vec<Gid> = wanted.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    change_identity(wanted.uid, wanted.gid, &groups)?;
    chdir(&wanted.home).or_else(|_| chdir("/")).context("changing to the home directory")
}

/// Raises the session's OOM score, so that in a berth without memory the kernel kills programs of sessions and not
/// the server. Any process may raise its own score. The server's score is not lowered instead: a child that
/// inherits a low score may go back to it, and would be spared when the whole node is out of memory. Without /proc
/// the score stays, and the session starts all the same.
fn offer_to_the_kernel() {
    let _ = std::fs::write("/proc/self/oom_score_adj", SESSION_OOM_SCORE);
}

/// From root to a uid that nobody has, and its group, in a session of its own. From then on the kernel keeps other
/// processes of that uid from its memory and its descriptors, as long as it executes nothing.
pub fn become_nobody(uid: u32) -> Result<()> {
    setsid().context("starting a session")?;
    change_identity(uid, uid, &[])
}

fn change_identity(uid: u32, gid: u32, groups: &[Gid]) -> Result<()> {
    setgroups(groups).context("setting the groups")?;
    setgid(Gid::from_raw(gid)).context("setting the group")?;
    setuid(Uid::from_raw(uid)).context("setting the user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_program_has_the_path_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let (path, marked) = (dir.path().join("berth"), dir.path().join("berth (deleted)"));
        assert_eq!(without_mark(path.clone()), path);
        assert_eq!(without_mark(marked.clone()), path);
        std::fs::write(&marked, "").unwrap();
        assert_eq!(without_mark(marked.clone()), marked, "its real name");
    }
}
