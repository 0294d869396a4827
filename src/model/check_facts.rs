//! What the checks look at. Each part was looked at, or says why not: there is no third way.

use super::Holder;
use super::driver::DriverFacts;
use super::facts::{BlockDevice, CpuFacts, DockerFacts, MemoryFacts, NpuFacts, OsFacts, PciDevice};
use super::observed::Fstab;
use std::collections::BTreeMap;

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

/// Of a part that no selected check needs, or whose probe broke off.
pub fn not_asked<T>() -> Look<T> {
    Err(BROKE_OFF.to_owned().into())
}

#[derive(Debug, Clone)]
pub struct CheckFacts {
    /// Whether this process is root: some of what it may not see looks like a fault to others.
    pub root: bool,
    pub npu: Look<NpuLook>,
    pub board: Look<Board>,
    pub pci: Look<Vec<PciDevice>>,
    pub nodes: Look<NodeFacts>,
    pub driver: Look<DriverFacts>,
    pub cann: Look<Vec<CannSeen>>,
    pub hccn: Look<Vec<HccnCard>>,
    pub hccn_conf: Look<HccnConf>,
    pub os: Look<OsFacts>,
    pub cpu: Look<CpuFacts>,
    pub memory: Look<MemoryFacts>,
    /// The names that were asked for, as in `sysctl`.
    pub sysctl: Look<BTreeMap<String, Look<u64>>>,
    pub disks: Look<Vec<BlockDevice>>,
    pub space: Look<Vec<Space>>,
    pub mounts: Look<Vec<Mounted>>,
    pub fstab: Look<Fstab>,
    pub smart: Look<Vec<SmartDisk>>,
    pub docker: Look<DockerState>,
    pub daemon: Look<DaemonSettings>,
    pub metadata_closed: Look<bool>,
    /// Whether iptables could see what containers on one bridge send to each other.
    pub can_filter_bridges: Look<bool>,
    pub conflicts: Look<Conflicts>,
    pub clock: Look<Clock>,
    pub registries: Look<Vec<(String, Result<(), String>)>>,
    pub account: Look<DriverAccount>,
    pub holders: Look<Holders>,
}

impl CheckFacts {
    pub fn nothing(root: bool) -> Self {
        Self {
            root,
            npu: not_asked(),
            board: not_asked(),
            pci: not_asked(),
            nodes: not_asked(),
            driver: not_asked(),
            cann: not_asked(),
            hccn: not_asked(),
            hccn_conf: not_asked(),
            os: not_asked(),
            cpu: not_asked(),
            memory: not_asked(),
            sysctl: not_asked(),
            disks: not_asked(),
            space: not_asked(),
            mounts: not_asked(),
            fstab: not_asked(),
            smart: not_asked(),
            docker: not_asked(),
            daemon: not_asked(),
            metadata_closed: not_asked(),
            can_filter_bridges: not_asked(),
            conflicts: not_asked(),
            clock: not_asked(),
            registries: not_asked(),
            account: not_asked(),
            holders: not_asked(),
        }
    }
}

/// npu-smi's table, which may be an error with a code.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NpuLook {
    pub facts: NpuFacts,
    /// Whether there is an npu-smi at all: without one no driver was ever installed.
    pub tool_there: bool,
    /// What npu-smi says of cards that are not healthy: NPU id, error codes.
    pub errors: Vec<(u32, String)>,
}

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
    /// What is in a node's place and is none, and what it is.
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

/// Why there is no answer of a probe that ended before its time: a mistake of ours.
pub const BROKE_OFF: &str = "the probe broke off; this is a bug in berth";

impl HccnCard {
    pub fn silent(id: u32) -> Self {
        let why = || NotLooked::from(BROKE_OFF.to_owned());
        Self { id, address: Err(why()), link: Err(why()), health: Err(why()), tls: Err(why()) }
    }
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    pub target: String,
    pub fs_type: String,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartDisk {
    pub name: String,
    /// True: it passed. `None`: it has no SMART.
    pub healthy: Look<Option<bool>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerState {
    /// None answers, or none that berth can use: why, and what to do.
    Unusable {
        why: String,
        remedy: String,
    },
    Answers(DockerFacts),
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

/// The account that the driver runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverAccount {
    pub name: String,
    /// uid and gid; `None` when there is no such account.
    pub ids: Option<(u32, u32)>,
}

/// Who has cards now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// Whether the node of each card, by which its users are found, could be looked at.
    pub nodes: Look<()>,
    /// Card, container; those of berths are marked.
    pub containers: Look<Vec<(u32, Holder, bool)>>,
    /// Processes with a card open.
    pub processes: Look<Vec<OpenBy>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBy {
    pub card: u32,
    pub pid: u32,
    pub name: String,
    pub user: Option<String>,
    pub container_id: Option<String>,
}
