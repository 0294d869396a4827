//! The uses of a disk, as typed values. The disk guard decides by the values; the text is for people only.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "use", rename_all = "kebab-case")]
pub enum Use {
    Mounted {
        at: String,
    },
    /// Where only the processes of another mount namespace see it.
    MountedElsewhere {
        at: String,
        process: Process,
    },
    Swap,
    /// A logical volume, by its name in device-mapper: `group-volume`.
    Volume {
        name: String,
    },
    /// Another device over it, of the kind that lsblk says.
    Stacked {
        kind: String,
        name: String,
    },
    /// A loop device, which may begin anywhere on it.
    Loop {
        name: String,
        offset: u64,
    },
    Open {
        process: Process,
    },
    Exported {
        by: Exporter,
        name: String,
    },
    /// It could not be seen whether somebody uses the disk.
    Unseen {
        what: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    /// The systemd unit or the container that it runs in.
    pub unit: Option<String>,
}

/// What hands disks of this machine to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exporter {
    NvmeTarget,
    Lio,
    Scst,
}

impl Use {
    /// Whether it is a logical volume of this group.
    pub fn is_volume_of(&self, group: &str) -> bool {
        // device-mapper doubles the hyphens of both names.
        let Self::Volume { name } = self else { return false };
        let rest = name.strip_prefix(&group.replace('-', "--")).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.starts_with('-'))
    }

    pub fn mounted_at(&self) -> Option<&str> {
        if let Self::Mounted { at } = self { Some(at) } else { None }
    }

    /// Whether the use may end at any time, because it is one of a process. A plan stays valid then.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::MountedElsewhere { .. } | Self::Unseen { .. })
    }

    /// What an admin can do to end the use.
    pub fn remedy(&self) -> String {
        match self {
            Self::Mounted { at } => format!("umount {at}"),
            Self::MountedElsewhere { at, process } => format!("nsenter -t {} -m umount {at}", process.pid),
            Self::Swap => "swapoff".into(),
            Self::Volume { name } => format!("lvchange -an /dev/mapper/{name}"),
            Self::Stacked { name, .. } => format!("stop {name} (dmsetup, mdadm, …)"),
            Self::Loop { name, .. } => format!("losetup -d /dev/{name}"),
            Self::Open { process } => format!("stop {process}"),
            Self::Exported { by, name } => format!("take {name} out of {by}"),
            Self::Unseen { .. } => "make visible what could not be looked at".into(),
        }
    }

    /// As berth wrote it before uses had values.
    fn from_words(words: String) -> Self {
        if let Some(at) = words.strip_prefix("mounted at ") {
            return Self::Mounted { at: at.into() };
        }
        if words == "used as swap" {
            return Self::Swap;
        }
        if let Some(name) = words.strip_prefix("LVM volume ") {
            return Self::Volume { name: name.into() };
        }
        match words.split_once(" device ") {
            Some((kind, name)) => Self::Stacked { kind: kind.into(), name: name.into() },
            None => Self::Unseen { what: words },
        }
    }
}

/// Also those of plans that an older berth wrote.
pub(super) fn read_uses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Use>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Values(Use),
        Words(String),
    }
    let written = Vec::<Written>::deserialize(from)?;
    let uses = written.into_iter().map(|written| match written {
        Written::Values(value) => value,
        Written::Words(words) => Use::from_words(words),
    });
    Ok(uses.collect())
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { at } => write!(f, "mounted at {at}"),
            Self::MountedElsewhere { at, process } => {
                write!(f, "mounted at {at} in the mount namespace of {process}")
            }
            Self::Swap => f.write_str("used as swap"),
            Self::Volume { name } => write!(f, "LVM volume {name}"),
            Self::Stacked { kind, name } => write!(f, "{kind} device {name}"),
            Self::Loop { name, offset } => write!(f, "loop device {name} over it, from byte {offset} on"),
            Self::Open { process } => write!(f, "open in {process}"),
            Self::Exported { by, name } => write!(f, "exported as {name} by {by}"),
            Self::Unseen { what } => write!(f, "it cannot be said that nobody uses it ({what})"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}", self.name, self.pid)?;
        if let Some(unit) = &self.unit {
            write!(f, ", {unit}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NvmeTarget => "the NVMe target",
            Self::Lio => "LIO (targetcli)",
            Self::Scst => "SCST",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_belongs_to_its_group_alone() {
        let volume = |name: &str| Use::Volume { name: name.into() };
        assert!(volume("berth_data-data").is_volume_of("berth_data"));
        assert!(volume("my--group-lv").is_volume_of("my-group"));
        for other in ["berth_data--x-lv", "berth_database-x", "berth_data", "x-berth_data"] {
            assert!(!volume(other).is_volume_of("berth_data"), "{other}");
        }
        assert!(!Use::Swap.is_volume_of(""));
    }

    #[test]
    fn what_an_older_berth_wrote_is_read() {
        #[derive(Deserialize)]
        struct Old(#[serde(deserialize_with = "read_uses")] Vec<Use>);
        let old = r#"["mounted at /mnt", "used as swap", "LVM volume vg-lv", "raid1 device md0", "what?",
                      {"use": "loop", "name": "loop0", "offset": 512}]"#;
        let Old(uses) = serde_json::from_str(old).unwrap();
        let expected = [
            Use::Mounted { at: "/mnt".into() },
            Use::Swap,
            Use::Volume { name: "vg-lv".into() },
            Use::Stacked { kind: "raid1".into(), name: "md0".into() },
            Use::Unseen { what: "what?".into() },
            Use::Loop { name: "loop0".into(), offset: 512 },
        ];
        assert_eq!(uses, expected);
        let said: Vec<String> = uses.iter().take(4).map(Use::to_string).collect();
        assert_eq!(said, ["mounted at /mnt", "used as swap", "LVM volume vg-lv", "raid1 device md0"]);
    }
}
