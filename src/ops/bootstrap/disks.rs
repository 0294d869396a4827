//! Doing what was decided about disks. Each disk is approved again from fresh facts right before it is written to.

use super::{Ground, look};
use crate::disk;
use crate::error::Fault;
use crate::facts::server;
use crate::host::{Cmd, Tool, block};
use crate::model::observed::Observed;
use crate::plan::{
    Approved, DiskPart, Expected, Format, GrowVolume, MakeVolume, WipeDisk, approve, label, volume_tag,
};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Commands that write a few blocks.
const SHORT: Duration = Duration::from_mins(2);
/// mkfs discards the whole device first, which takes its time on a big one.
const LONG: Duration = Duration::from_hours(1);

pub(super) fn wipe(ground: &Ground, wipe: &WipeDisk) -> Result<()> {
    let seen = look(ground)?;
    let approved = approve(&seen, &wipe.disk, wipe.size, Expected::Named).map_err(refused)?;
    // Dropped at once: wipefs takes the disk for itself too.
    drop(take(ground, &approved)?);
    run(ground, Tool::Wipefs.cmd().args(["--all", &wipe.disk.path()]).timeout(SHORT))?;
    take(ground, &approved)?
        .wipe_ends(&wipe.disk.serial)
        .with_context(|| format!("wiping the ends of {}", wipe.disk.path()))?;
    settle(ground)
}

fn take(ground: &Ground, approved: &Approved) -> Result<block::Alone, Fault> {
    block::take_alone(ground.host, approved.id(), approved.size().0)
}

/// All of them before the first is written to, so that none is left half way. Each is held until its turn.
fn take_all<'a>(
    ground: &Ground,
    approved: impl IntoIterator<Item = &'a Approved>,
) -> Result<Vec<block::Alone>, Fault> {
    approved.into_iter().map(|approved| take(ground, approved)).collect()
}

fn refused(objections: Vec<String>) -> Fault {
    Fault::refused(objections.join("; ")).help("nothing was written to it; look again: berth bootstrap")
}

/// Takes up wherever an earlier run was interrupted: each part is looked at before it is made.
pub(super) fn make(ground: &Ground, volume: &MakeVolume) -> Result<()> {
    if volume.uuid.is_empty() {
        return Err(Fault::host("the kernel gave no random UUID").into());
    }
    let seen = look(ground)?;
    let group = volume.group();
    let approved = approve_all(&seen, &volume.disks, &group, &volume.uuid)?;
    refuse_mixed(&seen, &volume.name, volume.format, &volume.disks)?;
    if volume.format == Format::Btrfs {
        return make_btrfs(ground, volume, &seen, &approved);
    }
    make_members(ground, &seen, &volume.disks, &approved)?;
    make_group(ground, volume, &seen)?;
    make_logical_volume(ground, volume)?;
    make_xfs(ground, volume)
}

fn approve_all(seen: &Observed, disks: &[DiskPart], group: &str, uuid: &str) -> Result<Vec<Approved>, Fault> {
    let mut approved = Vec::new();
    let mut objections = Vec::new();
    for disk in disks {
        let expected = Expected::Own { member: &disk.pv_uuid, group, file_system: uuid };
        match approve(seen, &disk.id, disk.size, expected) {
            Ok(value) => approved.push(value),
            Err(found) => objections.extend(found),
        }
    }
    if objections.is_empty() { Ok(approved) } else { Err(refused(objections)) }
}

fn refuse_mixed(seen: &Observed, name: &str, format: Format, disks: &[DiskPart]) -> Result<(), Fault> {
    disk::mixed_blocks(seen, name, format, disks).map_or(Ok(()), |what| Err(refused(vec![what])))
}

fn make_members(ground: &Ground, seen: &Observed, disks: &[DiskPart], approved: &[Approved]) -> Result<()> {
    let is_made = |part: &DiskPart| seen.disk(&part.id.serial).is_some_and(|disk| disk.pv.is_some());
    let new: Vec<_> = disks.iter().zip(approved).filter(|(part, _)| !is_made(part)).collect();
    let held = take_all(ground, new.iter().map(|(_, approved)| *approved))?;
    for ((part, _), held) in new.into_iter().zip(held) {
        // pvcreate takes it for itself.
        drop(held);
        // Without --yes: should it find a signature that we did not, it asks, gets no answer, and stops.
        let path = part.id.path();
        let args = ["--norestorefile", "--uuid", part.pv_uuid.as_str(), path.as_str()];
        run(ground, Tool::Pvcreate.cmd().args(args).timeout(SHORT))?;
    }
    Ok(())
}

fn make_group(ground: &Ground, volume: &MakeVolume, seen: &Observed) -> Result<()> {
    let group = volume.group();
    let is_in =
        |part: &&DiskPart| seen.disk(&part.id.serial).is_some_and(|disk| disk.group() == Some(&group));
    let outside = volume.disks.iter().filter(|part| !is_in(part)).map(|part| part.id.path());
    let outside: Vec<String> = outside.collect();
    if outside.is_empty() {
        return Ok(());
    }
    let cmd = if outside.len() == volume.disks.len() {
        let tag = volume_tag(&volume.name);
        Tool::Vgcreate.cmd().args(["--addtag", "berth", "--addtag", &tag, &group]).args(outside)
    } else {
        Tool::Vgextend.cmd().arg(&group).args(outside)
    };
    run(ground, cmd.timeout(SHORT))
}

fn make_logical_volume(ground: &Ground, volume: &MakeVolume) -> Result<()> {
    let group = volume.group();
    let seen = look(ground)?;
    let is_there =
        seen.group(&group).is_some_and(|group| group.volumes.iter().any(|known| known.name == volume.name));
    if !is_there {
        let stripes = volume.disks.len().to_string();
        // The disks are approved: what an old file system left in their middle may go.
        let mut cmd = Tool::Lvcreate.cmd().args(["--yes", "--wipesignatures", "y", "--extents", "100%FREE"]);
        if volume.format == Format::XfsStriped {
            cmd = cmd.args(["--stripes", &stripes]);
        }
        run(ground, cmd.args(["--name", &volume.name, &group]).timeout(SHORT))?;
    }
    run(ground, Tool::Vgchange.cmd().args(["--activate", "y", &group]).timeout(SHORT))?;
    settle(ground)?;
    Ok(block::wait_for_node(&device(volume), Duration::from_secs(30))?)
}

fn device(volume: &MakeVolume) -> PathBuf {
    Path::new("/dev").join(volume.group()).join(&volume.name)
}

fn make_xfs(ground: &Ground, volume: &MakeVolume) -> Result<()> {
    let device = device(volume).display().to_string();
    let found = server::probe(ground.host, &device).map_err(Fault::host)?;
    match found {
        Some(fs) if fs.kind == "xfs" && fs.uuid.as_deref() == Some(&volume.uuid) && fs.complete => {
            return Ok(());
        }
        // Half made, by us: nobody could have mounted it.
        Some(fs) if fs.kind == "xfs" && !fs.complete => {}
        Some(fs) => {
            return Err(Fault::refused(format!("{device} holds {}, which was not expected", fs.kind)).into());
        }
        None => {}
    }
    // Disks of different sizes cannot be striped to their ends.
    if volume.format == Format::XfsStriped {
        fill(ground, &volume.group(), &volume.name)?;
    }
    let uuid = format!("uuid={}", volume.uuid);
    let label = label(&volume.name);
    let args = ["-f", "-m", uuid.as_str(), "-L", label.as_str(), device.as_str()];
    run(ground, Tool::MkfsXfs.cmd().args(args).timeout(LONG))?;
    settle(ground)
}

fn make_btrfs(ground: &Ground, volume: &MakeVolume, seen: &Observed, approved: &[Approved]) -> Result<()> {
    let is_clean =
        |part: &DiskPart| seen.disk(&part.id.serial).is_some_and(|disk| disk.signatures.is_empty());
    let held = take_all(ground, approved)?;
    let metadata = if volume.disks.len() > 1 { "raid1" } else { "dup" };
    let label = label(&volume.name);
    let mut cmd = Tool::MkfsBtrfs.cmd().args(["--uuid", &volume.uuid, "--label", &label]);
    cmd = cmd.args(["--data", "single", "--metadata", metadata]);
    if !volume.disks.iter().all(is_clean) {
        // Our own unfinished one: the guard lets nothing else pass.
        cmd = cmd.arg("--force");
    }
    // mkfs takes them for itself.
    drop(held);
    run(ground, cmd.args(volume.disks.iter().map(|part| part.id.path())).timeout(LONG))?;
    settle(ground)
}

/// Members that are in it already are left out; growing twice changes nothing.
pub(super) fn grow(ground: &Ground, volume: &GrowVolume) -> Result<()> {
    let seen = look(ground)?;
    let group = volume.group();
    let target = volume.target.display().to_string();
    let new: Vec<&DiskPart> = volume.disks.iter().filter(|part| !is_member(&seen, part, volume)).collect();
    let new: Vec<DiskPart> = new.into_iter().cloned().collect();
    let approved = approve_all(&seen, &new, &group, "")?;
    refuse_mixed(&seen, &volume.name, volume.format, &new)?;
    if !disk::is_mounted_at(&seen, &volume.name, &target) {
        let what = format!("volume {} is not what is mounted at {target}", volume.name);
        return Err(Fault::refused(what).help("mount it, and run this again").into());
    }
    let paths: Vec<String> = new.iter().map(|part| part.id.path()).collect();
    if volume.format == Format::Btrfs {
        if paths.is_empty() {
            return Ok(());
        }
        drop(take_all(ground, &approved)?);
        return run(ground, Tool::Btrfs.cmd().args(["device", "add"]).args(paths).arg(target).timeout(LONG));
    }
    make_members(ground, &seen, &new, &approved)?;
    if !paths.is_empty() {
        run(ground, Tool::Vgextend.cmd().arg(&group).args(paths).timeout(SHORT))?;
    }
    fill(ground, &group, &volume.name)?;
    run(ground, Tool::XfsGrowfs.cmd().arg(target).timeout(SHORT))
}

/// Gives the volume the room that its group still has: behind what is striped over the first disks, or over as much as all of
/// them have, comes a linear part.
fn fill(ground: &Ground, group: &str, name: &str) -> Result<()> {
    if look(ground)?.group(group).is_none_or(|group| group.free_bytes == 0) {
        return Ok(());
    }
    let path = format!("{group}/{name}");
    let args = ["--extents", "+100%FREE", "--stripes", "1", path.as_str()];
    run(ground, Tool::Lvextend.cmd().args(args).timeout(SHORT))
}

fn is_member(seen: &Observed, part: &DiskPart, volume: &GrowVolume) -> bool {
    let Some(disk) = seen.disk(&part.id.serial) else { return false };
    let of_btrfs = disk.signatures.iter().any(|signature| {
        signature.kind == "btrfs" && signature.label.as_deref() == Some(&label(&volume.name))
    });
    disk.group() == Some(volume.group().as_str()) || of_btrfs
}

/// udev has seen what was written.
fn settle(ground: &Ground) -> Result<()> {
    run(ground, Tool::Udevadm.cmd().args(["settle", "--timeout=60"]).timeout(SHORT))
}

fn run(ground: &Ground, cmd: Cmd) -> Result<()> {
    ground.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}
