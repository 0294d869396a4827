//! The disk guard: lists every objection to writing to a disk, and gives an [`Approved`] only if there is none.
//!
//! [`Approved`] has no public constructor and is never stored: each step that destroys data gets a new one from fresh
//! facts, right before it writes.

use super::contents;
use crate::bootstrap::observed::Observed;
use crate::model::Size;
use crate::model::disk::{Content, Disk, DiskId, HALF_BTRFS, Signature};
use crate::model::disk_use::Use;

/// What may be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Nothing on it.
    Empty,
    /// Nothing on it, or what an interrupted run of ours wrote: an LVM member of this UUID, or a btrfs of that one.
    Own { member: &'a str, group: &'a str, file_system: &'a str },
    /// Anything may be on it, because a person named the disk. It must not be in use.
    Named,
}

/// Proof that the guard has no objection to writing to a disk.
#[derive(Debug)]
pub struct Approved {
    id: DiskId,
    size: Size,
}

impl Approved {
    pub fn id(&self) -> &DiskId {
        &self.id
    }
    pub fn size(&self) -> Size {
        self.size
    }
}

/// Checks the disk in fresh facts. `Err`: all objections.
pub fn approve(
    seen: &Observed,
    id: &DiskId,
    size: Size,
    expected: Expected,
) -> Result<Approved, Vec<String>> {
    let Some(disk) = seen.disk(&id.serial) else {
        return Err(vec![format!("disk {} is not there any more", id.serial)]);
    };
    let mut found = Vec::new();
    if disk.size_bytes != size.0 {
        found.push(format!(
            "disk {} has {} bytes now, and had {} when the plan was made",
            id.serial, disk.size_bytes, size.0
        ));
    }
    if disk.id.as_ref() != Some(id) {
        found.push(format!("disk {} is not called {} any more", id.serial, id.link));
    }
    found.extend(objections(disk, expected));
    if found.is_empty() { Ok(Approved { id: id.clone(), size }) } else { Err(found) }
}

/// Every objection to writing to this disk, and who uses it. Empty: it may be written to.
pub fn objections(disk: &Disk, expected: Expected) -> Vec<String> {
    let name = disk.describe();
    let own = is_own(disk, expected);
    let uses = disk.uses.iter().filter(|used| !(own && is_own_volume(used, expected)));
    let mut found: Vec<String> = uses
        .map(|used| match used {
            Use::Unseen { .. } => format!("disk {name}: {used}"),
            _ => format!("disk {name} is in use: {used}"),
        })
        .collect();
    if disk.id.is_none() {
        found.push(format!(
            "disk {name} has neither a serial number nor a WWID of its own, so that it could be mistaken for another"
        ));
    }
    if disk.read_only {
        found.push(format!("disk {name} is read-only"));
    }
    if disk.content == Content::Held {
        found
            .push(format!("disk {name} is held by somebody whom mounts, swap and device-mapper do not show"));
    }
    if let Content::Unreadable(why) = &disk.content {
        found.push(format!("disk {name} cannot be read: {why}"));
    }
    if expected == Expected::Named || own {
        return found;
    }
    found.extend(contents(disk).into_iter().map(|what| format!("disk {name} holds {what}")));
    found
}

fn is_own(disk: &Disk, expected: Expected) -> bool {
    let Expected::Own { member, group, file_system } = expected else { return false };
    let is_part = |signature: &Signature| match signature.kind.as_str() {
        "LVM2_member" => disk
            .pv
            .as_ref()
            .is_some_and(|pv| pv.uuid == member && pv.group.as_deref().is_none_or(|of| of == group)),
        "btrfs" | HALF_BTRFS => signature.uuid.as_deref() == Some(file_system),
        _ => false,
    };
    disk.partitions.is_empty() && !disk.signatures.is_empty() && disk.signatures.iter().all(is_part)
}

/// Whether the use is only the logical volume of the group that is being made. A mount of that volume is a use of its
/// own, and an objection.
fn is_own_volume(used: &Use, expected: Expected) -> bool {
    matches!(expected, Expected::Own { group, .. } if used.is_volume_of(group))
}
