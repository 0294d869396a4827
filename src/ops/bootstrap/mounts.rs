//! Mounting a volume for good: fstab first, so that a power cut leaves a system that mounts it at boot.

use super::Ground;
use crate::disk::edit_fstab;
use crate::error::Fault;
use crate::facts::{fstab, mounts};
use crate::host::{Cmd, Tool, dirs};
use crate::plan::AddMount;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(2);

pub(super) fn add(ground: &Ground, mount: &AddMount) -> Result<()> {
    let old = fstab::gather(ground.host).map_err(Fault::host)?;
    if let Some(error) = old.error {
        return Err(Fault::refused(format!(
            "{} line {} is no entry: {}",
            fstab::PATH,
            error.line,
            error.why
        ))
        .into());
    }
    let new = edit_fstab(&old.text, mount);
    if new != old.text {
        ground
            .host
            .write_atomic(Path::new(fstab::PATH), new.as_bytes(), 0o644)
            .with_context(|| format!("writing {}", fstab::PATH))?;
    }
    dirs::make_dir(&mount.target, 0o755)?;
    if ground.host.exists(Path::new("/run/systemd/system")) {
        run(ground, Tool::Systemctl.cmd().arg("daemon-reload"))?;
    }
    if is_mounted(ground, &mount.target)? {
        return Ok(());
    }
    run(ground, Tool::Mount.cmd().arg(mount.target.display().to_string()))?;
    if is_mounted(ground, &mount.target)? {
        return Ok(());
    }
    Err(Fault::host(format!("mount said that it mounted {}, and it is not mounted", mount.target.display()))
        .into())
}

fn is_mounted(ground: &Ground, target: &Path) -> Result<bool, Fault> {
    let lines = mounts::gather(ground.host).map_err(Fault::host)?;
    Ok(lines.iter().any(|line| Path::new(&line.target) == target))
}

fn run(ground: &Ground, cmd: Cmd) -> Result<()> {
    ground.host.run(&cmd.timeout(TIMEOUT)).map(|_| ()).map_err(|error| Fault::host(error.to_string()).into())
}
