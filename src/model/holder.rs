//! Who has a card.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A berth of ours, or somebody berth did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// How we know that a container has a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerReason {
    /// `--device=/dev/davinciN`, or a device cgroup rule that takes it in.
    Device,
    /// `ASCEND_VISIBLE_DEVICES` under the ascend runtime.
    AscendRuntime,
    /// Sees every card, and the driver does not count it.
    Privileged,
    /// Carries our labels, but the ledger has no such berth.
    UnknownBerth,
}

impl fmt::Display for ContainerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "has its device",
            Self::AscendRuntime => "has it by ASCEND_VISIBLE_DEVICES",
            Self::Privileged => "privileged",
            Self::UnknownBerth => "a berth the ledger does not know",
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Berth { owner, name, .. } => write!(f, "berth {owner}/{name}"),
            Self::Container { name, image, reason, .. } => {
                // An image without a name is shown as `docker ps` shows it.
                let image = image.strip_prefix("sha256:").and_then(|id| id.get(..12)).unwrap_or(image);
                write!(f, "container {name} ({image}, {reason})")
            }
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
