//! What was observed on a host: the shape of `berth facts --json`, schema 1.
//!
//! `null` means that it could not be looked at; the reason is in [`Facts::unreadable`].

use super::Health;
use serde::{Deserialize, Serialize};

pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub schema: u32,
    pub npu: NpuFacts,
    pub os: Option<OsFacts>,
    pub cpu: Option<CpuFacts>,
    pub memory: Option<MemoryFacts>,
    pub block_devices: Option<Vec<BlockDevice>>,
    pub docker: Option<DockerFacts>,
    /// What could not be read, and why.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Dotted path of the fact, e.g. `npu.topology`.
    pub fact: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NpuFacts {
    pub tool_version: Option<String>,
    pub driver_version: Option<String>,
    /// Set when the tool gave no table: then `devices` says nothing about the cards.
    pub error: Option<NpuError>,
    pub devices: Vec<NpuDevice>,
    /// Processing accelerators by their PCI ids; seen without a driver too.
    pub pci: Vec<PciDevice>,
    /// One entry a card, from `-t topo` or sysfs; empty when neither told.
    pub topology: Vec<NpuTopology>,
    /// Cards that are cut into vNPUs, where npu-smi tells.
    #[serde(default)]
    pub vnpus: Vec<NpuCut>,
    /// Lines that were not understood, kept as they were.
    pub warnings: Vec<String>,
}

/// A card that is cut into vNPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuCut {
    /// The N of `/dev/davinciN`.
    pub card: u32,
    /// The N of each `/dev/vdavinciN`.
    pub ids: Vec<u32>,
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NpuTrouble {
    #[default]
    Other,
    /// The tool works, and says that there is no card.
    NoCard,
    /// Nothing answers for the cards, or not to this user.
    NoDriver,
    /// A container has one, so that this process is shown none.
    Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuError {
    /// Within this process.
    #[serde(skip)]
    pub trouble: NpuTrouble,
    /// DCMI's code (-8005, -8020, …); `null` when the tool gave none.
    pub code: Option<i32>,
    pub meaning: String,
    pub remedy: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NpuDevice {
    /// The N of `/dev/davinciN`.
    pub id: u32,
    pub npu: u32,
    pub chip: u32,
    pub name: String,
    pub health: Health,
    pub bus_id: Option<String>,
    pub power_w: Option<f64>,
    pub temperature_c: Option<i64>,
    pub aicore_percent: Option<u64>,
    pub hbm_used_mib: Option<u64>,
    pub hbm_total_mib: Option<u64>,
    pub ddr_used_mib: Option<u64>,
    pub ddr_total_mib: Option<u64>,
    pub hugepages_used: Option<u64>,
    pub hugepages_total: Option<u64>,
    pub processes: Vec<NpuProcess>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuProcess {
    pub pid: u32,
    /// At most 15 characters, and empty in a container that does not see the process.
    pub name: String,
    pub memory_mib: u64,
    /// From npu-smi 26 on; `null` for a process in no container.
    pub container_pid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    pub address: String,
    pub vendor: String,
    pub device: String,
    pub numa_node: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuTopology {
    pub id: u32,
    pub numa_node: Option<u32>,
    /// CPUs near the card, e.g. `144-167`.
    pub cpu_affinity: Option<String>,
    /// Ids of cards that it reaches over HCCS.
    pub hccs: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsFacts {
    /// `ID` of os-release.
    pub id: String,
    pub version: Option<String>,
    pub pretty_name: Option<String>,
    pub kernel: String,
    pub arch: String,
    pub hostname: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFacts {
    pub model: Option<String>,
    pub logical: u32,
    pub numa_nodes: Vec<NumaNode>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    pub id: u32,
    /// e.g. `0-23`
    pub cpus: String,
    pub memory_mib: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFacts {
    pub total_mib: u64,
    pub available_mib: u64,
    pub swap_total_mib: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    pub name: String,
    /// disk, part, lvm, loop, …
    pub kind: String,
    pub size_bytes: u64,
    pub serial: Option<String>,
    pub model: Option<String>,
    pub fs_type: Option<String>,
    pub uuid: Option<String>,
    pub mountpoints: Vec<String>,
    pub children: Vec<BlockDevice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerFacts {
    pub version: String,
    pub api_version: String,
    pub data_root: Option<String>,
    pub storage_driver: Option<String>,
    pub cgroup_version: Option<String>,
    pub default_runtime: Option<String>,
    pub runtimes: Vec<String>,
    /// Features of newer engines that berth would use and this one does not have.
    pub lacks: Vec<String>,
}
