//! The reboot in the middle of a run: a marker file names the boot that must end, and a unit continues in the next.
//!
//! It never reboots the machine. The marker is written before anything is installed, so that a power cut counts as the
//! reboot too.

use super::decide::resume_unit;
use crate::bootstrap::observed::{BootSeen, Observed};
use crate::bootstrap::plan::{ResumeAfterBoot, ResumeUnit};
use crate::bootstrap::{Context, Wishes};
use crate::error::Fault;
use crate::facts::at_work::MARKER;
use crate::host::{Tool, find_text, sysctl, trust};
use crate::profile::DEFAULT_CONFIG;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

const UNIT: &str = "/etc/systemd/system/berth-bootstrap.service";
const TIMEOUT: Duration = Duration::from_mins(1);

fn marker(context: &Context) -> PathBuf {
    context.directory().join(MARKER)
}

pub(in crate::bootstrap) fn look(context: &Context) -> Result<BootSeen, Fault> {
    let marked = find_text(context.host, &marker(context)).map_err(Fault::host)?;
    Ok(BootSeen { id: boot_id(context)?, marked: marked.map(|text| text.trim().to_owned()) })
}

pub(in crate::bootstrap) fn boot_id(context: &Context) -> Result<String, Fault> {
    let id = sysctl::read(context.host, sysctl::BOOT_ID).unwrap_or_default();
    if id.is_empty() {
        let path = sysctl::path_of(sysctl::BOOT_ID);
        return Err(Fault::host(format!("{} does not say which boot this is", path.display())));
    }
    Ok(id)
}

/// How the run is continued after the reboot: with the same config, profile and `--leave`. It is not given `--wipe`.
pub(in crate::bootstrap) fn resume(
    context: &Context,
    wishes: &Wishes,
    seen: &Observed,
) -> Result<ResumeAfterBoot, String> {
    if !seen.machine.systemd {
        return Ok(ResumeAfterBoot { unit: None });
    }
    let program = std::env::current_exe().map_err(|error| format!("the program's own path: {error}"))?;
    // It will run as root, and by itself; what is in /tmp would not even be there any more.
    trust::check_program(Path::new("/"), &program)?;
    let mut words = vec![text(&program)?];
    words.extend(["bootstrap", "--apply", "--yes", "--after-reboot"].map(str::to_owned));
    // The default one may be written by this very run, behind the reboot.
    if context.config_path != Path::new(DEFAULT_CONFIG) {
        trust::check_root_only(Path::new("/"), &context.config_path)?;
        words.extend(["--config".into(), text(&context.config_path)?]);
    }
    if let Some(profile) = &wishes.profile {
        if profile.starts_with('/') {
            trust::check_root_only(Path::new("/"), Path::new(profile))?;
        }
        words.extend(["--profile".into(), profile.clone()]);
    }
    words.extend(wishes.leave.iter().flat_map(|serial| ["--leave".into(), serial.clone()]));
    let content = resume_unit(&words, &marker(context), &context.config.paths.state)?;
    Ok(ResumeAfterBoot { unit: Some(ResumeUnit { path: UNIT.into(), content }) })
}

fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no text", path.display()))
}

/// Writes the unit, then the marker: without a unit, nothing would ever remove the marker.
pub(in crate::bootstrap) fn prepare(context: &Context, resume: &ResumeAfterBoot) -> Result<()> {
    if let Some(unit) = &resume.unit {
        context
            .host
            .write_atomic(&unit.path, unit.content.as_bytes(), 0o644)
            .with_context(|| format!("writing {}", unit.path.display()))?;
        let name = unit.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for args in [vec!["daemon-reload"], vec!["enable", name.as_str()]] {
            let cmd = Tool::Systemctl.cmd().args(args).timeout(TIMEOUT);
            context.host.run(&cmd).map_err(Fault::from)?;
        }
    }
    let path = marker(context);
    let boot = boot_id(context)?;
    context
        .host
        .write_atomic(&path, format!("{boot}\n").as_bytes(), 0o600)
        .with_context(|| format!("writing {}", path.display()))
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::bootstrap) struct Ending {
    /// The run continued another one after a reboot.
    pub(in crate::bootstrap) was_resumed: bool,
    pub(in crate::bootstrap) failed: bool,
    /// It installed a package, so that a reboot is needed, whatever else went wrong.
    pub(in crate::bootstrap) installed: bool,
}

/// Whether a run that begins now continues another one after a reboot.
pub(in crate::bootstrap) fn is_resumed(context: &Context) -> Result<bool, Fault> {
    Ok(look(context)?.is_over())
}

/// Removes the marker when the run after the reboot has ended, with or without success, so that no later boot starts it
/// again. Also after a run that failed before it installed anything: an admin has to look at that. Otherwise it stays.
pub(in crate::bootstrap) fn forget(context: &Context, ending: Ending) -> Result<(), Fault> {
    let is_given_up = ending.failed && (ending.was_resumed || !ending.installed);
    let seen = look(context)?;
    if seen.marked.is_none() || !(seen.is_over() || is_given_up) {
        return Ok(());
    }
    let path = marker(context);
    let wrong = |error| Fault::host(format!("removing {}: {error}", path.display()));
    context.host.remove(&path).map_err(wrong)
}
