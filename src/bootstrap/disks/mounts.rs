//! Mounts a volume now and at every boot. fstab is written first, so that the system mounts it also after a power cut.

use super::decide::edit_fstab;
use crate::bootstrap::plan::AddMount;
use crate::bootstrap::{Context, files};
use crate::error::Fault;
use crate::facts::fstab;
use crate::host::{Cmd, Tool, dirs};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(2);

pub(in crate::bootstrap) fn add(context: &Context, mount: &AddMount) -> Result<()> {
    let old = fstab::gather(context.host).map_err(Fault::host)?;
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
        files::replace(context, Path::new(fstab::PATH), &new)?;
    }
    dirs::make_dir(&mount.target, 0o755)?;
    if context.host.exists(Path::new("/run/systemd/system")) {
        run(context, Tool::Systemctl.cmd().arg("daemon-reload"))?;
    }
    let target = mount.target.display();
    if let Some(uuid) = mounted(context, mount)? {
        return if uuid == mount.uuid { Ok(()) } else { Err(something_else(&target.to_string()).into()) };
    }
    run(context, Tool::Mount.cmd().arg(target.to_string()))?;
    match mounted(context, mount)? {
        Some(uuid) if uuid == mount.uuid => Ok(()),
        Some(_) => Err(something_else(&target.to_string()).into()),
        None => {
            Err(Fault::host(format!("mount said that it mounted {target}, and it is not mounted")).into())
        }
    }
}

/// The UUID of the file system at the mount point: `None` where nothing is mounted, empty where it has no UUID.
fn mounted(context: &Context, mount: &AddMount) -> Result<Option<String>, Fault> {
    let seen = crate::bootstrap::look(context)?;
    let found = seen.mounted_at(&mount.target.display().to_string());
    Ok(found.map(|found| found.uuid.clone().unwrap_or_default()))
}

fn something_else(target: &str) -> Fault {
    Fault::refused(format!("something else is mounted at {target}")).help("unmount it, and run this again")
}

fn run(context: &Context, cmd: Cmd) -> Result<()> {
    context.host.run(&cmd.timeout(TIMEOUT)).map_err(Fault::from)?;
    Ok(())
}
