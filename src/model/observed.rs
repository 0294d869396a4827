//! Facts for `berth bootstrap`, collected by `facts`: volumes, fstab, others that use a mount point, and berth's own
//! parts.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

/// Something that uses a mount point, or is configured to.
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
