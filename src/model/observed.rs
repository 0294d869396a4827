//! What `berth bootstrap` looks at before it decides: plain facts, in an order that does not depend on kernel names.
//!
//! Two looks at an unchanged machine are equal, also when disks got other names in between.

use super::disk::Disk;
use super::docker_seen::{DockerSeen, KernelSeen, PackagesSeen};
use super::driver::{BootSeen, CardsSeen, DriverSeen, HccnSeen};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub machine: Machine,
    /// Sorted by serial number.
    pub disks: Vec<Disk>,
    pub groups: Vec<VolumeGroup>,
    pub btrfs: Vec<BtrfsVolume>,
    pub mounts: Vec<Mount>,
    pub fstab: Fstab,
    /// Those that something is to be mounted at.
    pub directories: Vec<Directory>,
    pub docker: DockerSeen,
    pub packages: PackagesSeen,
    pub kernel: KernelSeen,
    pub own: OwnParts,
    /// Where the profile has the driver installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverSeen>,
    /// Where the profile gives the cards addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hccn: Option<HccnSeen>,
    /// Looked at with the driver or the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<CardsSeen>,
    #[serde(default)]
    pub boot: BootSeen,
}

/// What of berth itself is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnParts {
    pub program: Presence,
    pub files: Vec<OwnFile>,
    /// Whether the administrators' group is there.
    pub group: bool,
    /// The mode of the directory of personal storage, where it is there.
    pub storage: Option<u32>,
    /// It is root's and empty: nobody relies on its mode.
    #[serde(default)]
    pub storage_is_new: bool,
    /// Something else is there, or in its path.
    #[serde(default)]
    pub storage_is_no_directory: bool,
    pub enabled: bool,
    pub active: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    pub path: PathBuf,
    pub presence: Presence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    Absent,
    Same,
    Other,
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
    /// Who else means it.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// Somebody who means a mount point, whether or not anything is mounted there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Claim {
    /// A mount or automount unit of systemd that was not made of a line in fstab.
    Unit {
        name: String,
        is_masked: bool,
        is_active: bool,
        is_enabled: bool,
        /// Of the file system that it mounts, where it names one so.
        uuid: Option<String>,
    },
    /// A file system that is mounted there in a mount namespace of this process, and nowhere in the machine's own.
    Namespace { pid: u32, program: String, uuid: Option<String> },
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
    /// Programs that are missing of those that some step may need.
    pub missing_tools: Vec<String>,
}

/// An LVM volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeGroup {
    pub name: String,
    pub uuid: String,
    pub tags: Vec<String>,
    pub missing_disks: u64,
    pub disks: u64,
    pub free_bytes: u64,
    pub volumes: Vec<LogicalVolume>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalVolume {
    pub name: String,
    pub tags: Vec<String>,
    pub size_bytes: u64,
    pub active: bool,
    pub stripes: u64,
    /// What is on it; `None` where it is not active and could not be looked at.
    pub file_system: Option<FileSystem>,
}

/// A file system as it is written on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    pub kind: String,
    pub uuid: Option<String>,
    pub label: Option<String>,
    /// False where mkfs was interrupted.
    pub complete: bool,
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

/// A mount in pid 1's namespace, without those that are not of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub target: String,
    pub kind: String,
    /// Of the file system, where it is known.
    pub uuid: Option<String>,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fstab {
    pub text: String,
    pub entries: Vec<FstabEntry>,
    /// The first line that is none.
    pub error: Option<FstabError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FstabEntry {
    pub line: usize,
    pub spec: String,
    pub target: String,
    pub kind: String,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FstabError {
    pub line: usize,
    pub text: String,
    pub why: String,
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
