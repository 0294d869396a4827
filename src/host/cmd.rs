//! External programs: the closed list of tools, a command with its timeout, and its result.

use crate::error::{Fault, FaultKind};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Every external program that berth ever starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// Path from the config.
    NpuSmi(PathBuf),
    /// Path from the config.
    HccnTool(PathBuf),
    Lsblk,
    Lspci,
    Getent,
    Iptables,
    IptablesRestore,
    Ip6tables,
    Ip6tablesRestore,
    Modprobe,
    Ssh,
    Wipefs,
    /// wipefs that only looks: it writes nothing, whatever its other arguments say.
    WipefsList,
    Blkid,
    Pvs,
    Vgs,
    Lvs,
    Pvcreate,
    Vgcreate,
    Vgextend,
    Vgchange,
    Lvcreate,
    Lvextend,
    MkfsXfs,
    XfsGrowfs,
    MkfsBtrfs,
    /// `btrfs device`
    BtrfsDevice,
    Mount,
    Umount,
    Udevadm,
    Systemctl,
    Cp,
    AptGet,
    Dpkg,
    DpkgDeb,
    DpkgQuery,
    Dnf,
    Yum,
    Rpm,
    Journalctl,
    Groupadd,
    Df,
    Smartctl,
    Timedatectl,
    Chronyc,
    Useradd,
    /// One of the vendor's `.run` packages, by its full path; see `trust`.
    RunPackage(PathBuf),
}

impl Tool {
    /// A command of this tool without arguments, with the timeout that suits it.
    pub fn cmd(&self) -> Cmd {
        let seconds = match self {
            Self::NpuSmi(_) => 10,
            _ => 5,
        };
        let args = match self {
            Self::WipefsList => vec!["--no-act".to_owned()],
            Self::BtrfsDevice => vec!["device".to_owned()],
            _ => Vec::new(),
        };
        Cmd {
            tool: self.clone(),
            args,
            env: Vec::new(),
            timeout: Duration::from_secs(seconds),
            allowed_exits: vec![0],
        }
    }

    /// The program's name, or its full path where the config names one.
    pub fn program(&self) -> PathBuf {
        match self {
            Self::NpuSmi(path) | Self::HccnTool(path) | Self::RunPackage(path) => path.clone(),
            Self::Lsblk => "lsblk".into(),
            Self::Lspci => "lspci".into(),
            Self::Getent => "getent".into(),
            Self::Iptables => "iptables".into(),
            Self::IptablesRestore => "iptables-restore".into(),
            Self::Ip6tables => "ip6tables".into(),
            Self::Ip6tablesRestore => "ip6tables-restore".into(),
            Self::Modprobe => "modprobe".into(),
            Self::Ssh => "ssh".into(),
            Self::Wipefs | Self::WipefsList => "wipefs".into(),
            Self::Blkid => "blkid".into(),
            Self::Pvs => "pvs".into(),
            Self::Vgs => "vgs".into(),
            Self::Lvs => "lvs".into(),
            Self::Pvcreate => "pvcreate".into(),
            Self::Vgcreate => "vgcreate".into(),
            Self::Vgextend => "vgextend".into(),
            Self::Vgchange => "vgchange".into(),
            Self::Lvcreate => "lvcreate".into(),
            Self::Lvextend => "lvextend".into(),
            Self::MkfsXfs => "mkfs.xfs".into(),
            Self::XfsGrowfs => "xfs_growfs".into(),
            Self::MkfsBtrfs => "mkfs.btrfs".into(),
            Self::BtrfsDevice => "btrfs".into(),
            Self::Mount => "mount".into(),
            Self::Umount => "umount".into(),
            Self::Udevadm => "udevadm".into(),
            Self::Systemctl => "systemctl".into(),
            Self::Cp => "cp".into(),
            Self::AptGet => "apt-get".into(),
            Self::Dpkg => "dpkg".into(),
            Self::DpkgDeb => "dpkg-deb".into(),
            Self::DpkgQuery => "dpkg-query".into(),
            Self::Dnf => "dnf".into(),
            Self::Yum => "yum".into(),
            Self::Rpm => "rpm".into(),
            Self::Journalctl => "journalctl".into(),
            Self::Groupadd => "groupadd".into(),
            Self::Df => "df".into(),
            Self::Smartctl => "smartctl".into(),
            Self::Timedatectl => "timedatectl".into(),
            Self::Chronyc => "chronyc".into(),
            Self::Useradd => "useradd".into(),
        }
    }
}

/// One call of a tool. Arguments are a list, never a shell string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    pub tool: Tool,
    pub args: Vec<String>,
    /// Besides LC_ALL and PATH, which are all that a tool gets.
    pub env: Vec<(&'static str, &'static str)>,
    pub timeout: Duration,
    pub allowed_exits: Vec<i32>,
}

impl Cmd {
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
    /// Exit codes besides 0 that the caller understands.
    #[must_use]
    pub fn allow_exits(mut self, exits: &[i32]) -> Self {
        self.allowed_exits.extend_from_slice(exits);
        self
    }
    /// Any exit counts as an answer: for tools that print their findings and then fail.
    #[must_use]
    pub fn allow_any_exit(mut self) -> Self {
        self.allowed_exits.clear();
        self
    }
    pub(crate) fn allows(&self, status: i32) -> bool {
        self.allowed_exits.is_empty() || self.allowed_exits.contains(&status)
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tool.program().display())?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{program} is not on this machine")]
    Missing { program: String },
    #[error("{command} did not end within {} and was killed", humantime::format_duration(*timeout))]
    TimedOut { command: String, timeout: Duration },
    #[error("{command} ended with status {status}{}", tail(stderr))]
    Failed { command: String, status: i32, stderr: String },
    #[error("{command} could not be started")]
    NotStarted { command: String, source: std::io::Error },
}

/// A failed program is a fault of the host, unless the caller says otherwise.
impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        let kind = match &error {
            RunError::Missing { .. } => FaultKind::NoProgram,
            RunError::TimedOut { .. } => FaultKind::TimedOut,
            RunError::NotStarted { source, .. } => FaultKind::of_io(source),
            RunError::Failed { .. } => FaultKind::Other,
        };
        Self::host(error.to_string()).of(kind)
    }
}

fn tail(stderr: &str) -> String {
    let last: Vec<&str> = stderr.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    if last.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = last.into_iter().rev().collect();
    format!(": {}", lines.join(" / "))
}
