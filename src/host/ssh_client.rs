//! Starts the ssh client of the machine on which the command line runs.

use super::own_dir::{OwnDir, named};
use crate::error::Fault;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Becomes the ssh client; returns only when there is none.
pub fn replace_with(args: &[String]) -> Fault {
    let error = Command::new("ssh").args(args).exec();
    Fault::host(format!("starting the ssh client: {error}")).help("install it: openssh-client")
}

/// Of the file with one berth's host keys.
const LIMIT: u64 = 1 << 20;

/// A file with the one host key of one berth, in the user's own state directory.
pub fn write_known_hosts(name: &str, line: &str) -> Result<PathBuf, Fault> {
    write_in(&state_dir()?, name, line)
}

fn write_in(state: &OwnDir, name: &str, line: &str) -> Result<PathBuf, Fault> {
    let dir = state.step("berth")?.step("known_hosts")?;
    dir.file(name, LIMIT)?.replace(format!("{line}\n").as_bytes())?;
    Ok(dir.path().join(name))
}

/// What XDG_STATE_HOME names, where that is there already or below HOME, else `~/.local/state`.
fn state_dir() -> Result<OwnDir, Fault> {
    let Some(state) = named("XDG_STATE_HOME") else {
        return OwnDir::home()?.step(".local")?.step("state");
    };
    if !state.exists()
        && let Some(below) = named("HOME").and_then(|home| Some(state.strip_prefix(home).ok()?.to_owned()))
    {
        let names = below.iter().map(|name| name.to_str().filter(|name| *name != ".."));
        let names: Option<Vec<&str>> = names.collect();
        let names = names.ok_or_else(|| Fault::usage("XDG_STATE_HOME is no plain path below HOME"))?;
        return names.into_iter().try_fold(OwnDir::home()?, |dir, name| dir.step(name));
    }
    OwnDir::open("XDG_STATE_HOME", &state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn host_keys_are_written_in_directories_of_one_s_own() {
        let home = tempfile::tempdir().unwrap();
        let state = OwnDir::open("HOME", home.path()).unwrap();
        for line in ["key 1", "key 2"] {
            let path = write_in(&state, "berth-a-b", line).unwrap();
            assert_eq!(path, home.path().join("berth/known_hosts/berth-a-b"));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{line}\n"));
        }
        let mode = fs::metadata(home.path().join("berth")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // A link of somebody else's leads nowhere.
        if nix::unistd::geteuid().is_root() {
            let elsewhere = tempfile::tempdir().unwrap();
            let link = home.path().join("berth/known_hosts");
            fs::remove_dir_all(&link).unwrap();
            symlink(elsewhere.path(), &link).unwrap();
            std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
            assert!(write_in(&state, "berth-a-b", "x").unwrap_err().message.contains("uid 12345"));
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
    }
}
