//! Volumes that berth made, recognised by what is written on them.

use super::layout::DisksInput;
use super::supply::why_left;
use crate::bootstrap::observed::{BtrfsVolume, Observed};
use crate::bootstrap::plan::{
    DiskPart, Expected, Format, MakeVolume, Part, Step, group_name, label, objections, volume_tag,
};
use crate::model::disk::{Disk, Signature};
use crate::model::observed::VolumeGroup;
use crate::profile::DiskWants;
use std::path::Path;

pub(super) enum Existing {
    No,
    Yes {
        uuid: String,
        free_bytes: u64,
    },
    /// An earlier run had begun to make it: the same step is planned again.
    Unfinished(MakeVolume),
    /// It exists and must not be used; the reason is among the refusals.
    Refused,
}

pub(super) fn find(
    seen: &Observed,
    name: &str,
    target: &Path,
    format: Format,
    request: &DisksInput,
    part: &mut Part,
) -> Existing {
    let is_wiped = |serial: &String| request.wipe.contains(serial);
    let begun = request.unfinished.iter().find_map(|step| match step {
        Step::MakeVolume(volume) if volume.name == name => Some(volume),
        _ => None,
    });
    // Who wipes one of its disks does not want it any more.
    let begun = begun.filter(|volume| !volume.disks.iter().any(|member| is_wiped(&member.id.serial)));
    let found = match format {
        Format::Btrfs => find_btrfs(seen, name, begun, part),
        Format::XfsLinear | Format::XfsStriped => find_lvm(seen, name, begun, part),
    };
    match (found, begun) {
        (Found::Nothing, Some(begun)) if is_touched(seen, begun) => resume(seen, begun, request.wants, part),
        (Found::Half, Some(begun)) => resume(seen, begun, request.wants, part),
        (Found::Nothing, _) => Existing::No,
        (Found::Whole { uuid, free_bytes }, _) => {
            let target = target.display().to_string();
            let is_used = is_mounted_at(seen, name, &target);
            match against_adoption(seen, name, request.wants).filter(|_| !is_used) {
                None => Existing::Yes { uuid, free_bytes },
                Some(why) => {
                    part.refuse(
                        format!("volume {name} of berth is on disks that are not meant: {why}"),
                        format!(
                            "if it belongs to another machine, take those disks out; if it is this machine's, \
                             let [bootstrap.disks] and --leave mean its disks, or mount it yourself at {target}"
                        ),
                    );
                    Existing::Refused
                }
            }
        }
        (Found::Half, None) if seen.disks.iter().any(|disk| is_member_named(disk, name, request)) => {
            Existing::No
        }
        (Found::Half, None) => {
            part.refuse(
                format!("volume {name} of berth has no whole file system, and no run of berth on this system began it"),
                "if nothing on it is needed, remove it and name its disks with --wipe SERIAL",
            );
            Existing::Refused
        }
        (Found::Refused, _) => Existing::Refused,
    }
}

/// The UUID of the file system on a volume that berth made, read from its disks.
fn uuid_of<'a>(seen: &'a Observed, name: &str) -> Option<&'a str> {
    let (tag, label) = (volume_tag(name), label(name));
    let group = seen.groups.iter().find(|group| group.tags.contains(&tag));
    let volume = group.and_then(|group| group.volumes.iter().find(|volume| volume.name == name));
    let xfs = volume.and_then(|volume| volume.file_system.as_ref()?.uuid.as_deref());
    let btrfs = || seen.btrfs.iter().find(|volume| volume.label.as_deref() == Some(&label));
    xfs.or_else(|| btrfs().map(|volume| volume.uuid.as_str()))
}

/// Whether the file system that is mounted at `target` is the volume `name`.
pub fn is_mounted_at(seen: &Observed, name: &str, target: &str) -> bool {
    let mounted = seen.mounted_at(target).and_then(|mount| mount.uuid.as_deref());
    mounted.is_some() && mounted == uuid_of(seen, name)
}

/// Why an existing volume must not be used; `None`: it may. All of its disks must be allowed by the profile, because a
/// disk from another server may carry a berth volume too.
fn against_adoption(seen: &Observed, name: &str, wants: &DiskWants) -> Option<String> {
    let (tag, label) = (volume_tag(name), label(name));
    let group = seen.groups.iter().find(|group| group.tags.contains(&tag));
    let is_member = |disk: &&Disk| {
        let of = disk.group();
        let is_btrfs =
            |signature: &Signature| signature.kind == "btrfs" && signature.label.as_ref() == Some(&label);
        (of.is_some() && of == group.map(|group| group.name.as_str())) || disk.signatures.iter().any(is_btrfs)
    };
    let members: Vec<&Disk> = seen.disks.iter().filter(is_member).collect();
    if let Some(group) = group.filter(|group| group.disks != members.len() as u64) {
        let parts = group.disks.saturating_sub(members.len() as u64);
        return Some(format!("{parts} of its parts are not whole disks"));
    }
    members.iter().find_map(|disk| why_left(disk, wants).map(|why| format!("{}: {why}", disk.describe())))
}

/// Whether a disk of this volume is to be wiped.
fn is_member_named(disk: &Disk, name: &str, request: &DisksInput) -> bool {
    let serial = disk.id.as_ref().map(|id| &id.serial);
    disk.group() == Some(group_name(name).as_str())
        && serial.is_some_and(|serial| request.wipe.contains(serial))
}

enum Found {
    Nothing,
    Half,
    Whole { uuid: String, free_bytes: u64 },
    Refused,
}

fn find_lvm(seen: &Observed, name: &str, begun: Option<&MakeVolume>, part: &mut Part) -> Found {
    let tag = volume_tag(name);
    let ours: Vec<&VolumeGroup> = seen.groups.iter().filter(|group| group.tags.contains(&tag)).collect();
    let refused = |part: &mut Part, what: String, help: &str| {
        part.refuse(what, help);
        Found::Refused
    };
    let group = match ours.as_slice() {
        [] => {
            return match seen.group(&group_name(name)) {
                None => Found::Nothing,
                // Made, and not yet tagged, in one command: only where the journal knows its disks.
                Some(group) if begun.is_some() && group.volumes.is_empty() => Found::Half,
                Some(group) => refused(
                    part,
                    format!("the LVM volume group {} is there and berth did not make it", group.name),
                    "rename it (vgrename), if it is needed",
                ),
            };
        }
        [group] => group,
        several => {
            let what = format!("{} volume groups say that they are volume {name} of berth", several.len());
            return refused(part, what, "remove the disks of the one that belongs to another machine");
        }
    };
    if group.missing_disks > 0 && begun.is_none() {
        let what = format!("volume {name} misses {} of its {} disks", group.missing_disks, group.disks);
        return refused(part, what, "put the disk back, and look with: vgs -o +vg_missing_pv_count; pvs");
    }
    let Some(volume) = group.volumes.iter().find(|volume| volume.name == name) else { return Found::Half };
    if !volume.active {
        let what = format!("volume {name} is not active");
        let help = format!("activate it with `vgchange -ay {}`, and run this again", group.name);
        return if begun.is_some() { Found::Half } else { refused(part, what, &help) };
    }
    match &volume.file_system {
        Some(fs) if fs.kind == "xfs" && fs.complete => match &fs.uuid {
            Some(uuid) => Found::Whole { uuid: uuid.clone(), free_bytes: group.free_bytes },
            None => Found::Half,
        },
        Some(fs) if fs.kind != "xfs" => refused(
            part,
            format!("volume {name} holds {}, which berth did not make", fs.kind),
            "berth makes XFS there; look who changed it",
        ),
        _ => Found::Half,
    }
}

fn find_btrfs(seen: &Observed, name: &str, begun: Option<&MakeVolume>, part: &mut Part) -> Found {
    let wanted = label(name);
    let ours: Vec<&BtrfsVolume> =
        seen.btrfs.iter().filter(|volume| volume.label.as_deref() == Some(&wanted)).collect();
    match ours.as_slice() {
        [] => Found::Nothing,
        [volume] if volume.disks.len() as u64 == volume.expected_disks => {
            Found::Whole { uuid: volume.uuid.clone(), free_bytes: 0 }
        }
        [volume] if begun.is_some_and(|begun| begun.uuid == volume.uuid) => Found::Half,
        [volume] => {
            let (there, all) = (volume.disks.len(), volume.expected_disks);
            part.refuse(format!("volume {name} has {there} of its {all} disks"), "put the disk back");
            Found::Refused
        }
        _ => {
            part.refuse(
                format!("several btrfs file systems are called {wanted}"),
                "remove the disks of the one that belongs to another machine",
            );
            Found::Refused
        }
    }
}

/// Whether the interrupted run had already written to one of the disks. Data that others wrote since do not count.
fn is_touched(seen: &Observed, begun: &MakeVolume) -> bool {
    let group = begun.group();
    let is_its = |member: &DiskPart| {
        let disk = seen.disk(&member.id.serial).filter(|disk| !disk.is_empty());
        disk.is_some_and(|disk| objections(disk, own(begun, member, &group)).is_empty())
    };
    begun.disks.iter().any(is_its)
}

fn own<'a>(begun: &'a MakeVolume, member: &'a DiskPart, group: &'a str) -> Expected<'a> {
    Expected::Own { member: &member.pv_uuid, group, file_system: &begun.uuid }
}

/// Continues with the same volume. Refuses unless all of its disks are there, the profile selects them, and they hold
/// only what the interrupted run wrote.
fn resume(seen: &Observed, begun: &MakeVolume, wants: &DiskWants, part: &mut Part) -> Existing {
    let mut against = Vec::new();
    let group = begun.group();
    for member in &begun.disks {
        let Some(disk) = seen.disk(&member.id.serial) else {
            against.push(format!("disk {} is not there", member.id.serial));
            continue;
        };
        against.extend(objections(disk, own(begun, member, &group)));
        against.extend(why_left(disk, wants).map(|why| format!("disk {}: {why}", disk.describe())));
    }
    if against.is_empty() {
        return Existing::Unfinished(begun.clone());
    }
    for what in against {
        part.refuse(
            format!("volume {} was begun by an interrupted run and cannot go on: {what}", begun.name),
            "bring the disk back as it was, or name the disks that the run had written on with --wipe SERIAL",
        );
    }
    Existing::Refused
}
