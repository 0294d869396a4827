//! Facts for the checks, collected by `facts`. Each part is either known, or has the reason why it is not.

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLooked {
    pub reason: String,
    pub remedy: Option<String>,
}

impl NotLooked {
    pub fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: Some(remedy.into()) }
    }
}

impl From<String> for NotLooked {
    fn from(reason: String) -> Self {
        Self { reason, remedy: None }
    }
}

pub type Look<T> = Result<T, NotLooked>;

/// `npu-smi info -t board`: what runs now, which is not always what is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    pub software: Option<String>,
    pub firmware: Option<String>,
    pub compatibility: Option<String>,
}

/// The device nodes in `paths.dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The N of each davinciN.
    pub cards: Vec<u32>,
    pub missing_managers: Vec<String>,
    /// Paths where a node should be and something else is, and what that is.
    pub wrong: Vec<String>,
    /// The group that may open them.
    pub gid: Option<u32>,
}

/// A CANN of this node, or of an image in its catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannSeen {
    pub place: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HccnCard {
    pub id: u32,
    /// `None`: no address is set.
    pub address: Look<Option<String>>,
    /// `UP`, `DOWN`.
    pub link: Look<String>,
    /// `Success`, `Init`, `Socket failed`, …
    pub health: Look<String>,
    pub tls: Look<bool>,
}

/// /etc/hccn.conf, which berths mount and from which the driver sets the cards at the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HccnConf {
    Missing,
    /// `docker run -v` made one where the file was missing.
    Directory,
    /// The address that it has for each card.
    Addresses(Vec<Option<String>>),
}

/// A mounted local file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub source: String,
    pub fs_type: String,
    pub size: u64,
    pub available: u64,
    /// 0 where the file system does not count them.
    pub inodes: u64,
    pub inodes_free: u64,
    pub target: String,
}

/// How dockerd is set up, by its flags and its file, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonSettings {
    /// The file: /etc/docker/daemon.json, or what `--config-file` names.
    pub path: String,
    pub log_driver: Option<String>,
    pub log_max_size: Option<String>,
    /// `None`: nothing says so, and it is off.
    pub live_restore: Option<bool>,
    /// The keys of these that flags have; the same in the file would stop Docker.
    pub flags: Vec<String>,
    /// A key that a flag and the file have: Docker does not start any more.
    pub twice: Option<String>,
    /// Why the file is no JSON object, if so: then Docker does not start any more.
    pub broken: Option<String>,
    /// The default runtime, where one is named, and nothing registers it: Docker does not start any more.
    pub missing_runtime: Option<String>,
    /// Networks for containers that are in public address space: `default-address-pools`, `bip`.
    pub public_networks: Vec<String>,
}

/// Others that hand out cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// Pid and name of processes that are a kubelet, or have one inside.
    pub kubelet: Vec<(u32, String)>,
    /// Sockets of device plugins for Ascend cards.
    pub device_plugins: Look<Vec<String>>,
    /// Pids of processes by that name.
    pub container_manager: Vec<u32>,
    pub slurmd: Vec<u32>,
    /// Whether Slurm's gres.conf names davinci nodes.
    pub slurm_has_cards: Look<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    pub synchronised: bool,
    /// Who says so.
    pub source: String,
}
