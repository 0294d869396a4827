//! The ssh client of the machine that a person sits at.

use crate::error::Fault;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Becomes the ssh client; returns only when there is none.
pub fn replace_with(args: &[String]) -> Fault {
    let error = Command::new("ssh").args(args).exec();
    Fault::host(format!("starting the ssh client: {error}")).help("install it: openssh-client")
}

/// A file with the one host key of one berth, in the user's own state directory.
pub fn write_known_hosts(name: &str, line: &str) -> Result<PathBuf, Fault> {
    let dir = state_dir()?;
    let wrong =
        |what: &Path, error: std::io::Error| Fault::host(format!("writing {}: {error}", what.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| wrong(&dir, e))?;
    let path = dir.join(name);
    let mut file = tempfile::NamedTempFile::new_in(&dir).map_err(|e| wrong(&dir, e))?;
    std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).map_err(|e| wrong(&path, e))?;
    file.persist(&path).map_err(|e| wrong(&path, e.error))?;
    Ok(path)
}

fn state_dir() -> Result<PathBuf, Fault> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let base = base.ok_or_else(|| Fault::host("HOME is not set, so there is no place for known hosts"))?;
    Ok(base.join("berth/known_hosts"))
}
