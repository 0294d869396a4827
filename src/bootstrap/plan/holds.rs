//! What is on a disk and would be lost: typed values in a plan, and text for people.

use crate::model::Size;
use crate::model::disk::{Content, Disk, Partition, Signature, Trace};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "holds", rename_all = "kebab-case")]
pub enum Holds {
    Signature(Signature),
    /// It is a part of this LVM volume group.
    PartOf {
        group: String,
    },
    Partition(Partition),
    Trace(Trace),
    /// Data of no kind that is known here.
    Data,
}

/// Everything that is lost when a disk is wiped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Held {
    Things(Vec<Holds>),
    /// The text that plans and journals of schema 1 have instead.
    Words(String),
}

/// What is on a disk. Remains of old structures are listed only where nothing else was found.
pub fn contents(disk: &Disk) -> Vec<Holds> {
    let mut found: Vec<Holds> = disk.signatures.iter().cloned().map(Holds::Signature).collect();
    found.extend(disk.group().map(|group| Holds::PartOf { group: group.to_owned() }));
    found.extend(disk.partitions.iter().cloned().map(Holds::Partition));
    if !found.is_empty() {
        return found;
    }
    found.extend(disk.traces.iter().cloned().map(Holds::Trace));
    if found.is_empty() && disk.content == Content::Data {
        found.push(Holds::Data);
    }
    found
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(signature) => f.write_str(&describe(signature)),
            Self::PartOf { group } => write!(f, "a part of the LVM volume group {group}"),
            Self::Partition(partition) => {
                write!(f, "partition {} ({})", partition.part, Size(partition.size_bytes))?;
                let inside: Vec<String> = partition.signatures.iter().map(describe).collect();
                if inside.is_empty() { Ok(()) } else { write!(f, " with {}", inside.join(", ")) }
            }
            Self::Trace(trace) => write!(
                f,
                "what is left of {} (its superblock or a copy at byte {})",
                trace.kind, trace.offset
            ),
            Self::Data => f.write_str("data of a kind that nobody here knows"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Things(things) => {
                let things: Vec<String> = things.iter().map(ToString::to_string).collect();
                write!(f, "it holds {}", things.join(", "))
            }
            Self::Words(words) => f.write_str(words),
        }
    }
}

fn describe(signature: &Signature) -> String {
    let named = match (&signature.label, &signature.uuid) {
        (Some(label), _) => format!(" {label:?}"),
        (None, Some(uuid)) => format!(" {uuid}"),
        (None, None) => String::new(),
    };
    match signature.kind.as_str() {
        "gpt" | "dos" | "PMBR" => format!("a partition table ({})", signature.kind),
        kind => format!("{kind}{named}"),
    }
}
