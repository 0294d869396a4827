//! Facts about Docker, the package manager and kernel settings, from which `berth bootstrap` decides.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DockerSeen {
    /// Where dockerd is.
    pub program: Option<String>,
    /// docker.service, where systemd knows it.
    pub service: Option<Service>,
    /// docker.socket is there, which starts the service again when it is stopped alone.
    pub has_socket_unit: bool,
    pub daemon_file: DaemonFile,
    /// Where its data are, by flags and file; links resolved.
    pub root: String,
    /// Containers, images, volumes or a swarm are there, also of a remapped user: more than what dockerd makes when it
    /// starts.
    pub root_holds: bool,
    /// `None`: it does not run, or does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSaid>,
    /// A storage driver in there that works on one kind of file system only.
    #[serde(default)]
    pub root_driver: Option<String>,
    /// A swarm's state is there.
    pub has_swarm: bool,
    /// Where the profile wants the data.
    pub wanted: Place,
    /// Where a copy is made before it is renamed to that.
    pub copy: Place,
    /// Our part of the unit.
    pub drop_in: Option<String>,
    /// Ascend's container runtime.
    pub ascend_runtime: Option<String>,
    /// Others on this machine that run containers.
    pub neighbours: Vec<Neighbour>,
    /// Containers that run under a containerd while Docker is not installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Tasks>,
    /// `None` where nobody could look: Docker does not run, or there is no iptables.
    pub metadata_closed: Option<bool>,
}

/// Another program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbour {
    Kubelet,
    Podman,
    /// Plans of schema 1 have it in words.
    #[serde(alias = "docker of a snap")]
    SnapDocker,
}

/// What a running engine answers about itself. Where its files say something else, this counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineSaid {
    /// Where its data are; of an engine with remapped users what is above their directory. Links resolved.
    pub root: String,
    pub driver: Option<String>,
    /// Its data are in a directory UID.GID of its root (userns-remap).
    pub is_remapped: bool,
    pub is_rootless: bool,
    /// Images and the file systems of containers are kept by containerd, and not below the root.
    pub has_containerd_store: bool,
    /// There are containers or images below the root.
    pub holds: bool,
}

impl DockerSeen {
    /// Whether there are data that Docker would not find if it used another directory.
    pub fn holds(&self) -> bool {
        self.root_holds || self.engine.as_ref().is_some_and(|engine| engine.holds)
    }
}

/// Running containers of one namespace of one containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// The containerd's socket.
    pub address: String,
    pub namespace: String,
    /// Their shims.
    pub pids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    pub is_active: bool,
    pub is_enabled: bool,
    /// What dockerd is started with, variables replaced.
    pub flags: Vec<Flag>,
}

/// An option of dockerd's command line, by the name that it has in daemon.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    pub key: String,
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DaemonFile {
    pub path: String,
    /// `None`: there is no such file.
    pub text: Option<String>,
    /// A directory is there.
    #[serde(default)]
    pub is_directory: bool,
}

/// A directory that data are to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Nothing is there, or an empty directory.
    #[default]
    Free,
    /// A copy that a run of ours made and nobody switched to.
    Unfinished,
    /// What dockerd keeps its data in.
    Docker,
    /// Something else.
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    AptGet,
    Dnf,
    Yum,
}

impl PackageManager {
    pub fn name(self) -> &'static str {
        match self {
            Self::AptGet => "apt-get",
            Self::Dnf => "dnf",
            Self::Yum => "yum",
        }
    }

    /// How files of its packages end.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::AptGet => ".deb",
            Self::Dnf | Self::Yum => ".rpm",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackagesSeen {
    pub manager: Option<PackageManager>,
    /// Packages that an interrupted installation left half way.
    pub half: Vec<String>,
    /// Names of package files in the directory that the profile names; `None`: it is not there.
    pub offline: Option<Vec<String>>,
}

/// Settings of the kernel that the profile names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KernelSeen {
    /// `None`: this kernel does not have it.
    pub values: BTreeMap<String, Option<u64>>,
    /// Our file in /etc/sysctl.d.
    pub file: Option<String>,
    /// Files that are read after ours, with the settings of ours that they change.
    pub overridden: Vec<String>,
}
