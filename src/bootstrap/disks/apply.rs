//! Doing what was decided about disks. Each disk is approved again from fresh facts right before it is written to, and what
//! writes to it comes from that proof: see `bootstrap::plan::proof`.

use super::decide;
use crate::bootstrap::plan::{DiskPart, Format, Found, GrowVolume, MakeVolume, Members, Named, WipeDisk};
use crate::bootstrap::{Ground, look};
use crate::error::Fault;
use crate::facts::server;
use crate::host::{Cmd, Tool, block};
use crate::model::observed::Observed;
use anyhow::{Context as _, Result};
use std::time::Duration;

/// Commands that write a few blocks.
const SHORT: Duration = Duration::from_mins(2);
/// mkfs discards the whole device first, which takes its time on a big one.
const LONG: Duration = Duration::from_hours(1);

pub(in crate::bootstrap) fn wipe(ground: &Ground, wipe: &WipeDisk) -> Result<()> {
    let named = Named::prove(&look(ground)?, wipe).map_err(refused)?;
    run(ground, named.take(ground.host)?.wipefs().timeout(SHORT))?;
    named
        .take(ground.host)?
        .clear_ends()
        .with_context(|| format!("wiping the ends of {}", wipe.disk.path()))?;
    settle(ground)
}

fn refused(objections: Vec<String>) -> Fault {
    Fault::refused(objections.join("; ")).help("nothing was written to it; look again: berth bootstrap")
}

/// Takes up wherever an earlier run was interrupted: each part is looked at before it is made.
pub(in crate::bootstrap) fn make(ground: &Ground, volume: &MakeVolume) -> Result<()> {
    if volume.uuid.is_empty() {
        return Err(Fault::host("the kernel gave no random UUID").into());
    }
    let seen = look(ground)?;
    let members = Members::prove(&seen, volume).map_err(refused)?;
    refuse_mixed(&seen, &volume.name, volume.format, &volume.disks)?;
    if volume.format == Format::Btrfs {
        run(ground, members.take_all(ground.host)?.mkfs_btrfs().timeout(LONG))?;
        return settle(ground);
    }
    make_physical_volumes(ground, &members)?;
    if let Some(cmd) = members.vgcreate() {
        run(ground, cmd.timeout(SHORT))?;
    }
    make_logical_volume(ground, volume, &members)
}

fn refuse_mixed(seen: &Observed, name: &str, format: Format, disks: &[DiskPart]) -> Result<(), Fault> {
    decide::mixed_blocks(seen, name, format, disks).map_or(Ok(()), |what| Err(refused(vec![what])))
}

/// Each is held until its turn.
fn make_physical_volumes(ground: &Ground, members: &Members) -> Result<()> {
    for held in members.take_new(ground.host)? {
        run(ground, held.pvcreate().timeout(SHORT))?;
    }
    Ok(())
}

fn make_logical_volume(ground: &Ground, volume: &MakeVolume, members: &Members) -> Result<()> {
    let made = members.volume(&look(ground)?).map_err(refused)?;
    if let Some(cmd) = made.lvcreate() {
        run(ground, cmd.timeout(SHORT))?;
    }
    run(ground, Tool::Vgchange.cmd().args(["--activate", "y", &volume.group()]).timeout(SHORT))?;
    settle(ground)?;
    let device = made.device();
    block::wait_for_node(&device, Duration::from_secs(30))?;
    let found = server::probe(ground.host, &device.display().to_string()).map_err(Fault::host)?;
    let Found::ToMake(proved) = made.prove(found.as_ref()).map_err(Fault::refused)? else { return Ok(()) };
    // Disks of different sizes cannot be striped to their ends.
    if volume.format == Format::XfsStriped {
        fill(ground, members, &volume.group())?;
    }
    run(ground, proved.mkfs().timeout(LONG))?;
    settle(ground)
}

/// Members that are in it already are left out; growing twice changes nothing.
pub(in crate::bootstrap) fn grow(ground: &Ground, volume: &GrowVolume) -> Result<()> {
    let seen = look(ground)?;
    let target = volume.target.display().to_string();
    let new = Members::prove_new(&seen, volume).map_err(refused)?;
    refuse_mixed(&seen, &volume.name, volume.format, &volume.disks)?;
    if !decide::is_mounted_at(&seen, &volume.name, &target) {
        let what = format!("volume {} is not what is mounted at {target}", volume.name);
        return Err(Fault::refused(what).help("mount it, and run this again").into());
    }
    if volume.format == Format::Btrfs {
        if new.is_empty() {
            return Ok(());
        }
        return run(ground, new.take_all(ground.host)?.add_to_btrfs(&volume.target).timeout(LONG));
    }
    make_physical_volumes(ground, &new)?;
    if let Some(cmd) = new.vgextend() {
        run(ground, cmd.timeout(SHORT))?;
    }
    fill(ground, &new, &volume.group())?;
    run(ground, Tool::XfsGrowfs.cmd().arg(target).timeout(SHORT))
}

/// Gives the volume the room that its group still has.
fn fill(ground: &Ground, members: &Members, group: &str) -> Result<()> {
    if look(ground)?.group(group).is_none_or(|group| group.free_bytes == 0) {
        return Ok(());
    }
    run(ground, members.lvextend().timeout(SHORT))
}

/// udev has seen what was written.
fn settle(ground: &Ground) -> Result<()> {
    run(ground, Tool::Udevadm.cmd().args(["settle", "--timeout=60"]).timeout(SHORT))
}

fn run(ground: &Ground, cmd: Cmd) -> Result<()> {
    ground.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}
