//! Bounded reads from the image's file system, which is hostile: regular files only, no FIFOs, no waiting.

use nix::libc;
use nix::sys::statfs::{DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, TRACEFS_MAGIC};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// <linux/magic.h>
const SYSFS_MAGIC: FsType = FsType(0x6265_6572);

/// Opens a regular file. A FIFO or a device is an error, and neither is opened where that can be known before: opening
/// a device may do something. Nor is what the kernel makes up, such as its log, which is a regular file that waits.
pub(in crate::ssh) fn open_regular(path: &Path) -> io::Result<std::fs::File> {
    let regular = |meta: &std::fs::Metadata| {
        if meta.is_file() { Ok(()) } else { Err(io::Error::other("not a regular file")) }
    };
    regular(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    regular(&file.metadata()?)?;
    let kind = nix::sys::statfs::fstatfs(&file)?.filesystem_type();
    let made_up = [PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC];
    if made_up.contains(&kind) { Err(io::Error::other("not a file of the image")) } else { Ok(file) }
}

/// Reads a whole regular file of at most `limit` bytes.
pub(in crate::ssh) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_regular(path)?.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(content)
}

/// Reads a file such as `/etc/passwd`; an image without it has an empty one.
pub(in crate::ssh) fn read_table(path: &Path) -> io::Result<String> {
    const LIMIT: u64 = 4 << 20;
    match read_regular(path, LIMIT) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(String::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether this is a regular file that somebody may execute.
pub(in crate::ssh) fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_regular(&fifo, 10).is_err());
        assert!(read_table(&fifo).is_err());
        assert!(read_regular(dir.path(), 10).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc/version", &link).unwrap();
        assert!(read_table(&link).is_err(), "what the kernel makes up is no file of the image");
        assert_eq!(read_table(&dir.path().join("absent")).unwrap(), "");
    }
}
