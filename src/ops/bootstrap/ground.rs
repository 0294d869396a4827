//! What every part of bootstrap stands on: the machine, the config, the profile, and somebody to tell.

use super::Draft;
use crate::error::Fault;
use crate::host::{Host, dirs, files};
use crate::model::Size;
use crate::plan::Step;
use crate::profile::{Config, Profile};
use std::path::{Path, PathBuf};

pub struct Ground<'a> {
    pub host: &'a dyn Host,
    /// `/`; tests have a root of their own.
    pub root: &'a Path,
    pub config: &'a Config,
    /// The profile that the config itself names, whatever the admin named for this run.
    pub own_profile: &'a str,
    pub profile: &'a Profile,
    /// The config's file, whether it is there or not.
    pub config_path: PathBuf,
}

/// Who is told what happens, and who may ask for a stop between two steps.
pub trait Progress {
    fn starts(&self, number: usize, of: usize, step: &Step);
    /// What a long step is at.
    fn says(&self, text: &str);
    fn ended(&self, step: &Step, error: Option<&Fault>);
    /// Shows what will be done and asks whether it should be.
    fn agrees(&self, draft: &Draft) -> anyhow::Result<()>;
    fn wants_stop(&self) -> bool;
}

impl Ground<'_> {
    pub fn directory(&self) -> PathBuf {
        self.config.paths.state.join("bootstrap")
    }

    pub fn journal_path(&self) -> PathBuf {
        self.directory().join("journal.jsonl")
    }
}

/// Disks cannot be looked at without root.
pub fn check_rights() -> Result<(), Fault> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::refused("looking at disks needs root").help("run it with sudo"))
}

/// Where the journal and the lock are.
pub fn make_directory(ground: &Ground) -> Result<(), Fault> {
    dirs::make_dir(&ground.config.paths.state, 0o711)?;
    dirs::make_dir(&ground.directory(), 0o700)
}

/// What must hold before the first step of any plan: nothing is begun that could not be written down.
pub fn check_ground(ground: &Ground) -> Result<(), Fault> {
    /// Configuration, the journal and what package managers leave behind.
    const ROOM: u64 = 64 << 20;
    let directory = ground.directory();
    for path in [Path::new("/etc"), &directory] {
        dirs::check_writable(path).map_err(|fault| {
            Fault::refused(fault.message)
                .help("nothing was changed; is its file system mounted read-only (findmnt -T)?")
        })?;
    }
    for path in [Path::new("/etc"), &directory] {
        let free = files::free_bytes(path)?;
        if free < ROOM {
            return Err(Fault::refused(format!(
                "the file system of {} has {} left",
                path.display(),
                Size(free)
            ))
            .help("make room first; at least 64 MiB are needed"));
        }
    }
    Ok(())
}
