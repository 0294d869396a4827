//! Directories that berth makes: state, run, and one for each berth.

use crate::error::Fault;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

/// Makes a directory and those above it; the mode is the last one's. One that is there already keeps its mode.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), Fault> {
    let wrong = |error: std::io::Error| Fault::host(format!("making {}: {error}", path.display()));
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(wrong)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Whatever the umask took away.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(wrong),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(wrong(error)),
    }
}

/// Whether files can be made there, tried with one that is gone at once. For directories that only root writes to.
pub fn check_writable(dir: &Path) -> Result<(), Fault> {
    let path = dir.join(format!(".berth-{}.check", std::process::id()));
    let wrong = |error: std::io::Error| Fault::host(format!("{} cannot be written: {error}", dir.display()));
    match File::create_new(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(wrong(error)),
    }
    fs::remove_file(&path).map_err(wrong)
}

/// Removes a socket that nobody listens on; anything else at that path is not ours to remove.
pub fn remove_socket(path: &Path) -> Result<(), Fault> {
    let wrong = |error: std::io::Error| Fault::host(format!("removing {}: {error}", path.display()));
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(wrong),
        Ok(_) => Err(Fault::host(format!("{} is in the way and is not a socket", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(wrong(error)),
    }
}

pub fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Fault::host(format!("changing the mode of {}: {error}", path.display())))
}

/// Makes one directory that must not be there yet.
pub fn make_new_dir(path: &Path, mode: u32) -> Result<(), Fault> {
    let wrong = |error: std::io::Error| Fault::host(format!("making {}: {error}", path.display()));
    DirBuilder::new().mode(0o700).create(path).map_err(wrong)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(wrong)
}

/// Makes a symbolic link that must not be there yet.
pub fn make_link(target: &Path, link: &Path) -> Result<(), Fault> {
    std::os::unix::fs::symlink(target, link)
        .map_err(|error| Fault::host(format!("making {}: {error}", link.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_directory_gets_a_mode() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let dir = root.path().join("a/b");
        make_dir(&dir, 0o777).unwrap();
        assert_eq!(mode(&dir), 0o777);
        make_dir(&dir, 0o700).unwrap();
        assert_eq!(mode(&dir), 0o777);
        fs::write(dir.join("file"), "").unwrap();
        assert!(make_dir(&dir.join("file"), 0o700).is_err());
    }

    #[test]
    fn a_trial_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        check_writable(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(check_writable(&root.path().join("none")).is_err());
    }
}
