//! Executes the disk steps. Each disk is approved again from fresh facts right before a step writes to it. The commands
//! that write are made from that approval: see `bootstrap::plan::proof`.

use super::decide;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{DiskPart, Format, Found, GrowVolume, MakeVolume, Members, Named, WipeDisk};
use crate::bootstrap::{Context, look};
use crate::error::Fault;
use crate::facts::blkid;
use crate::host::{Cmd, Tool, block};
use anyhow::{Context as _, Result};
use std::time::Duration;

/// Commands that write a few blocks.
const SHORT: Duration = Duration::from_mins(2);
/// mkfs discards the whole device first, which takes long on a big one.
const LONG: Duration = Duration::from_hours(1);

pub(in crate::bootstrap) fn wipe(context: &Context, wipe: &WipeDisk) -> Result<()> {
    let named = Named::prove(&look(context)?, wipe).map_err(refused)?;
    run(context, named.take(context.host)?.wipefs().timeout(SHORT))?;
    named
        .take(context.host)?
        .clear_ends()
        .with_context(|| format!("wiping the ends of {}", wipe.disk.path()))?;
    settle(context)
}

fn refused(objections: Vec<String>) -> Fault {
    Fault::refused(objections.join("; ")).help("nothing was written to it; look again: berth bootstrap")
}

/// Makes a volume. Continues where an earlier run was interrupted: each part is looked at before it is made.
pub(in crate::bootstrap) fn make(context: &Context, volume: &MakeVolume) -> Result<()> {
    if volume.uuid.is_empty() {
        return Err(Fault::host("the kernel gave no random UUID").into());
    }
    let seen = look(context)?;
    let members = Members::prove(&seen, volume).map_err(refused)?;
    refuse_mixed(&seen, &volume.name, volume.format, &volume.disks)?;
    if volume.format == Format::Btrfs {
        run(context, members.take_all(context.host)?.mkfs_btrfs().timeout(LONG))?;
        return settle(context);
    }
    make_physical_volumes(context, &members)?;
    if let Some(cmd) = members.vgcreate() {
        run(context, cmd.timeout(SHORT))?;
    }
    make_logical_volume(context, volume, &members)
}

fn refuse_mixed(seen: &Observed, name: &str, format: Format, disks: &[DiskPart]) -> Result<(), Fault> {
    decide::mixed_blocks(seen, name, format, disks).map_or(Ok(()), |what| Err(refused(vec![what])))
}

/// This process holds each disk until it runs pvcreate on it.
fn make_physical_volumes(context: &Context, members: &Members) -> Result<()> {
    for held in members.take_new(context.host)? {
        run(context, held.pvcreate().timeout(SHORT))?;
    }
    Ok(())
}

fn make_logical_volume(context: &Context, volume: &MakeVolume, members: &Members) -> Result<()> {
    let made = members.volume(&look(context)?).map_err(refused)?;
    if let Some(cmd) = made.lvcreate() {
        run(context, cmd.timeout(SHORT))?;
    }
    run(context, Tool::Vgchange.cmd().args(["--activate", "y", &volume.group()]).timeout(SHORT))?;
    settle(context)?;
    let device = made.device();
    block::wait_for_node(&device, Duration::from_secs(30))?;
    let found = blkid::probe(context.host, &device.display().to_string()).map_err(Fault::host)?;
    let Found::ToMake(proved) = made.prove(found.as_ref()).map_err(Fault::refused)? else { return Ok(()) };
    // Disks of different sizes cannot be striped to their ends.
    if volume.format == Format::XfsStriped {
        fill(context, members, &volume.group())?;
    }
    run(context, proved.mkfs().timeout(LONG))?;
    settle(context)
}

/// Adds disks to a volume. Disks that are members already are left out, so growing twice changes nothing.
pub(in crate::bootstrap) fn grow(context: &Context, volume: &GrowVolume) -> Result<()> {
    let seen = look(context)?;
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
        return run(context, new.take_all(context.host)?.add_to_btrfs(&volume.target).timeout(LONG));
    }
    make_physical_volumes(context, &new)?;
    if let Some(cmd) = new.vgextend() {
        run(context, cmd.timeout(SHORT))?;
    }
    fill(context, &new, &volume.group())?;
    run(context, Tool::XfsGrowfs.cmd().arg(target).timeout(SHORT))
}

/// Extends the volume by the free room of its group.
fn fill(context: &Context, members: &Members, group: &str) -> Result<()> {
    if look(context)?.group(group).is_none_or(|group| group.free_bytes == 0) {
        return Ok(());
    }
    run(context, members.lvextend().timeout(SHORT))
}

/// Waits until udev has seen what was written.
fn settle(context: &Context) -> Result<()> {
    run(context, Tool::Udevadm.cmd().args(["settle", "--timeout=60"]).timeout(SHORT))
}

fn run(context: &Context, cmd: Cmd) -> Result<()> {
    context.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}
