//! Two directories that change places, and the numbers by which they are told apart afterwards.

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, fstat, fsync, openat, renameat_with};
use std::io;
use std::path::Path;

/// The inode of a directory: it stays with the content, whatever the directory's name. No link is followed.
pub fn inode(path: &Path) -> io::Result<u64> {
    let stat = fstat(openat(CWD, path, DIRECTORY, Mode::empty())?)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    Ok(stat.st_ino)
}

/// Both change places at once, or neither does. When this returns, it is on the disk.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    for path in [one, other] {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fsync(openat(CWD, parent, DIRECTORY, Mode::empty())?)?;
    }
    Ok(())
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_inode_goes_with_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("a/diff"), dir.path().join("b/diff"));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(one.join("kept"), "x").unwrap();
        let before = (inode(&one).unwrap(), inode(&other).unwrap());
        exchange(&one, &other).unwrap();
        assert_eq!((inode(&other).unwrap(), inode(&one).unwrap()), before);
        assert!(other.join("kept").exists() && !one.join("kept").exists());
        std::os::unix::fs::symlink(&one, dir.path().join("link")).unwrap();
        assert!(inode(&dir.path().join("link")).is_err() && inode(&dir.path().join("gone")).is_err());
        assert!(exchange(&one, &dir.path().join("gone")).is_err() && one.exists());
    }
}
