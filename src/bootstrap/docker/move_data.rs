//! Moves Docker's data: Docker is stopped, the data are copied and compared, and only then daemon.json names the copy.
//! Until then Docker starts with the old data at every boot. So a copy that an earlier run left is never used, but
//! made anew.

use super::apply::{fresh, restart_all, run_state, start, stop_all, stop_docker, write_settings};
use super::back::Before;
use super::decide;
use super::restart_list;
use crate::bootstrap::copies::{check_nothing_below, check_same, copy_tree};
use crate::bootstrap::disks;
use crate::bootstrap::plan::MoveDockerData;
use crate::bootstrap::{Context, Operator};
use crate::error::{Fault, flatten};
use crate::facts::docker::copy_of;
use crate::host::{files, tree};
use crate::model::Size;
use crate::model::docker_seen::{DockerSeen, Place};
use anyhow::{Context as _, Result};
use std::path::Path;

pub(in crate::bootstrap) fn copy_and_switch(
    context: &Context,
    step: &MoveDockerData,
    operator: &dyn Operator,
    before: &mut Option<Before>,
) -> Result<()> {
    let seen = fresh(context)?;
    if Path::new(&seen.root) == step.to {
        return Ok(());
    }
    if Path::new(&seen.root) != step.from {
        return Err(Fault::refused(format!(
            "Docker's data are in {} now, and not in {}",
            seen.root,
            step.from.display()
        ))
        .into());
    }
    check_target(context, &step.to)?;
    check_places(&seen, &step.to)?;
    if let Some(refusal) = decide::elsewhere(&seen).or_else(|| decide::immovable(&seen)) {
        return Err(Fault::refused(refusal.what).help(refusal.help.unwrap_or_default()).into());
    }
    let mut stopped = Ok(());
    if seen.service.as_ref().is_some_and(|service| service.is_active) {
        let state = run_state(context)?;
        state.check_none_removed()?;
        let inventory = state.inventory;
        restart_list::add(context, inventory.clone())?;
        operator.says(&format!("stopping {} containers and Docker", inventory.running.len()));
        stopped = stop_all(context, &inventory);
    }
    let moved = stopped
        .and_then(|()| stop_docker(context, seen.has_socket_unit))
        .and_then(|()| copy(context, step, operator))
        .and_then(|()| switch(context, step));
    *before = moved.map_err(|error| with_docker_back(context, operator, error))?;
    Ok(())
}

fn switch(context: &Context, step: &MoveDockerData) -> Result<Option<Before>> {
    let written = write_settings(context, &step.configure);
    let is_told = || fresh(context).map_or(true, |seen| Path::new(&seen.root) != step.from);
    // As long as Docker was never told of it, nobody uses the copy.
    if written.is_err() && !is_told() {
        tree::reopen(&step.to).with_context(|| format!("marking {}", step.to.display()))?;
    }
    Ok(written?.map(|before| Before { copy: Some(step.to.clone()), ..before }))
}

/// Fails unless our volume is mounted there: the data must not go to the empty mount point or to another file system.
fn check_target(context: &Context, to: &Path) -> Result<()> {
    let seen = crate::bootstrap::look(context)?;
    for (name, target) in context.profile.bootstrap.disks.volumes() {
        if to.starts_with(&target)
            && !disks::decide::is_mounted_at(&seen, name, &target.display().to_string())
        {
            return Err(
                Fault::refused(format!("volume {name} is not mounted at {}", target.display())).into()
            );
        }
    }
    Ok(())
}

/// Refuses when the new place holds other data. The volume may just have been mounted, after the plan was made.
fn check_places(seen: &DockerSeen, to: &Path) -> Result<(), Fault> {
    for (path, place) in [(to.to_path_buf(), seen.wanted), (copy_of(to), seen.copy)] {
        if matches!(place, Place::Docker | Place::Taken) {
            let (to, path) = (to.display(), path.display());
            return Err(Fault::refused(format!(
                "Docker's data should move to {to}, and {path} holds something"
            ))
            .help("look at the plan again, now that its volume is mounted: berth bootstrap"));
        }
    }
    Ok(())
}

fn copy(context: &Context, step: &MoveDockerData, operator: &dyn Operator) -> Result<()> {
    let (from, to) = (step.from.as_path(), step.to.as_path());
    check_nothing_below(context, from)?;
    let new = copy_of(to);
    for old in [new.as_path(), to] {
        check_nothing_below(context, old)?;
        tree::discard(old).with_context(|| format!("removing {}", old.display()))?;
    }
    let bytes = tree::measure(from).with_context(|| format!("measuring {}", from.display()))?;
    let above = to.parent().unwrap_or(Path::new("/"));
    crate::host::dirs::make_dir(above, 0o755)?;
    let free = files::free_bytes(above)?;
    if bytes > free / 100 * 95 {
        return Err(Fault::refused(format!(
            "Docker's data take {}, and {} has {} left",
            Size(bytes),
            above.display(),
            Size(free)
        ))
        .into());
    }
    operator.says(&format!("copying {} to {}", Size(bytes), new.display()));
    tree::begin(&new).with_context(|| format!("making {}", new.display()))?;
    copy_tree(context, from, &new)?;
    operator.says("comparing");
    check_same(from, &new)?;
    tree::settle(&new, to).with_context(|| format!("renaming {} to {}", new.display(), to.display()))?;
    // Before Docker is told: what it works with must never be taken for a copy that nobody uses.
    tree::finish(to).and_then(|()| tree::sync(to)).with_context(|| format!("finishing {}", to.display()))
}

/// Starts Docker again with the old data after a failed copy, and returns `error` with the result. The next run makes a
/// new copy.
fn with_docker_back(context: &Context, operator: &dyn Operator, error: anyhow::Error) -> anyhow::Error {
    operator.says("starting Docker again with its old data");
    match start(context, "start").and_then(|()| restart_all(context, operator)) {
        Ok(()) => error,
        Err(other) => {
            error.context(format!("Docker does not run again either ({})", flatten(&other).message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_move_only_to_a_free_place_or_over_what_was_copied_before() {
        let allowed = |wanted, copy| {
            let seen = DockerSeen { wanted, copy, ..DockerSeen::default() };
            check_places(&seen, Path::new("/data/docker")).is_ok()
        };
        for place in [Place::Free, Place::Unfinished] {
            assert!(allowed(place, Place::Free) && allowed(Place::Free, place));
        }
        for place in [Place::Docker, Place::Taken] {
            assert!(!allowed(place, Place::Free) && !allowed(Place::Free, place));
        }
    }
}
