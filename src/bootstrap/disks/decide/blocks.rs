//! Disks of different block sizes: LVM refuses to put them into one group, but only after it has written to the first.

use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{DiskPart, Format, Part, Step, group_name};
use std::collections::BTreeMap;

/// Says which block sizes differ among these disks and those already in the volume's group; `None`: all are the same.
pub fn mixed_blocks(seen: &Observed, name: &str, format: Format, disks: &[DiskPart]) -> Option<String> {
    if format == Format::Btrfs {
        return None;
    }
    let group = group_name(name);
    let mut sizes: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for disk in &seen.disks {
        let Some(id) = &disk.id else { continue };
        let is_part = disk.group() == Some(&group) || disks.iter().any(|part| part.id == *id);
        if let Some(size) = disk.block_size.filter(|_| is_part) {
            sizes.entry(size).or_default().push(&id.serial);
        }
    }
    if sizes.len() < 2 {
        return None;
    }
    let each = sizes.iter().map(|(size, disks)| format!("{size} bytes on {}", disks.join(", ")));
    let each: Vec<String> = each.collect();
    Some(format!("volume {name} would have blocks of different sizes: {}", each.join("; ")))
}

pub(super) fn refuse_mixed(seen: &Observed, part: &mut Part) {
    let mixed = part.steps.iter().filter_map(|planned| match &planned.step {
        Step::MakeVolume(volume) => mixed_blocks(seen, &volume.name, volume.format, &volume.disks),
        Step::GrowVolume(volume) => mixed_blocks(seen, &volume.name, volume.format, &volume.disks),
        _ => None,
    });
    let mixed: Vec<String> = mixed.collect();
    for what in mixed {
        part.refuse(
            what,
            "--leave the ones of one size, or give all of them the same with `nvme format --lbaf`",
        );
    }
}
