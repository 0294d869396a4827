//! What requests do to files. It checks no permissions: the kernel decides what the user may do.

use super::attributes::Attributes;
use super::failure::{Failure, Status};
use super::wire::open;
use nix::errno::Errno;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fstatvfs, linkat, mkdirat, openat, renameat,
    renameat_with, statat, statvfs, symlinkat, unlinkat,
};
use rustix::io::{pwrite, retry_on_intr};
use std::os::fd::OwnedFd;

/// Opens as the flags of the protocol say.
///
/// Never waits: opening a FIFO that nobody else opens would stop the whole session.
pub(super) fn open_file(path: &[u8], flags: u32, attributes: &Attributes) -> Result<OwnedFd, Failure> {
    let mode = attributes.mode_or(0o666);
    Ok(openat(CWD, path, open_flags(flags) | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, mode)?)
}

fn open_flags(flags: u32) -> OFlags {
    let mut wanted = match (flags & open::READ != 0, flags & open::WRITE != 0) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    for (flag, meaning) in [
        (open::APPEND, OFlags::APPEND),
        (open::CREATE, OFlags::CREATE),
        (open::TRUNCATE, OFlags::TRUNC),
        (open::EXCLUSIVE, OFlags::EXCL),
    ] {
        if flags & flag != 0 {
            wanted |= meaning;
        }
    }
    wanted
}

pub(super) fn open_directory(path: &[u8]) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// All of the data, or an error; where the file was opened to append, the kernel appends.
pub(super) fn write_all(file: &OwnedFd, data: &[u8], offset: u64) -> Result<(), Failure> {
    let (mut rest, mut at) = (data, offset);
    while !rest.is_empty() {
        let count = retry_on_intr(|| pwrite(file, rest, at))?;
        if count == 0 {
            return Err(Failure::new(Status::Failure, "nothing could be written"));
        }
        rest = rest.get(count..).unwrap_or_default();
        at = at.saturating_add(u64::try_from(count).unwrap_or(0));
    }
    Ok(())
}

/// The file system may say only now that the data is lost.
pub(super) fn close(descriptor: OwnedFd) -> Result<(), Failure> {
    Ok(nix::unistd::close(descriptor)?)
}

pub(super) fn remove(path: &[u8]) -> Result<(), Failure> {
    Ok(unlinkat(CWD, path, AtFlags::empty())?)
}

pub(super) fn remove_directory(path: &[u8]) -> Result<(), Failure> {
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

pub(super) fn make_directory(path: &[u8], attributes: &Attributes) -> Result<(), Failure> {
    Ok(mkdirat(CWD, path, attributes.mode_or(0o777))?)
}

/// Version 3 never replaces. One call does that where the file system can.
pub(super) fn rename(from: &[u8], to: &[u8]) -> Result<(), Failure> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => rename_in_steps(from, to),
        other => Ok(other?),
    }
}

/// A second name for the file and then no first one: nothing is replaced, whatever others do meanwhile. What
/// cannot have a second name, such as a directory, is at least looked for.
fn rename_in_steps(from: &[u8], to: &[u8]) -> Result<(), Failure> {
    let is_file = FileType::from_raw_mode(statat(CWD, from, AtFlags::SYMLINK_NOFOLLOW)?.st_mode).is_file();
    if is_file && linkat(CWD, from, CWD, to, AtFlags::empty()).is_ok() {
        return remove(from);
    }
    if statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Errno::EEXIST.into());
    }
    rename_over(from, to)
}

pub(super) fn rename_over(from: &[u8], to: &[u8]) -> Result<(), Failure> {
    Ok(renameat(CWD, from, CWD, to)?)
}

pub(super) fn hard_link(from: &[u8], to: &[u8]) -> Result<(), Failure> {
    Ok(linkat(CWD, from, CWD, to, AtFlags::empty())?)
}

pub(super) fn symbolic_link(target: &[u8], link: &[u8]) -> Result<(), Failure> {
    Ok(symlinkat(target, CWD, link)?)
}

/// The eleven numbers that `statvfs@openssh.com` answers, in their order.
pub(super) fn file_system(at: FileSystemOf<'_>) -> Result<[u64; 11], Failure> {
    const READ_ONLY: u64 = 1;
    const NO_SETUID: u64 = 2;
    let found = match at {
        FileSystemOf::Path(path) => statvfs(path)?,
        FileSystemOf::File(file) => fstatvfs(file)?,
    };
    let flags = found.f_flag.bits() & (READ_ONLY | NO_SETUID);
    Ok([
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        flags,
        found.f_namemax,
    ])
}

#[derive(Debug, Clone, Copy)]
pub(super) enum FileSystemOf<'a> {
    Path(&'a [u8]),
    File(&'a OwnedFd),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn renaming_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).as_os_str().as_bytes().to_vec();
        let content = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for way in [rename, rename_in_steps] {
            std::fs::write(dir.path().join("a"), "a").unwrap();
            std::fs::write(dir.path().join("b"), "b").unwrap();
            std::fs::create_dir(dir.path().join("d")).unwrap();
            assert_eq!(way(&path("a"), &path("b")), Err(Errno::EEXIST.into()));
            assert_eq!(way(&path("d"), &path("b")), Err(Errno::EEXIST.into()));
            assert_eq!((content("a"), content("b")), ("a".into(), "b".into()));
            way(&path("a"), &path("c")).unwrap();
            way(&path("d"), &path("e")).unwrap();
            assert_eq!(content("c"), "a");
            assert_eq!(way(&path("a"), &path("f")).unwrap_err().status, Status::NoSuchFile);
            remove(&path("c")).unwrap();
            remove_directory(&path("e")).unwrap();
        }
    }

    #[test]
    fn opening_a_fifo_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = fifo.as_os_str().as_bytes();
        open_file(fifo, open::READ, &Attributes::default()).unwrap();
        assert!(open_file(fifo, open::WRITE, &Attributes::default()).is_err());
    }
}
