//! `profiles/*.toml`: the hardware of a kind of node, and what its berths get.

use super::bootstrap::Bootstrap;
use crate::model::{Capability, CardId, Health, Size};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    pub description: String,
    pub devices: Devices,
    /// Driver files for every berth, read-only; those that do not exist are left out.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    pub berth: BerthRules,
    /// What happens to leases that end.
    #[serde(default)]
    pub lease: super::LeaseRules,
    /// What every user may have at once.
    #[serde(default)]
    pub limits: super::LimitRules,
    /// What counts as no work.
    #[serde(default)]
    pub idle: super::IdleLimits,
    /// What `berth bootstrap` makes of a bare node.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// What `berth check` wants.
    #[serde(default)]
    pub check: super::CheckRules,
    /// Only in the simulated node.
    #[serde(default)]
    pub simulation: Option<Simulation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Devices {
    /// How many cards the node should have; their ids are 0 to cards-1.
    pub cards: u32,
    /// PCI ids of one card, `vendor:device`.
    #[serde(default)]
    pub pci_ids: Vec<String>,
    /// Nodes that every berth needs besides its cards, in `paths.dev`.
    pub manager: Vec<String>,
    /// Nodes that it gets when they exist.
    #[serde(default)]
    pub optional: Vec<String>,
    /// Cards near each other, used when neither npu-smi nor sysfs tells.
    #[serde(default)]
    pub groups: Vec<Vec<CardId>>,
}

/// A path of the host that appears in every berth, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    pub source: PathBuf,
    /// Where it appears; the same path when left out.
    #[serde(default)]
    pub target: Option<PathBuf>,
}

impl Mount {
    pub fn target(&self) -> &std::path::Path {
        self.target.as_deref().unwrap_or(&self.source)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    pub source: PathBuf,
    pub target: PathBuf,
}

/// The least memory of a berth: Docker, an SSH server and a shell need it.
pub const LEAST_MEMORY: Size = Size::mib(64);

/// What a berth is given besides its cards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BerthRules {
    /// The catalogue image of a request that names none.
    #[serde(default)]
    pub default_image: Option<String>,
    pub memory_per_card: Size,
    /// What a user may ask for with `--memory`, for one berth however many cards it has; administrators may ask for
    /// more. Where it is not said: twice what the berth's cards give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Size>,
    /// 0 sets no limit.
    #[serde(default)]
    pub cpus_per_card: f64,
    /// Keep a berth on its cards' share of the CPUs near them.
    #[serde(default = "yes")]
    pub cpus_near_cards: bool,
    /// Capabilities besides Docker's own, or of its own that berth would take: `NET_RAW` and `MKNOD`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<Capability>,
    /// How many images of berths one user may keep.
    #[serde(default = "snapshots")]
    pub max_snapshots: u32,
    pub shm_size: Size,
    pub pids_limit: i64,
    /// Files that one of its processes may have open. With `pids-limit` it bounds what a berth can have in all.
    #[serde(default = "open_files")]
    pub nofile: u64,
    #[serde(with = "super::config::duration_text")]
    pub default_lease: Duration,
    #[serde(with = "super::config::duration_text")]
    pub max_lease: Duration,
    /// Where personal storage appears. Never an image user's home: that would hide what the image has there.
    pub storage_mount: PathBuf,
    /// A session runs as the first of these that the image has, else as the image's own user.
    #[serde(default)]
    pub users: Vec<String>,
    /// Scripts that set the environment of a session; the first that exists in the image is read.
    #[serde(default)]
    pub environment_scripts: Vec<PathBuf>,
    /// Read after it: each that exists in the image, in this order.
    #[serde(default)]
    pub more_environment_scripts: Vec<PathBuf>,
    /// Shared, read-only in every berth.
    #[serde(default)]
    pub datasets: Vec<Dataset>,
}

/// A berth without cards is given one part in so many of what a card gives: enough to edit and to compile, and four
/// of them weigh as one card.
const PARTS_WITHOUT_CARDS: u32 = 4;

impl BerthRules {
    pub fn memory_of(&self, cards: usize) -> Size {
        if cards == 0 {
            return Size(self.memory_per_card.0 / u64::from(PARTS_WITHOUT_CARDS)).max(LEAST_MEMORY);
        }
        Size(self.memory_per_card.0.saturating_mul(u64::try_from(cards).unwrap_or(u64::MAX)))
    }

    /// The CPUs that so many cards give; `None` for no limit.
    pub fn cpus_of(&self, cards: usize) -> Option<f64> {
        let cpus = match u32::try_from(cards).unwrap_or(u32::MAX) {
            0 => self.cpus_per_card / f64::from(PARTS_WITHOUT_CARDS),
            cards => self.cpus_per_card * f64::from(cards),
        };
        Some(cpus).filter(|cpus| *cpus > 0.0)
    }

    /// The most memory that a user may ask for; never less than the cards give.
    pub fn most_memory_of(&self, cards: usize) -> Size {
        let given = self.memory_of(cards);
        self.max_memory.map_or(Size(given.0.saturating_mul(2)), |most| most.max(given))
    }
}

/// What most programs ask for at most, and a sixteenth of what engines give where nobody says.
fn open_files() -> u64 {
    65_536
}

fn snapshots() -> u32 {
    5
}

fn yes() -> bool {
    true
}

/// A node without hardware: real device nodes that no driver answers, and an npu-smi that prints what a real one does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Simulation {
    /// Character device major of the nodes; one that no driver uses.
    pub major: u32,
    /// Group of the nodes, as HwHiAiUser's 1000 on a real node.
    pub gid: u32,
    /// As npu-smi prints it.
    pub card_name: String,
    pub tool_version: String,
    pub driver_version: String,
    pub hbm_mib: u64,
    #[serde(default)]
    pub faults: Faults,
}

/// Faults of the simulated node; `berth sim` switches them while the agent runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Faults {
    /// Cards whose health is not OK.
    pub health: Vec<(CardId, Health)>,
    /// Cards that npu-smi does not list.
    pub missing: Vec<CardId>,
    /// Processes that npu-smi lists and berth did not start.
    pub holders: Vec<ForeignHolder>,
    /// npu-smi takes this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// npu-smi never ends.
    pub hang: bool,
    /// npu-smi says that the driver is not loaded (-8005).
    pub no_driver: bool,
    /// npu-smi says that a device is used by another container (-8020).
    pub device_used: bool,
    /// npu-smi refuses its optional queries (-m, -l, -t …).
    pub no_queries: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignHolder {
    pub card: CardId,
    pub pid: u32,
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::shipped_profile;

    #[test]
    fn a_berth_without_cards_is_given_a_quarter_of_a_card() {
        let mut rules = toml::from_str::<Profile>(shipped_profile("sim").unwrap()).unwrap().berth;
        (rules.memory_per_card, rules.cpus_per_card) = (Size::gib(100), 24.0);
        assert_eq!((rules.memory_of(0), rules.memory_of(2)), (Size::gib(25), Size::gib(200)));
        assert_eq!((rules.cpus_of(0), rules.cpus_of(2)), (Some(6.0), Some(48.0)));
        assert_eq!(rules.most_memory_of(0), Size::gib(50));
        (rules.memory_per_card, rules.cpus_per_card) = (Size::mib(100), 0.0);
        assert_eq!((rules.memory_of(0), rules.cpus_of(0)), (LEAST_MEMORY, None));
    }
}
