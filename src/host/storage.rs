//! Personal storage: one directory for each user below the storage root, opened without following links.
//!
//! It makes and owns directories; it never removes or empties one.

use super::room;
use crate::error::Fault;
use crate::model::{FullPlace, Kept};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const ROOT: u32 = 0;

/// Returns the user's directory, and makes it if it is missing: 0700, owned by the account that sessions run as. A
/// different owner is replaced only while no berth uses the directory, because that owner would lose access. If
/// sessions run as root, the owner stays.
pub fn personal_dir(root: &Path, user: &str, uid: u32, gid: u32, in_use: bool) -> Result<PathBuf, Fault> {
    let root_fd = open_root(root)?;
    let path = root.join(user);
    let wrong = |doing: &str, errno: Errno| storage_fault(root, format!("{doing} {}", path.display()), errno);
    let is_there = fs::statat(&root_fd, user, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    check_room(root, &root_fd, is_there)?;
    match fs::mkdirat(&root_fd, user, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(wrong("making", errno)),
    }
    let dir = open_dir(&root_fd, user).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => {
            Fault::host(format!("personal storage {} is not a directory", path.display()))
                .help("move it away; berth makes the directory itself and follows no link there")
        }
        errno => wrong("opening", errno),
    })?;
    let stat = fs::fstat(&dir).map_err(|errno| wrong("looking at", errno))?;
    // Root in a berth may write there whoever owns it, and an owner who works there now must not lose it.
    if (stat.st_uid, stat.st_gid) != (uid, gid) && uid != ROOT {
        // A directory that was just made is root's, and empty.
        if in_use && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Fault::refused(format!(
                "{user}'s storage is in use by another berth as uid {}, and this image works as uid {uid}",
                stat.st_uid
            ))
            .help("release that berth first, or choose an image with the same account"));
        }
        fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|errno| wrong("changing the owner of", errno))?;
    }
    if stat.st_mode & 0o7777 != 0o700 {
        fs::fchmod(&dir, Mode::RWXU).map_err(|errno| wrong("changing the mode of", errno))?;
    }
    Ok(path)
}

fn open_root(root: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::open(root, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Fault::host(format!("storage root {} is not there", root.display()))
            .help("make it or mount it, or set `paths.storage` in the config to where personal storage is"),
        Errno::NOTDIR => Fault::host(format!("storage root {} is not a directory", root.display()))
            .help("set `paths.storage` in the config to the directory of personal storage"),
        errno => storage_fault(root, format!("opening {}", root.display()), errno),
    })?;
    let stat = fs::fstat(&fd)
        .map_err(|errno| storage_fault(root, format!("looking at {}", root.display()), errno))?;
    // Inside a berth root may make setuid programs and device nodes: nobody on the host may get at them. And whoever
    // could rename entries here could put their own directory in another user's place.
    if stat.st_mode & 0o077 != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Fault::host(format!("storage root {} is open to others than root", root.display()))
            .help(format!("chown root {0} && chmod 700 {0}", root.display())));
    }
    Ok(fd)
}

fn open_dir(root: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(root, name, flags, Mode::empty())
}

/// Fails on a read-only file system, because a berth on it would be broken. Fails on a full one only if the user has no
/// directory yet: a user who has one needs a berth to remove files.
fn check_room(root: &Path, fd: &OwnedFd, is_there: bool) -> Result<(), Fault> {
    let stat = fs::fstatvfs(fd)
        .map_err(|errno| storage_fault(root, format!("looking at {}", root.display()), errno))?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(storage_fault(root, format!("writing to {}", root.display()), Errno::ROFS));
    }
    if !is_there && room::has_none_for_users(&stat) {
        return Err(storage_fault(root, format!("writing to {}", root.display()), Errno::NOSPC));
    }
    Ok(())
}

fn storage_fault(root: &Path, doing: String, errno: Errno) -> Fault {
    match errno {
        Errno::ROFS => Fault::host(format!("storage root {} is read-only", root.display())).help(
            "remount it read-write; a file system that turned read-only has often seen an error (dmesg)",
        ),
        Errno::NOSPC | Errno::DQUOT => {
            let (kept, path) = (Kept::Storage, root.to_path_buf());
            let full = FullPlace { kept, path, file_system: room::file_system_of(root) };
            Fault::host(full.to_string()).help(full.help())
        }
        errno => Fault::host(format!("{doing}: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    /// Who runs the tests; only root may give directories away.
    fn me() -> (u32, u32) {
        (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }

    #[test]
    fn a_directory_is_made_once_and_kept_with_its_content() {
        let root = root();
        let (uid, gid) = me();
        assert!(!root.path().join("alice").exists());
        let path = personal_dir(root.path(), "alice", uid, gid, false).unwrap();
        std::fs::write(path.join("f"), "kept").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        personal_dir(root.path(), "alice", uid, gid, true).unwrap();
        assert_eq!(std::fs::read(path.join("f")).unwrap(), b"kept");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    fn an_image_of_root_s_takes_the_storage_from_nobody() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED an_image_of_root_s_takes_the_storage_from_nobody: chown needs root");
            return;
        }
        let root = root();
        let path = personal_dir(root.path(), "alice", 1000, 100, false).unwrap();
        // Beside a live berth of ma-user, and after it.
        for in_use in [true, false] {
            personal_dir(root.path(), "alice", 0, 0, in_use).unwrap();
            assert_eq!((path.metadata().unwrap().uid(), path.metadata().unwrap().gid()), (1000, 100));
        }
        assert!(personal_dir(root.path(), "alice", 1001, 100, true).is_err(), "that one would be shut out");
    }

    #[test]
    fn links_and_files_in_its_place_are_refused() {
        let root = root();
        let (uid, gid) = me();
        symlink("/etc", root.path().join("mallory")).unwrap();
        std::fs::write(root.path().join("file"), "x").unwrap();
        for user in ["mallory", "file"] {
            let fault = personal_dir(root.path(), user, uid, gid, false).unwrap_err();
            assert!(fault.message.contains("is not a directory"), "{fault}");
        }
    }

    #[test]
    fn a_root_that_is_missing_or_open_to_all_is_refused() {
        let root = root();
        let fault = personal_dir(&root.path().join("no"), "alice", 0, 0, false).unwrap_err();
        assert!(fault.message.ends_with("is not there") && fault.help.is_some());
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let fault = personal_dir(root.path(), "alice", 0, 0, false).unwrap_err();
        assert!(fault.message.ends_with("is open to others than root"), "{fault}");
    }
}
