//! What every part of bootstrap is given: the machine, the config, the profile, and the operator who is told.

use super::Draft;
use crate::accel::{self, Accelerator};
use crate::bootstrap::plan::Step;
use crate::error::{ErrorClass, Fault};
use crate::host::{Host, dirs, files};
use crate::model::Size;
use crate::profile::{Config, Profile};
use std::path::{Path, PathBuf};

pub struct Context<'a> {
    pub host: &'a dyn Host,
    /// `/`; tests use another directory.
    pub root: &'a Path,
    pub config: &'a Config,
    /// The profile that the config file names, even where the admin named another one for this run.
    pub own_profile: &'a str,
    pub profile: &'a Profile,
    /// The path of the config file, which need not exist.
    pub config_path: PathBuf,
}

/// Who is told what happens, and who may ask for a stop between two steps.
pub trait Operator {
    fn starts(&self, number: usize, of: usize, step: &Step);
    /// Tells how far a long step is.
    fn says(&self, text: &str);
    fn ended(&self, step: &Step, error: Option<&Fault>);
    /// Shows the plan and asks for consent. Returns an error where the operator refuses.
    fn agrees(&self, draft: &Draft) -> anyhow::Result<()>;
    fn wants_stop(&self) -> bool;
}

impl Context<'_> {
    pub fn accel(&self) -> &'static dyn Accelerator {
        accel::of(self.profile)
    }

    pub fn directory(&self) -> PathBuf {
        self.config.paths.state.join("bootstrap")
    }

    pub fn journal_path(&self) -> PathBuf {
        self.directory().join("journal.jsonl")
    }
}

#[cfg(test)]
impl Context<'_> {
    /// With the profile of the simulated node.
    pub fn of_sim<T>(host: &dyn Host, work: impl FnOnce(&Context) -> T) -> T {
        let mut config = Config { profile: "sim".into(), ..Config::default() };
        config.paths.profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let profile = crate::profile::load_profile(&crate::host::RealHost::default(), &config).unwrap();
        let (root, config_path) = (Path::new("/"), PathBuf::from("/none"));
        work(&Context { host, root, config: &config, own_profile: "sim", profile: &profile, config_path })
    }
}

/// Nobody looks on, and whoever does may have pressed Ctrl-C.
#[cfg(test)]
pub(super) struct Silent {
    pub(super) wants_stop: bool,
}

#[cfg(test)]
impl Operator for Silent {
    fn starts(&self, _: usize, _: usize, _: &Step) {}
    fn says(&self, _: &str) {}
    fn ended(&self, _: &Step, _: Option<&Fault>) {}
    fn agrees(&self, _: &Draft) -> anyhow::Result<()> {
        Ok(())
    }
    fn wants_stop(&self) -> bool {
        self.wants_stop
    }
}

/// Fails unless this process is root: only root can look at disks.
pub fn check_rights() -> Result<(), Fault> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::refused("looking at disks needs root").help("run it with sudo"))
}

/// Makes the directory of the journal and the lock.
pub fn make_directory(context: &Context) -> Result<(), Fault> {
    dirs::make_dir(&context.config.paths.state, 0o711).map_err(unwritable)?;
    dirs::make_dir(&context.directory(), 0o700).map_err(unwritable)
}

/// Turns a write error that happens before the first step into a refusal.
pub fn unwritable(fault: Fault) -> Fault {
    if fault.class != ErrorClass::Host {
        return fault;
    }
    Fault::refused(fault.message).help(
        "nothing was changed; is its file system full (df -h, df -i), or mounted read-only (findmnt -T)?",
    )
}

/// Checks before the first step of any plan that the journal can be written.
pub fn check_context(context: &Context) -> Result<(), Fault> {
    /// Room for configuration, the journal and files that package managers leave.
    const ROOM: u64 = 64 << 20;
    const FILES: u64 = 1000;
    let directory = context.directory();
    for path in [Path::new("/etc"), &directory] {
        dirs::check_writable(path).map_err(unwritable)?;
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
        if let Some(left) = files::free_inodes(path)?.filter(|left| *left < FILES) {
            return Err(Fault::refused(format!(
                "the file system of {} has room for {left} more files (inodes)",
                path.display()
            ))
            .help("make room first (df -i); at least 1000 are needed"));
        }
    }
    Ok(())
}
