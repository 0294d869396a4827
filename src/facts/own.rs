//! The parts of berth that are on this machine already: program, files, group, storage, units.

use crate::host::getent::{self, Answer, GroupRow};
use crate::host::{Host, Tool, files, find_text};
use crate::model::observed::{OwnFile, OwnParts, Presence};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory service may answer slowly right after a boot, or when the machine is busy.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The parts to look for.
pub struct Wanted<'a> {
    pub program: &'a Path,
    pub files: &'a [(PathBuf, String)],
    pub group: &'a str,
    pub storage: &'a Path,
    pub units: &'a [&'a str],
}

pub fn gather(host: &dyn Host, wanted: &Wanted) -> Result<OwnParts, String> {
    let files = wanted.files.iter().map(|(path, content)| {
        Ok(OwnFile { path: path.clone(), presence: presence_of_text(host, path, content)? })
    });
    let (storage, storage_is_no_directory) = match files::directory_mode(wanted.storage) {
        Ok(mode) => (mode, false),
        Err(error) if error.kind() == ErrorKind::NotADirectory => (None, true),
        Err(error) => return Err(format!("{} cannot be read: {error}", wanted.storage.display())),
    };
    Ok(OwnParts {
        program: files::compare_with_self(wanted.program)
            .map_err(|error| format!("comparing {} with this program: {error}", wanted.program.display()))?,
        files: files.collect::<Result<_, String>>()?,
        group: has_group(host, wanted.group)?,
        storage,
        storage_is_no_directory,
        storage_is_new: files::is_new_directory(wanted.storage),
        enabled: wanted.units.iter().all(|unit| says(host, "is-enabled", unit)),
        active: wanted.units.iter().all(|unit| says(host, "is-active", unit)),
    })
}

fn presence_of_text(host: &dyn Host, path: &Path, content: &str) -> Result<Presence, String> {
    Ok(match find_text(host, path)? {
        Some(found) if found == content => Presence::Same,
        Some(_) => Presence::Other,
        None => Presence::Absent,
    })
}

/// Whether the group exists. Fails where there is no getent, because a directory service may have the group.
fn has_group(host: &dyn Host, group: &str) -> Result<bool, String> {
    match getent::ask::<GroupRow>(host, group, TIMEOUT) {
        Answer::Found(_) => Ok(true),
        Answer::NotThere => Ok(false),
        Answer::Silent(error) => Err(error.to_string()),
        Answer::NoGetent => Err("getent is not on this machine".into()),
    }
}

/// Whether systemctl answers yes about the unit; false where there is no systemd.
fn says(host: &dyn Host, question: &str, unit: &str) -> bool {
    let cmd = Tool::Systemctl.cmd().args([question, "--quiet", unit]).timeout(TIMEOUT);
    host.run(&cmd.allow_any_exit()).is_ok_and(|output| output.status == 0)
}
