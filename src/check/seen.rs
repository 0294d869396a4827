//! The facts for the checks. Each part is either known, or has the reason why it is not.

use crate::model::Holder;
use crate::model::check_facts::{
    Board, CannSeen, Clock, Conflicts, DaemonSettings, HccnCard, HccnConf, Look, NodeFacts, Space,
};
use crate::model::driver::DriverFacts;
use crate::model::facts::{BlockDevice, CpuFacts, DockerFacts, MemoryFacts, NpuFacts, OsFacts, PciDevice};
use crate::model::observed::Fstab;
use std::collections::BTreeMap;

/// The reason for facts of a probe that panicked: a bug in berth.
const BROKE_OFF: &str = "the probe broke off; this is a bug in berth";

/// The value of a part that no selected check needs, or whose probe panicked.
pub fn not_asked<T>() -> Look<T> {
    Err(BROKE_OFF.to_owned().into())
}

/// The facts of a card that did not answer.
pub fn silent_card(id: u32) -> HccnCard {
    HccnCard { id, address: not_asked(), link: not_asked(), health: not_asked(), tls: not_asked() }
}

#[derive(Debug, Clone)]
pub struct CheckFacts {
    /// Whether this process is root: to other users, things that they may not read look like faults.
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
    /// No engine answers, or one that berth cannot use: why, and what to do.
    Unusable {
        why: String,
        remedy: String,
    },
    Answers(DockerFacts),
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
    /// Whether the device nodes of all cards could be looked at: holders are found by them.
    pub nodes: Look<()>,
    /// Card, container, and whether the container is a berth's.
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
