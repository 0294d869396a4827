//! Who has a card.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A berth of ours, or somebody berth did not start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Holder {
    Berth {
        owner: String,
        name: String,
        since: Timestamp,
        until: Option<Timestamp>,
    },
    /// A container that berth did not start (or one with our labels that the ledger does not know).
    Container {
        id: String,
        name: String,
        image: String,
        reason: ContainerReason,
    },
    /// A process on the host, outside every berth, with the device open or listed by npu-smi.
    Process {
        pid: u32,
        name: String,
        user: Option<String>,
    },
    /// Processes that no engine here knows, by their cgroup: of another engine, or started by hand.
    Cgroup {
        path: String,
        pid: Option<u32>,
        reason: ContainerReason,
    },
    /// A process inside a berth, with a card open that is not that berth's.
    BerthProcess {
        owner: String,
        name: String,
        pid: u32,
        process: String,
    },
    /// The card is cut into vNPUs, and cannot be had as a whole.
    Vnpu {
        ids: Vec<u32>,
    },
    /// A process that could not be looked into: it may have the card.
    NotLooked {
        pid: u32,
        name: String,
        user: Option<String>,
        /// `OWNER/NAME`
        berth: Option<String>,
        #[serde(default)]
        what: Unseen,
    },
    /// The number of further holders that are not listed.
    More {
        count: usize,
        /// Whether they have the card; else they may have it.
        sure: bool,
    },
}

impl Holder {
    /// Whether they have the card, for all that is known.
    pub fn is_sure(&self) -> bool {
        !matches!(self, Self::NotLooked { .. } | Self::More { sure: false, .. })
    }
}

/// What of a process could not be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// There are too many.
    #[default]
    OpenFiles,
    /// Its /dev is not like others', or there was no time left.
    DeviceNodes,
    /// They are in no table: on their way over a socket, registered with an io_uring.
    HiddenFiles,
}

/// How we know that a container has a card; the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerReason {
    /// A process in it has it open, or npu-smi lists one.
    Open,
    /// `--device=/dev/davinciN`, or a device cgroup rule that takes it in.
    Device,
    /// One of its vNPUs: `--device=/dev/vdavinciN`.
    Vnpu,
    /// A CDI device, `huawei.com/npu=3`, or another driver's.
    Cdi,
    /// `ASCEND_VISIBLE_DEVICES` under the ascend runtime, or under one that berth does not know.
    AscendRuntime,
    /// The kernel lets it: a rule of its device cgroup, which the engine does not tell of.
    DeviceRule,
    /// The node is in its own /dev.
    DeviceNode,
    /// Sees every card, has Ascend's software in it, and the driver does not count it.
    Privileged,
    /// Carries our labels, but the ledger has no such berth.
    UnknownBerth,
}

impl fmt::Display for ContainerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "has it open",
            Self::Device => "has its device",
            Self::Vnpu => "has a vNPU of it",
            Self::Cdi => "has it as a CDI device",
            Self::AscendRuntime => "has it by ASCEND_VISIBLE_DEVICES",
            Self::DeviceRule => "may open its device, by its device cgroup",
            Self::DeviceNode => "has its device node",
            Self::Privileged => "privileged, with Ascend's software",
            Self::UnknownBerth => "a berth the ledger does not know",
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Berth { owner, name, .. } => write!(f, "berth {owner}/{name}"),
            Self::Container { id, name, image, reason } if name.is_empty() && image.is_empty() => {
                let id = id.get(..12).unwrap_or(id);
                write!(f, "container {id} (not of this Docker Engine, {reason})")
            }
            Self::Container { name, image, reason, .. } => {
                // An image without a name is shown as `docker ps` shows it.
                let image = image.strip_prefix("sha256:").and_then(|id| id.get(..12)).unwrap_or(image);
                write!(f, "container {name} ({image}, {reason})")
            }
            Self::Cgroup { path, pid, reason } => {
                write!(f, "cgroup {path} (")?;
                if let Some(pid) = pid {
                    write!(f, "process {pid}, ")?;
                }
                write!(f, "{reason})")
            }
            Self::BerthProcess { owner, name, pid, process } => {
                write!(f, "process {pid} ({process}) in berth {owner}/{name}")
            }
            Self::Vnpu { ids } => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "vNPU {}, into which it is cut", ids.join(","))
            }
            Self::NotLooked { pid, name, user, berth, what } => {
                f.write_str("perhaps ")?;
                match (berth, user) {
                    (Some(berth), _) => write!(f, "berth {berth}")?,
                    (None, Some(user)) => write!(f, "processes of {user}")?,
                    (None, None) => f.write_str("processes")?,
                }
                let what = match what {
                    Unseen::OpenFiles => "with more open files than could be looked at",
                    Unseen::DeviceNodes => "whose device nodes could not be looked at",
                    Unseen::HiddenFiles => "with open files that no table shows",
                };
                write!(f, ", {what} (process {pid}, {name})")
            }
            Self::More { count, sure: true } => write!(f, "{count} more"),
            Self::More { count, sure: false } => write!(f, "perhaps {count} more"),
            Self::Process { pid, name, user } => {
                write!(f, "process {pid} ({}", if name.is_empty() { "name unknown" } else { name })?;
                if let Some(user) = user {
                    write!(f, " of {user}")?;
                }
                f.write_str(")")
            }
        }
    }
}
