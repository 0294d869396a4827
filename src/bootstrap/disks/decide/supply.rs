//! Which disks may be used: the profile selects them, no process uses them, and they are empty or an admin asked to
//! wipe them.

use super::layout::{DisksInput, Wanted};
use super::volumes::Existing;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{
    DiskPart, Expected, Held, Part, Step, WipeDisk, contents, label, objections, volume_tag,
};
use crate::model::Size;
use crate::model::disk::{Content, Coverage, Disk};
use crate::model::disk_use::Use;
use crate::profile::DiskWants;
use std::collections::BTreeMap;

pub(super) struct Supply<'a> {
    /// Disks that are empty, or will be after they are wiped.
    pub(super) free: Vec<&'a Disk>,
    /// Serial numbers of the disks that are wiped.
    pub(super) wiped: Vec<String>,
    /// Those of the free ones that an interrupted run had begun to add, with their identifiers.
    pub(super) begun: Vec<DiskPart>,
}

pub(super) fn take_stock<'a>(
    seen: &'a Observed,
    request: &DisksInput,
    volumes: &[Wanted],
    part: &mut Part,
) -> Supply<'a> {
    let mut supply = Supply { free: Vec::new(), wiped: Vec::new(), begun: Vec::new() };
    refuse_unknown(seen, request.wants, part);
    let begun: Vec<&DiskPart> = request.unfinished.iter().flat_map(grown_by).collect();
    for disk in &seen.disks {
        let serial = disk.id.as_ref().map_or("", |id| id.serial.as_str());
        let is_named = request.wipe.iter().any(|named| named == serial);
        if let Some(why) = why_left(disk, request.wants) {
            if !is_named {
                part.notes.push(format!("disk {} is left alone: {why}", disk.describe()));
            }
            continue;
        }
        if belongs(seen, disk, volumes) {
            continue;
        }
        if is_named {
            supply.wiped.push(serial.to_owned());
        }
        // A run was interrupted between making it a member and adding it to the volume.
        let begun = begun.iter().find(|member| member.id.serial == serial);
        if let Some(begun) = begun.filter(|begun| is_orphan(disk, begun)) {
            supply.begun.push((*begun).clone());
            supply.free.push(disk);
            continue;
        }
        consider(disk, is_named, &mut supply, part);
    }
    say_how_sure(&supply.free, part);
    supply
}

/// Notes how sure it is that each disk is empty, because the admin should know that before agreeing to a plan.
fn say_how_sure(free: &[&Disk], part: &mut Part) {
    let mut looked: BTreeMap<Coverage, Vec<String>> = BTreeMap::new();
    for disk in free {
        if let Some(coverage) = disk.coverage {
            looked.entry(coverage).or_default().push(disk.describe());
        }
    }
    for (coverage, disks) in looked {
        let chance = |share: f64| 100.0 * coverage.chance(share);
        part.notes.push(format!(
            "nothing was found on {}: both ends, {} places where copies of superblocks are kept, and {} at random were \
             read; other data on 1 % of a disk would be seen with at least {:.1} %, on 0.2 % with {:.1} %, on 0.01 % with {:.0} %",
            disks.join(", "),
            coverage.known,
            coverage.random,
            // Never a certainty.
            chance(0.01).min(99.9),
            chance(0.002),
            chance(0.0001),
        ));
    }
}

fn grown_by(step: &Step) -> &[DiskPart] {
    match step {
        Step::GrowVolume(volume) => &volume.disks,
        _ => &[],
    }
}

/// Whether the disk holds only an LVM member with the UUID that the journal has, and is in no group.
fn is_orphan(disk: &Disk, begun: &DiskPart) -> bool {
    let expected = Expected::Own { member: &begun.pv_uuid, group: "", file_system: "" };
    disk.pv.as_ref().is_some_and(|pv| pv.group.is_none()) && objections(disk, expected).is_empty()
}

fn consider<'a>(disk: &'a Disk, is_named: bool, supply: &mut Supply<'a>, part: &mut Part) {
    let expected = if is_named && !disk.is_empty() { Expected::Named } else { Expected::Empty };
    let found = objections(disk, expected);
    if !found.is_empty() {
        for what in found {
            part.refuse(what, help_for(disk));
        }
        return;
    }
    if let (Expected::Named, Some(id)) = (expected, &disk.id) {
        let holds = Held::Things(contents(disk));
        let step = WipeDisk { disk: id.clone(), size: Size(disk.size_bytes), holds };
        part.add(Step::WipeDisk(step), format!("--wipe {} was given", id.serial));
    }
    supply.free.push(disk);
}

fn help_for(disk: &Disk) -> String {
    let name = disk.id.as_ref().map(|id| id.serial.as_str()).or(disk.aliases.first().map(String::as_str));
    let Some(name) = name else {
        return "name the disks to use by `serials` in [bootstrap.disks] of the profile".into();
    };
    let leave = format!("--leave {name} leaves it alone");
    if !disk.uses.is_empty() {
        let mut remedies: Vec<String> = disk.uses.iter().map(Use::remedy).collect();
        remedies.dedup();
        return format!("{leave}; or end that use of it first: {}", remedies.join("; "));
    }
    // What cannot be wiped gets no such advice.
    match &disk.content {
        Content::Held => {
            format!("{leave}; or find who holds it (zpool status, btrfs filesystem show, drbdadm status)")
        }
        Content::Unreadable(_) => leave,
        Content::Blank | Content::Data if disk.read_only || disk.id.is_none() => leave,
        Content::Blank | Content::Data => format!("{leave}; --wipe {name} destroys what is on it"),
    }
}

/// Refuses when a disk that the profile names is not there.
fn refuse_unknown(seen: &Observed, wants: &DiskWants, part: &mut Part) {
    for serial in &wants.serials {
        let what = match seen.disks.iter().filter(|disk| disk.is_called(serial)).count() {
            1 => continue,
            0 => format!("the profile names disk {serial}, and no disk has this serial number"),
            several => {
                format!("the profile names disk {serial}, and {several} disks have this serial number")
            }
        };
        part.refuse(what, super::names::HELP);
    }
}

/// Why the profile does not select this disk; `None`: it does.
pub(super) fn why_left(disk: &Disk, wants: &DiskWants) -> Option<String> {
    if wants.leave.iter().any(|name| disk.is_called(name)) {
        return Some("it is named to be left alone".into());
    }
    if let Some(target) = system_mount(disk) {
        return Some(format!("the system runs from it ({target})"));
    }
    if !wants.serials.is_empty() {
        let named = wants.serials.iter().any(|name| disk.is_called(name));
        return (!named).then(|| "the profile names others".into());
    }
    if disk.transport.as_deref() != Some(&wants.transport) {
        let found = disk.transport.as_deref().unwrap_or("of an unknown kind");
        return Some(format!("it is no {} disk but {found}", wants.transport));
    }
    if disk.removable {
        return Some("it can be pulled out".into());
    }
    (disk.size_bytes < wants.min_size.0).then(|| format!("it is smaller than {}", wants.min_size))
}

fn system_mount(disk: &Disk) -> Option<&str> {
    const SYSTEM: [&str; 6] = ["/", "/boot", "/boot/efi", "/usr", "/var", "/etc"];
    disk.uses.iter().filter_map(Use::mounted_at).find(|target| SYSTEM.contains(target))
}

/// Whether a disk is part of an existing volume, or of one that an interrupted run began.
fn belongs(seen: &Observed, disk: &Disk, volumes: &[Wanted]) -> bool {
    let serial = disk.id.as_ref().map(|id| id.serial.as_str());
    volumes.iter().any(|wanted| match &wanted.existing {
        Existing::Unfinished(volume) => {
            volume.disks.iter().any(|member| Some(member.id.serial.as_str()) == serial)
        }
        // What is wrong with such a volume is among the refusals already.
        Existing::Yes { .. } | Existing::Refused => {
            let tag = volume_tag(wanted.name);
            let group = disk.group().and_then(|name| seen.group(name));
            let of_btrfs = |signature: &crate::model::disk::Signature| {
                signature.kind == "btrfs" && signature.label.as_deref() == Some(&label(wanted.name))
            };
            group.is_some_and(|group| group.tags.contains(&tag)) || disk.signatures.iter().any(of_btrfs)
        }
        Existing::No => false,
    })
}

/// Lists every disk with the reason why it cannot be used as an empty disk.
pub(super) fn explain(seen: &Observed, wants: &DiskWants) -> String {
    let reasons: Vec<String> = seen
        .disks
        .iter()
        .map(|disk| {
            let why = why_left(disk, wants).or_else(|| objections(disk, Expected::Empty).into_iter().next());
            format!("{}: {}", disk.describe(), why.unwrap_or_else(|| "empty".into()))
        })
        .collect();
    if reasons.is_empty() { "this machine has no disks".into() } else { reasons.join("; ") }
}
