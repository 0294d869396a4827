//! Copies whole directory trees, and compares each copy with its original.

use super::Context;
use crate::error::Fault;
use crate::facts::mounts;
use crate::host::{Tool, tree};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::time::Duration;

const COPYING: Duration = Duration::from_hours(24);

/// Copies a tree with owners, modes, times, hard links, attributes, holes and special files.
pub(super) fn copy_tree(context: &Context, from: &Path, to: &Path) -> Result<()> {
    let cmd = Tool::Cp.cmd().args(["--archive", "--sparse=auto", "--no-target-directory", "--"]);
    let cmd = cmd.arg(format!("{}/.", from.display())).arg(to.display().to_string()).timeout(COPYING);
    context.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}

pub(super) fn check_same(from: &Path, to: &Path) -> Result<()> {
    let found = tree::compare(from, to)
        .with_context(|| format!("comparing {} with its copy in {}", from.display(), to.display()))?;
    match found {
        None => Ok(()),
        Some(difference) => Err(Fault::host(format!(
            "{} and its copy are not the same: {}: {}",
            from.display(),
            difference.path.display(),
            difference.what
        ))
        .into()),
    }
}

/// Refuses a directory with other file systems mounted below it: the copy would merge and hide them.
pub(super) fn check_nothing_below(context: &Context, dir: &Path) -> Result<()> {
    let lines = mounts::gather(context.host).map_err(Fault::host)?;
    let below =
        lines.iter().find(|line| Path::new(&line.target) != dir && Path::new(&line.target).starts_with(dir));
    match below {
        None => Ok(()),
        Some(line) => Err(Fault::refused(format!("{} is mounted, below {}", line.target, dir.display()))
            .help("unmount it, and run this again")
            .into()),
    }
}
