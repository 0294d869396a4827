//! What bootstrap can do about packages, Docker and the kernel's settings, as data.

use crate::model::Size;
use crate::model::docker_seen::PackageManager;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What packages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackagesFor {
    Docker,
    Volumes,
}

impl PackagesFor {
    /// The word for it in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Volumes => "volumes",
        }
    }
}

/// Installs missing packages; installed packages are neither upgraded nor downgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallPackages {
    pub purpose: PackagesFor,
    pub manager: PackageManager,
    /// Packages. Of several alternatives in one entry (`a|b`) the first available one is taken; `a|` is optional.
    pub names: Vec<String>,
    /// The directory with the package files, the only source; `None`: the system's repositories.
    pub from: Option<PathBuf>,
}

/// The settings for daemon.json. `None`: berth does not set this one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DaemonSettings {
    pub data_root: Option<PathBuf>,
    pub log_max_size: Option<String>,
    pub log_max_file: u32,
    pub live_restore: bool,
    /// Address ranges, and the prefix length of each network that Docker cuts from them.
    pub address_pools: Vec<(String, u8)>,
    pub ascend_runtime: Option<PathBuf>,
}

/// Merges settings into daemon.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureDocker {
    pub file: PathBuf,
    pub settings: DaemonSettings,
    /// `"live-restore": true`
    pub changes: Vec<String>,
}

/// Stops Docker, copies its data, compares, and switches daemon.json to the copy. The old data stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveDockerData {
    pub from: PathBuf,
    pub to: PathBuf,
    pub bytes: Option<u64>,
    /// Names of containers that run when the plan is made.
    pub stops: Vec<String>,
    pub configure: ConfigureDocker,
}

/// Enables Docker, starts or restarts it, waits until its API answers, and starts the containers that ran before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDocker {
    pub restart: bool,
    /// Where Docker's data must be after the start.
    pub data_root: Option<PathBuf>,
    /// Names of containers that the restart stops for a moment.
    pub stops: Vec<String>,
}

/// Sets the kernel's settings now, as the file does at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplySysctl {
    pub file: PathBuf,
    pub values: BTreeMap<String, u64>,
}

/// Keeps containers from the cloud's metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseMetadata {
    pub address: String,
}

impl InstallPackages {
    pub fn describe(&self) -> String {
        let what = match self.purpose {
            PackagesFor::Docker => "Docker",
            PackagesFor::Volumes => "tools for volumes",
        };
        let names: Vec<&str> = self.names.iter().map(|name| name.trim_end_matches('|')).collect();
        let names = names.join(", ").replace('|', " or ");
        match &self.from {
            Some(dir) => format!("install {what} from the packages in {}", dir.display()),
            None => format!("install {what} with {} ({names})", self.manager.name()),
        }
    }

    pub fn commands(&self) -> Vec<String> {
        let first = |name: &String| name.split('|').next().unwrap_or_default().to_owned();
        let names: Vec<String> = self.names.iter().map(first).collect();
        let (manager, suffix) = (self.manager.name(), self.manager.suffix());
        match (&self.from, self.manager) {
            (Some(dir), _) => vec![format!("{manager} install {}/*{suffix}", dir.display())],
            (None, PackageManager::AptGet) => vec![
                "apt-get update".into(),
                format!("apt-get install --no-install-recommends {}", names.join(" ")),
            ],
            (None, _) => vec![format!("{manager} install {}", names.join(" "))],
        }
    }
}

impl ConfigureDocker {
    pub fn describe(&self) -> String {
        format!("set {} in {}; what else it says stays", self.changes.join(", "), self.file.display())
    }
}

impl MoveDockerData {
    pub fn describe(&self) -> String {
        let size = self.bytes.map(|bytes| format!(" ({})", Size(bytes))).unwrap_or_default();
        format!(
            "move Docker's data{size} from {} to {} with Docker stopped: copy, compare, switch{}",
            self.from.display(),
            self.to.display(),
            stopping(&self.stops, " (started again afterwards)")
        )
    }

    pub fn commands(&self) -> Vec<String> {
        let (from, to) = (self.from.display(), self.to.display());
        vec![
            "systemctl stop docker.socket docker.service".into(),
            format!("cp --archive {from}/. {to}.berth-copy && mv {to}.berth-copy {to}"),
        ]
    }
}

impl RunDocker {
    pub fn describe(&self) -> String {
        let verb = if self.restart { "restart" } else { "start" };
        format!(
            "enable and {verb} Docker, and wait until it answers{}",
            stopping(&self.stops, " for that time")
        )
    }

    pub fn commands(&self) -> Vec<String> {
        let verb = if self.restart { "restart" } else { "start" };
        vec![
            "systemctl daemon-reload".into(),
            "systemctl enable docker.service".into(),
            format!("systemctl {verb} docker.service"),
        ]
    }
}

impl ApplySysctl {
    pub fn describe(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("set {} now", values.join(", "))
    }
}

impl CloseMetadata {
    pub fn describe(&self) -> String {
        format!("keep containers from {}, where clouds serve a node's credentials", self.address)
    }

    pub fn commands(&self) -> Vec<String> {
        vec![
            format!("iptables --insert DOCKER-USER --destination {} --jump REJECT", self.address),
            format!(
                "iptables --insert INPUT ! --in-interface lo --destination {} --jump REJECT",
                self.address
            ),
        ]
    }
}

/// Says which containers a step interrupts; empty where it interrupts none.
fn stopping(containers: &[String], how: &str) -> String {
    const SHOWN: usize = 8;
    if containers.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = containers.iter().take(SHOWN).map(String::as_str).collect();
    let more = if containers.len() > SHOWN { ", …" } else { "" };
    let plural = if containers.len() == 1 { "" } else { "s" };
    format!("; STOPS {} running container{plural}{how}: {}{more}", containers.len(), names.join(", "))
}
