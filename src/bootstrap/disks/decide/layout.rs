//! Plans the disk steps: finds existing volumes and free disks, then plans volumes to make, to grow and to mount.

use super::blocks::refuse_mixed;
use super::mounts::plan_mount;
use super::supply::{self, Supply};
use super::volumes::{Existing, find};
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{DiskPart, Format, GrowVolume, MakeVolume, MoveTree, Part, Step, group_name};
use crate::model::Size;
use crate::model::disk::{Disk, DiskId};
use crate::profile::{DiskWants, Layout};
use std::path::PathBuf;

/// The input of the decision besides the facts.
pub struct DisksInput<'a> {
    pub wants: &'a DiskWants,
    /// Serial numbers that the admin typed after `--wipe`.
    pub wipe: &'a [String],
    /// Steps that an earlier run started and did not finish.
    pub unfinished: &'a [Step],
    /// File systems that earlier runs made, and for which no mount step has started yet.
    pub fresh: &'a [String],
    /// A new UUID at every call.
    pub new_uuid: &'a dyn Fn() -> String,
}

/// Steps for the disks of this machine.
pub fn plan(seen: &Observed, request: &DisksInput) -> Part {
    let mut part = Part::default();
    // Also where no volume is made: nobody should find out at the reboot that a driver asks for.
    if let Some(error) = &seen.fstab.error {
        let what = format!("/etc/fstab line {} is no entry: {} ({:?})", error.line, error.why, error.text);
        part.refuse(what, "mend the line, try `findmnt --verify`, and run this again");
    }
    if request.wants.layout == Layout::None {
        refuse_stray_wipes(request, &[], &mut part);
        part.is_right("disks are left alone (layout none)");
        return part;
    }
    let volumes: Vec<Wanted> = wanted(seen, request, &mut part);
    let supply = supply::take_stock(seen, request, &volumes, &mut part);
    refuse_stray_wipes(request, &supply.wiped, &mut part);
    share_out(seen, request, volumes, supply, &mut part);
    part
}

/// A volume that should be there.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) target: PathBuf,
    pub(super) format: Format,
    pub(super) existing: Existing,
}

fn wanted(seen: &Observed, request: &DisksInput, part: &mut Part) -> Vec<Wanted> {
    let format = match request.wants.layout {
        Layout::Btrfs => Format::Btrfs,
        _ if request.wants.striped => Format::XfsStriped,
        _ => Format::XfsLinear,
    };
    let volumes = request.wants.volumes().into_iter().map(|(name, target)| {
        let existing = find(seen, name, &target, format, request, part);
        Wanted { name, target, format, existing }
    });
    volumes.collect()
}

fn refuse_stray_wipes(request: &DisksInput, wiped: &[String], part: &mut Part) {
    for serial in request.wipe.iter().filter(|serial| !wiped.contains(serial)) {
        part.refuse(
            format!("--wipe {serial}: no disk with this serial number is to be used here"),
            "berth facts shows serial numbers; the profile's [bootstrap.disks] says which disks are used",
        );
    }
}

fn share_out(seen: &Observed, request: &DisksInput, volumes: Vec<Wanted>, supply: Supply, part: &mut Part) {
    let count = volumes.len();
    let needed = volumes.iter().filter(|wanted| matches!(wanted.existing, Existing::No)).count();
    if supply.free.len() < needed {
        let what = format!(
            "{needed} empty disks are needed for {}, and {} there",
            names(&volumes),
            if supply.free.len() == 1 { "1 is".to_owned() } else { format!("{} are", supply.free.len()) }
        );
        part.refuse(what, supply::explain(seen, request.wants));
        return;
    }
    let mut free = supply.free.into_iter();
    let begun = supply.begun;
    let mut parts: Vec<(PathBuf, Part)> = Vec::new();
    for (index, wanted) in volumes.into_iter().enumerate() {
        let mut part = Part::default();
        // Only the last volume grows: the first of `split` is one disk.
        let is_last = index + 1 == count;
        let mut take = |all: bool| -> Vec<&Disk> {
            if all { free.by_ref().collect() } else { free.next().into_iter().collect() }
        };
        match wanted.existing {
            Existing::No => {
                let disks = take(is_last);
                let volume = make(&wanted, members(&disks, &begun, request), (request.new_uuid)());
                let (uuid, name) = (volume.uuid.clone(), wanted.name);
                part.add(Step::MakeVolume(volume), format!("there is no volume {name} yet"));
                finish(seen, request, &wanted, &uuid, true, &mut part);
            }
            Existing::Unfinished(ref volume) => {
                let uuid = volume.uuid.clone();
                part.add(Step::MakeVolume(volume.clone()), "an interrupted run had begun it");
                finish(seen, request, &wanted, &uuid, true, &mut part);
                // Disks that came since.
                let disks = if is_last { take(true) } else { Vec::new() };
                grow(&wanted, members(&disks, &begun, request), 0, &mut part);
            }
            Existing::Yes { ref uuid, free_bytes } => {
                let is_fresh = request.fresh.contains(uuid);
                part.is_right(format!("volume {} is there", wanted.name));
                finish(seen, request, &wanted, uuid, is_fresh, &mut part);
                let disks = if is_last { take(true) } else { Vec::new() };
                let disks = members(&disks, &begun, request);
                match half_grown(seen, request, wanted.name) {
                    Some(mut joined) => {
                        joined.extend(disks);
                        part.add(growth(&wanted, joined), "an interrupted run had begun it");
                    }
                    None => grow(&wanted, disks, free_bytes, &mut part),
                }
            }
            Existing::Refused => {}
        }
        parts.push((wanted.target, part));
    }
    // A mount point may lie on the other volume, which is mounted first then.
    parts.sort_by_key(|(target, _)| target.components().count());
    for (_, mut of_volume) in parts {
        refuse_mixed(seen, &mut of_volume);
        part.append(of_volume);
    }
}

/// The disks that an interrupted run had added already. The file system may not use them yet.
fn half_grown(seen: &Observed, request: &DisksInput, name: &str) -> Option<Vec<DiskPart>> {
    let begun = request.unfinished.iter().find_map(|step| match step {
        Step::GrowVolume(volume) if volume.name == name => Some(&volume.disks),
        _ => None,
    })?;
    let group = group_name(name);
    let is_in =
        |part: &&DiskPart| seen.disk(&part.id.serial).is_some_and(|disk| disk.group() == Some(&group));
    Some(begun.iter().filter(is_in).cloned().collect())
}

fn names(volumes: &[Wanted]) -> String {
    let missing = volumes.iter().filter(|wanted| matches!(wanted.existing, Existing::No));
    missing.map(|wanted| format!("volume {}", wanted.name)).collect::<Vec<_>>().join(" and ")
}

fn make(wanted: &Wanted, disks: Vec<DiskPart>, uuid: String) -> MakeVolume {
    let format = match wanted.format {
        Format::XfsStriped if disks.len() < 2 => Format::XfsLinear,
        format => format,
    };
    MakeVolume { name: wanted.name.into(), format, disks, uuid }
}

/// The disks as members. One that an earlier run had begun to add keeps its identifier; the others get new ones.
fn members(disks: &[&Disk], begun: &[DiskPart], request: &DisksInput) -> Vec<DiskPart> {
    let with_id = disks.iter().filter_map(|disk| disk.id.clone().map(|id| (id, disk.size_bytes)));
    let part = |(id, size): (DiskId, u64)| {
        let known = begun.iter().find(|known| known.id == id).cloned();
        known.unwrap_or_else(|| member(id, Size(size), &(request.new_uuid)()))
    };
    with_id.map(part).collect()
}

fn member(id: DiskId, size: Size, uuid: &str) -> DiskPart {
    DiskPart { id, size, pv_uuid: as_lvm_uuid(uuid) }
}

/// A UUID as LVM writes it, in groups of 6-4-4-4-4-4-6 characters.
fn as_lvm_uuid(uuid: &str) -> String {
    let plain: String = uuid.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut rest = plain.as_str();
    let mut groups = Vec::new();
    for length in [6, 4, 4, 4, 4, 4, 6] {
        let (group, after) = rest.split_at(length.min(rest.len()));
        groups.push(group);
        rest = after;
    }
    groups.join("-")
}

/// Adds the last steps for a volume: moving contents to it, and mounting it.
fn finish(
    seen: &Observed,
    request: &DisksInput,
    wanted: &Wanted,
    uuid: &str,
    is_fresh: bool,
    part: &mut Part,
) {
    let target = wanted.target.display().to_string();
    let is_mounted = seen.mounted_at(&target).is_some();
    let directory = seen.directories.iter().find(|known| known.path == target);
    let entries = directory.map_or(0, |known| known.entries);
    if let Some(real) = directory.and_then(|known| known.link_to.as_ref()) {
        part.refuse(
            format!("{target} leads to {real}, and a volume is mounted where it is said to be"),
            format!("name {real} in [bootstrap.disks], or remove the link"),
        );
        return;
    }
    let spec = format!("UUID={uuid}");
    let is_entered = seen.fstab.entries.iter().any(|entry| entry.target == target && entry.spec == spec);
    let was_begun = mount_was_begun(request, uuid);
    let moves = request.wants.move_contents && wanted.name == "home";
    let step =
        MoveTree { from: wanted.target.clone(), to_volume: wanted.name.into(), to_uuid: uuid.to_owned() };
    if entries == 0 || is_mounted {
        // Nothing is hidden.
    } else if is_entered && moves && was_begun {
        part.add(
            Step::MoveTree(step),
            "an interrupted run came as far as fstab: people may have worked there since",
        );
    } else if is_entered {
        // Every boot mounts it anyway; a move leaves the old contents below.
        part.notes.push(format!("{target} has {entries} names below the volume that is mounted over it"));
    } else {
        let is_fresh = is_fresh || was_begun;
        if moves && is_fresh {
            part.add(Step::MoveTree(step), format!("volume {} will be mounted over it", wanted.name));
        } else {
            let help = if wanted.name == "home" && is_fresh {
                format!("move them away, or set move-contents = true in [bootstrap.disks] for a new {target}")
            } else {
                "move them to another place, and what is needed of them back when the volume is mounted; \
                 nobody may be logged in from there meanwhile"
                    .to_owned()
            };
            let what =
                format!("{target} is not empty ({entries} names), and volume {} would hide it", wanted.name);
            part.refuse(what, help);
        }
    }
    plan_mount(seen, wanted, uuid, part);
}

/// Whether an earlier run began to mount it. If fstab has no line for it, it was never mounted.
fn mount_was_begun(request: &DisksInput, uuid: &str) -> bool {
    request.unfinished.iter().any(|step| matches!(step, Step::AddMount(mount) if mount.uuid == uuid))
}

fn grow(wanted: &Wanted, disks: Vec<DiskPart>, free_bytes: u64, part: &mut Part) {
    /// A smaller difference comes from LVM's rounding.
    const WORTH_IT: u64 = 64 << 20;
    let why = if disks.is_empty() {
        "it has room that the file system does not use"
    } else {
        "there are new empty disks"
    };
    if disks.is_empty() && free_bytes < WORTH_IT {
        return;
    }
    part.add(growth(wanted, disks), why);
}

fn growth(wanted: &Wanted, disks: Vec<DiskPart>) -> Step {
    let (name, target) = (wanted.name.into(), wanted.target.clone());
    Step::GrowVolume(GrowVolume { name, format: wanted.format, disks, target })
}
