//! What bootstrap looks at before it decides: plain facts, in an order that does not depend on kernel names.
//!
//! Two looks at an unchanged machine are equal, even if the kernel gave disks other names in between.

use crate::model::disk::Disk;
use crate::model::docker_seen::{DockerSeen, KernelSeen, PackagesSeen};
use crate::model::driver::{AccountSeen, DriverFacts, HccnSeen, PackagesSeen as RunPackages};
use crate::model::observed::{Claim, Fstab, OwnParts, VolumeGroup};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub machine: Machine,
    /// Sorted by serial number.
    pub disks: Vec<Disk>,
    pub groups: Vec<VolumeGroup>,
    pub btrfs: Vec<BtrfsVolume>,
    pub mounts: Vec<Mount>,
    pub fstab: Fstab,
    /// The directories at which volumes will be mounted.
    pub directories: Vec<Directory>,
    pub docker: DockerSeen,
    pub packages: PackagesSeen,
    pub kernel: KernelSeen,
    pub own: OwnParts,
    /// Only if the profile asks for a driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverSeen>,
    /// Only if the profile gives the cards addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hccn: Option<HccnSeen>,
    /// Looked at with the driver or the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<CardsSeen>,
    #[serde(default)]
    pub boot: BootSeen,
}

impl Observed {
    pub fn disk(&self, serial: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.id.as_ref().is_some_and(|id| id.serial == serial))
    }

    pub fn group(&self, name: &str) -> Option<&VolumeGroup> {
        self.groups.iter().find(|group| group.name == name)
    }

    pub fn mounted_at(&self, target: &str) -> Option<&Mount> {
        // The last one is what a path leads to.
        self.mounts.iter().rev().find(|mount| mount.target == target)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// /etc/machine-id
    pub id: String,
    pub os: String,
    pub os_version: Option<String>,
    pub arch: String,
    pub kernel: String,
    /// Whether systemd runs here.
    pub systemd: bool,
    /// Missing programs that a step may need.
    pub missing_tools: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Directory {
    pub path: String,
    /// How many names are in it; 0 when it is not there.
    pub entries: usize,
    /// Where it really is, when a part of its path is a link.
    #[serde(default)]
    pub link_to: Option<String>,
    /// A file, a link to nothing, or below a file: nothing can be mounted there.
    #[serde(default)]
    pub is_no_directory: bool,
    /// What else is configured to be mounted there.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A btrfs file system, by its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BtrfsVolume {
    pub uuid: String,
    pub label: Option<String>,
    /// Serial numbers.
    pub disks: Vec<String>,
    /// How many members it says it has.
    pub expected_disks: u64,
}

/// A mount of a disk or a network in pid 1's namespace, or any mount where one of our volumes is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub target: String,
    pub kind: String,
    /// The UUID of the file system, where it is known.
    pub uuid: Option<String>,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverSeen {
    pub files: DriverFacts,
    /// `vendor:device` of the accelerators on the PCI bus.
    pub pci: Vec<String>,
    pub account: AccountSeen,
    pub packages: RunPackages,
}

/// Who has cards. This changes all the time, so a plan stays valid when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardsSeen {
    pub holders: Vec<String>,
    /// Why the look may have missed a holder.
    pub not_looked: Option<String>,
}

/// The id of this boot, and of the boot in which bootstrap last asked for a reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSeen {
    pub id: String,
    pub marked: Option<String>,
}

impl BootSeen {
    /// Something was installed that needs a reboot, and the machine has not rebooted yet.
    pub fn is_awaited(&self) -> bool {
        self.marked.as_ref() == Some(&self.id)
    }

    /// The machine has rebooted: the steps after the reboot may run.
    pub fn is_over(&self) -> bool {
        self.marked.as_ref().is_some_and(|marked| *marked != self.id)
    }
}
