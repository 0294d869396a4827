//! Copies a directory's contents to a new volume, and compares the two before the volume is used.
//!
//! The old contents stay where they are. Contents of the volume are removed only when they carry berth's mark of an
//! unfinished copy.

use crate::bootstrap::copies::{check_nothing_below, check_same, copy_tree};
use crate::bootstrap::plan::MoveTree;
use crate::bootstrap::{Context, Operator};
use crate::error::Fault;
use crate::facts::mounts;
use crate::host::{Tool, dirs, files, procs, tree};
use crate::model::Size;
use crate::model::docker_seen::Place;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Where the volume is mounted during the copy.
const PLACE: &str = "/run/berth/new";
const MOUNTING: Duration = Duration::from_mins(2);

pub(in crate::bootstrap) fn copy_to_volume(
    context: &Context,
    step: &MoveTree,
    operator: &dyn Operator,
) -> Result<()> {
    let place = Path::new(PLACE);
    dirs::make_dir(place, 0o700)?;
    // Left by a run that was killed.
    if is_mounted(context)? {
        mount(context, Tool::Umount, &[PLACE])?;
    }
    check_nothing_below(context, &step.from)?;
    check_unused(context, step)?;
    check_nobody_works(context, &step.from)?;
    mount(context, Tool::Mount, &[&format!("UUID={}", step.to_uuid), PLACE])?;
    let copied = match tree::look_at(place, &[]) {
        Ok(Place::Free | Place::Unfinished) => fill(context, step, place, operator),
        Ok(Place::Docker | Place::Taken) => check_finished(step, place, operator),
        Err(error) => Err(anyhow::Error::new(error).context(format!("looking at volume {}", step.to_volume))),
    };
    let unmounted = mount(context, Tool::Umount, &[PLACE]);
    copied.and(unmounted)
}

fn fill(context: &Context, step: &MoveTree, place: &Path, operator: &dyn Operator) -> Result<()> {
    let from = step.from.as_path();
    let bytes = tree::measure(from).with_context(|| format!("measuring {}", from.display()))?;
    let free = files::free_bytes(place)?;
    if bytes > free / 100 * 95 {
        let (bytes, free) = (Size(bytes), Size(free));
        return Err(Fault::refused(format!(
            "{} takes {bytes}, and volume {} has room for {free}",
            from.display(),
            step.to_volume
        ))
        .into());
    }
    operator.says(&format!("copying {} to volume {}", Size(bytes), step.to_volume));
    if let Err(error) = copy_once(context, from, place, operator) {
        operator.says(&format!("once more, because {error:#}"));
        copy_once(context, from, place, operator).map_err(|error| {
            let what = format!("{} cannot be copied as it is: {error:#}", from.display());
            Fault::refused(what)
                .help("nobody may work in it meanwhile: log everybody out, and run this again")
        })?;
    }
    let writing = || format!("writing volume {}", step.to_volume);
    tree::sync(place).with_context(writing)?;
    // Who wrote behind our back has ended, or is still there.
    check_nobody_works(context, from)?;
    // From here on it may be somebody's, and nobody empties it any more.
    tree::finish(place).with_context(writing)?;
    tree::sync(place).with_context(writing)
}

/// For a copy that an earlier run finished but did not mount: fails unless it still equals the original.
fn check_finished(step: &MoveTree, place: &Path, operator: &dyn Operator) -> Result<()> {
    operator.says("comparing with what an earlier run copied");
    check_same(&step.from, place).map_err(|error| {
        let (from, volume, uuid) = (step.from.display(), &step.to_volume, &step.to_uuid);
        Fault::refused(format!("{from} and volume {volume} both hold something, and not the same: {error:#}"))
            .help(format!(
                "look at the volume (mount UUID={uuid} /mnt), decide which one counts, and empty the other one"
            ))
            .into()
    })
}

/// Refuses while a process works below the directory: what it writes during the copy would be hidden below the mount.
fn check_nobody_works(context: &Context, from: &Path) -> Result<()> {
    const MOST: usize = 8;
    let proc_root = context.root.join("proc");
    let at_work = procs::at_work_below(&proc_root, from).context("looking at processes")?;
    if at_work.is_empty() {
        return check_not_given(context, from);
    }
    let more = at_work.len().saturating_sub(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = at_work.get(..MOST).unwrap_or(&at_work).join(", ");
    Err(Fault::refused(format!("somebody is at work in {}: {shown}{more}", from.display()))
        .help("nobody may work in it while it is copied: log everybody out, run this from another directory (cd /)")
        .into())
}

/// Refuses while a container has a part of the directory mounted, or the kernel uses a file in it as swap or as a loop
/// device: they would go on writing to the old directory below the new mount.
fn check_not_given(context: &Context, from: &Path) -> Result<()> {
    let (targets, pids) = mounts::also_at(context.host, from).map_err(Fault::host)?;
    let proc_root = context.root.join("proc");
    let container = |pid: &u32| match procs::container_of(&proc_root, *pid) {
        Some(id) => format!("container {}", id.get(..12).unwrap_or(&id)),
        None => format!("process {pid}"),
    };
    let files = mounts::files_in_use(context.host, from).map_err(Fault::host)?;
    let mut users: Vec<String> = targets.into_iter().chain(pids.iter().map(container)).chain(files).collect();
    users.dedup();
    if users.is_empty() {
        return Ok(());
    }
    Err(Fault::refused(format!("a part of {} is in use elsewhere: {}", from.display(), users.join(", ")))
        .help("stop those containers (docker ps), or end that use of it (umount, swapoff, losetup -d), and run this again")
        .into())
}

fn copy_once(context: &Context, from: &Path, place: &Path, operator: &dyn Operator) -> Result<()> {
    // Refuses a volume that has anything on it without our mark.
    tree::begin(place).and_then(|()| tree::empty(place)).context("emptying the new volume")?;
    let began = SystemTime::now();
    copy_tree(context, from, place)?;
    operator.says("comparing");
    check_same(from, place)?;
    // What was written behind the comparison, by somebody who has ended since or whom no list of processes shows.
    match tree::changed_since(from, began).with_context(|| format!("looking through {}", from.display()))? {
        None => Ok(()),
        Some(path) => bail!("{} changed while it was copied", path.display()),
    }
}

/// Fails while the volume is mounted.
fn check_unused(context: &Context, step: &MoveTree) -> Result<(), Fault> {
    let seen = crate::bootstrap::look(context)?;
    let user = seen.mounts.iter().find(|mount| mount.uuid.as_deref() == Some(&step.to_uuid));
    user.map_or(Ok(()), |mount| {
        Err(Fault::refused(format!("volume {} is mounted at {}", step.to_volume, mount.target))
            .help("unmount it, and run this again"))
    })
}

fn is_mounted(context: &Context) -> Result<bool, Fault> {
    let lines = mounts::gather(context.host).map_err(Fault::host)?;
    Ok(lines.iter().any(|line| line.target == PLACE))
}

fn mount(context: &Context, tool: Tool, args: &[&str]) -> Result<()> {
    let cmd = tool.cmd().args(args.iter().copied()).timeout(MOUNTING);
    context.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}
