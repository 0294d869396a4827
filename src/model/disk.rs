//! A whole disk as the disk guard sees it: its names, what is written on it, and who uses it.

use super::disk_use::{Use, read_uses};
use serde::{Deserialize, Serialize};

/// The names of a disk that stay when kernel names change: the one in /dev/disk/by-id, and the one that people type.
/// People type the serial number, or the WWID where another disk has the same serial number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId {
    pub serial: String,
    /// A file name in /dev/disk/by-id.
    pub link: String,
}

impl DiskId {
    pub fn path(&self) -> String {
        format!("/dev/disk/by-id/{}", self.link)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// `nvme0n1`: today's name, which another boot may give to another disk. Not part of what was seen.
    #[serde(skip)]
    pub name: String,
    /// `None`: nothing names this disk for certain, so it is never written to.
    pub id: Option<DiskId>,
    /// A serial number that another disk has too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_serial: Option<String>,
    /// What people may call it beside its serial number: its WWID, names in /dev/disk/by-id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub model: Option<String>,
    pub size_bytes: u64,
    /// Of its blocks, as programs see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,
    /// nvme, nvme-tcp, sata, …
    pub transport: Option<String>,
    pub read_only: bool,
    pub removable: bool,
    /// What is on the whole disk: file systems, RAID and LVM members, partition tables.
    pub signatures: Vec<Signature>,
    pub partitions: Vec<Partition>,
    /// Who uses it or a part of it.
    #[serde(deserialize_with = "read_uses")]
    pub uses: Vec<Use>,
    pub content: Content,
    /// Copies of superblocks and the like, where nothing else says what is on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Trace>,
    /// How thoroughly it was looked at, where it is blank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Where it is an LVM physical volume.
    pub pv: Option<PhysicalVolume>,
}

/// The kind of a btrfs whose mkfs was interrupted, which wipefs does not know.
pub const HALF_BTRFS: &str = "unfinished btrfs";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// As wipefs calls it: ext4, LVM2_member, gpt.
    pub kind: String,
    pub uuid: Option<String>,
    pub label: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `p1`: the end of its name, after the disk's.
    pub part: String,
    pub size_bytes: u64,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    pub uuid: String,
    /// The volume group that it belongs to.
    pub group: Option<String>,
}

/// A structure of some file system, volume manager or RAID, at one of the places where these keep copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// As wipefs would call it.
    pub kind: String,
    pub offset: u64,
}

/// How many blocks between the two ends of a blank disk were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coverage {
    /// Where copies of superblocks are kept.
    pub known: u64,
    /// At random, one of each of so many pieces of one size.
    pub random: u64,
}

impl Coverage {
    /// The least probability that this sample found data without a known structure that fill this share of the disk,
    /// wherever they lie.
    pub fn chance(self, share: f64) -> f64 {
        // All pieces equally full is the worst case: (1-a)(1-b) is at most (1-(a+b)/2)².
        1.0 - (1.0 - share).powi(i32::try_from(self.random).unwrap_or(i32::MAX))
    }
}

/// What a look at the blocks found. A disk without a signature may still hold data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Nothing at its ends and at thousands of places between, or wiped by berth.
    Blank,
    Data,
    /// Somebody holds it, so that it could not be opened for oneself.
    Held,
    Unreadable(String),
}

/// Whether a file system's options limit directories, in the kernel's words or an admin's.
pub fn has_project_quotas(options: &[String]) -> bool {
    options.iter().any(|option| matches!(option.as_str(), "prjquota" | "pquota"))
}

/// A name as it is shown and compared: the kernel pads serial numbers with blanks, udev makes one `_` of each run of
/// them.
pub fn one_word(name: &str) -> String {
    name.split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

impl Disk {
    /// Whether the disk holds nothing and nobody uses it.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
            && self.partitions.is_empty()
            && self.uses.is_empty()
            && self.pv.is_none()
            && self.content == Content::Blank
    }

    /// The volume group that it is a member of.
    pub fn group(&self) -> Option<&str> {
        self.pv.as_ref()?.group.as_deref()
    }

    /// For people: today's name, the serial number and the size.
    pub fn describe(&self) -> String {
        let name = match (&self.id, &self.shared_serial) {
            (Some(id), None) => id.serial.clone(),
            (Some(id), Some(shared)) => {
                format!("{}, because serial number {shared} is not its own", id.serial)
            }
            (None, Some(shared)) => format!("serial number {shared}, which is not its own"),
            (None, None) => "no serial number".into(),
        };
        format!("{} ({name}, {})", self.name, crate::model::Size(self.size_bytes))
    }

    /// Whether the typed name fits this disk. It may fit others too.
    pub fn is_called(&self, typed: &str) -> bool {
        let typed = one_word(typed.strip_prefix("/dev/disk/by-id/").unwrap_or(typed));
        let has = |name: &str| !typed.is_empty() && name == typed;
        self.id.as_ref().is_some_and(|id| has(&id.serial))
            || self.shared_serial.as_deref().is_some_and(has)
            || self.aliases.iter().any(|alias| has(alias))
    }
}
