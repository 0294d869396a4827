//! Makes and reads device nodes and the links beside them. It never replaces a file that berth did not make.

use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknod};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNode {
    pub major: u32,
    pub minor: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// The character device at a path; `None` when nothing is there. A symbolic link is not followed, and like
/// everything else that is no character device it is an error.
pub fn device_node(path: &Path) -> io::Result<Option<DeviceNode>> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !meta.file_type().is_char_device() {
        return Err(not_ours(path, "is not a character device"));
    }
    Ok(Some(DeviceNode {
        major: number(major(meta.rdev())),
        minor: number(minor(meta.rdev())),
        gid: meta.gid(),
        mode: meta.mode() & 0o7777,
    }))
}

/// The nodes in a directory whose names mean something to the caller, in the order of that; none where there is no such
/// directory.
pub fn nodes_called<T: Ord + Copy>(
    dir: &Path,
    meaning: &dyn Fn(&str) -> Option<T>,
) -> io::Result<Vec<(T, PathBuf, DeviceNode)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(meaning) = entry.file_name().to_str().and_then(meaning) else { continue };
        let path = entry.path();
        if let Some(node) = device_node(&path)? {
            found.push((meaning, path, node));
        }
    }
    found.sort_unstable_by_key(|(meaning, ..)| *meaning);
    Ok(found)
}

/// Device numbers of Linux have 32 bits, whatever the type says.
fn number(part: u64) -> u32 {
    u32::try_from(part).unwrap_or(u32::MAX)
}

fn not_ours(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{} {what}; it is left as it is", path.display()))
}

/// Makes a character device. One with the same numbers is kept and given mode and group; anything else that
/// is there is an error and stays. For directories that only root can write to.
pub fn make_char_node(path: &Path, major: u32, minor: u32, mode: u32, gid: u32) -> io::Result<()> {
    let outcome = mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(u64::from(major), u64::from(minor)));
    match outcome {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let found = device_node(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if (found.major, found.minor) != (major, minor) {
        let what = format!("is device {}:{}, not {major}:{minor}", found.major, found.minor);
        return Err(not_ours(path, &what));
    }
    if found.gid != gid {
        lchown(path, None, Some(gid))?;
    }
    if found.mode != mode || found.gid != gid {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Points a symbolic link at a target: readers see the old or the new one. A file that is no link is an error.
pub fn replace_symlink(target: &Path, link: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(meta) if !meta.is_symlink() => return Err(not_ours(link, "is not a symbolic link")),
        Ok(_) if fs::read_link(link)? == target => return Ok(()),
        _ => {}
    }
    let dir = link.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = tempfile::Builder::new().prefix(".berth-").make_in(dir, |path| symlink(target, path))?;
    temporary.into_temp_path().persist(link)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "mine").unwrap();
        symlink("/dev/null", &link).unwrap();
        assert_eq!(device_node(&dir.path().join("absent")).unwrap(), None);
        for path in [&file, &link] {
            assert!(device_node(path).unwrap_err().to_string().contains("not a character device"));
            assert!(make_char_node(path, 236, 1, 0o660, 0).is_err());
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert!(replace_symlink(Path::new("/x"), &file).is_err());
    }

    #[test]
    fn null_is_a_device() {
        let node = device_node(Path::new("/dev/null")).unwrap().unwrap();
        assert_eq!((node.major, node.minor), (1, 3));
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    fn nodes_are_made_once() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED nodes_are_made_once: mknod needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("davinci3");
        for gid in [0, 1000, 1000] {
            make_char_node(&path, 236, 3, 0o660, gid).unwrap();
            let expected = DeviceNode { major: 236, minor: 3, gid, mode: 0o660 };
            assert_eq!(device_node(&path).unwrap(), Some(expected));
        }
        let error = make_char_node(&path, 236, 4, 0o660, 0).unwrap_err().to_string();
        assert!(error.contains("is device 236:3, not 236:4"), "{error}");
    }

    #[test]
    fn a_link_is_replaced_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("npu-smi");
        for target in ["/a", "/a", "/b"] {
            replace_symlink(Path::new(target), &link).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
