//! Whether a file system has room, and reserving room for a file. It asks the kernel, and never walks a tree.

use rustix::fs::{FallocateFlags, Mode, OFlags, StatVfs, fallocate, open, statvfs};
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What a new berth, its keys and its events need, and more.
const NEEDED_BYTES: u64 = 1 << 20;
const NEEDED_FILES: u64 = 64;

/// Whether the file system is full for users, who cannot use the blocks reserved for root.
pub fn is_full_for_users(path: &Path) -> io::Result<bool> {
    Ok(has_none_for_users(&statvfs(path)?))
}

pub(super) fn has_none_for_users(stat: &StatVfs) -> bool {
    stat.f_blocks > 0 && stat.f_bavail == 0 || stat.f_files > 0 && stat.f_favail == 0
}

/// Whether the file system is full for the agent, which may use the blocks reserved for root.
pub fn is_full_for_us(path: &Path) -> io::Result<bool> {
    let stat = statvfs(path)?;
    let few_bytes = stat.f_blocks > 0 && stat.f_bfree.saturating_mul(stat.f_frsize) < NEEDED_BYTES;
    Ok(few_bytes || stat.f_files > 0 && stat.f_ffree < NEEDED_FILES)
}

/// The size of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What others than root could still write, as `df` shows it.
    pub available: u64,
}

/// An error also where the file system does not tell a size.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let space = Space { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) };
    if space.total == 0 { Err(io::Error::other("it tells no size")) } else { Ok(space) }
}

/// How many bytes the agent could still write there.
pub fn free_for_us(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    Ok(stat.f_bfree.saturating_mul(stat.f_frsize))
}

/// Where the file system of a path is mounted, as far as its parents say.
pub fn file_system_of(path: &Path) -> PathBuf {
    let device = |path: &Path| path.metadata().map(|meta| meta.dev());
    let Ok(own) = device(path) else { return path.to_path_buf() };
    let inside = |above: &&Path| device(above).is_ok_and(|device| device == own);
    path.ancestors().take_while(inside).last().unwrap_or(path).to_path_buf()
}

/// Reserves blocks for a file up to that size, without changing its length. A second call changes nothing. Returns
/// false where the file system cannot do that.
pub fn reserve(file: &Path, bytes: u64) -> io::Result<bool> {
    let fd = open(file, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    match fallocate(&fd, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_with_room_is_not_full_and_has_a_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_full_for_users(dir.path()).unwrap() && !is_full_for_us(dir.path()).unwrap());
        let mount = file_system_of(dir.path());
        assert!(dir.path().starts_with(&mount));
        assert_eq!(mount.metadata().unwrap().dev(), dir.path().metadata().unwrap().dev());
        // /proc has no blocks at all, and no file can be made there anyway.
        assert!(!is_full_for_users(Path::new("/proc")).unwrap());
        assert_eq!(file_system_of(Path::new("/proc/sys")), Path::new("/proc"));
        let space = space(dir.path()).unwrap();
        assert!(space.available > 0 && space.available < space.total, "{space:?}");
        assert!(super::space(Path::new("/proc")).is_err() && super::space(&dir.path().join("none")).is_err());
    }

    #[test]
    fn what_is_kept_for_a_file_does_not_make_it_longer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        if reserve(&path, 1 << 20).unwrap() {
            let meta = path.metadata().unwrap();
            assert_eq!(meta.len(), 1);
            assert!(meta.blocks() * 512 >= 1 << 20, "{}", meta.blocks());
        }
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(reserve(&dir.path().join("link"), 1).is_err());
    }
}
