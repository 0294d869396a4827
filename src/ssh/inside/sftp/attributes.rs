//! Attributes of files: read from requests, put into answers, set on files.

use super::buffers::Outlet;
use super::failure::Failure;
use super::wire::{Fields, Malformed, has};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid};
use rustix::fs::{chmodat, chownat, fchmod, fchown, ftruncate, futimens, openat, utimensat};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Bits of a mode that a client may set; the others are the file's type.
const PERMISSIONS: RawMode = 0o7777;

/// What a client says of a file, or wants to be so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// User and group.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// Of the last access and the last change, in seconds.
    pub(super) times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let flags = fields.u32()?;
        let mut attributes = Self::default();
        if flags & has::SIZE != 0 {
            attributes.size = Some(fields.u64()?);
        }
        if flags & has::OWNER != 0 {
            attributes.owner = Some((fields.u32()?, fields.u32()?));
        }
        if flags & has::MODE != 0 {
            attributes.mode = Some(fields.u32()?);
        }
        if flags & has::TIMES != 0 {
            attributes.times = Some((fields.u32()?, fields.u32()?));
        }
        if flags & has::EXTENDED != 0 {
            fields.skip_extended_attributes()?;
        }
        Ok(attributes)
    }

    /// The mode for a new file or directory, before the umask.
    pub(super) fn mode_or(&self, otherwise: RawMode) -> Mode {
        Mode::from_raw_mode(self.mode.map_or(otherwise, |mode| mode & PERMISSIONS))
    }

    fn permissions(&self) -> Option<Mode> {
        self.mode.map(|mode| Mode::from_raw_mode(mode & PERMISSIONS))
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let time = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        self.times
            .map(|(access, change)| Timestamps { last_access: time(access), last_modification: time(change) })
    }

    fn ids(&self) -> Option<(Option<Uid>, Option<Gid>)> {
        // All bits set means "leave it".
        let id = |number: u32| (number != u32::MAX).then_some(number);
        self.owner.map(|(user, group)| (id(user).map(Uid::from_raw), id(group).map(Gid::from_raw)))
    }

    /// Sets what there is; all of it is tried, and the first error told.
    pub(super) fn set_on_path(&self, path: &[u8]) -> Result<(), Failure> {
        let mut first = First::default();
        if let Some(size) = self.size {
            let size = i64::try_from(size).map_err(|_| nix::errno::Errno::EFBIG);
            first.take(size.and_then(|size| nix::unistd::truncate(path, size)));
        }
        if let Some(mode) = self.permissions() {
            first.take(chmodat(CWD, path, mode, AtFlags::empty()));
        }
        if let Some(times) = self.timestamps() {
            first.take(utimensat(CWD, path, &times, AtFlags::empty()));
        }
        if let Some((user, group)) = self.ids() {
            first.take(chownat(CWD, path, user, group, AtFlags::empty()));
        }
        first.0
    }

    pub(super) fn set_on_file(&self, file: &OwnedFd) -> Result<(), Failure> {
        let mut first = First::default();
        if let Some(size) = self.size {
            first.take(ftruncate(file, size));
        }
        if let Some(mode) = self.permissions() {
            first.take(fchmod(file, mode));
        }
        if let Some(times) = self.timestamps() {
            first.take(futimens(file, &times));
        }
        if let Some((user, group)) = self.ids() {
            first.take(fchown(file, user, group));
        }
        first.0
    }

    /// Sets it on a symbolic link itself, where the path is one.
    pub(super) fn set_on_link(&self, path: &[u8]) -> Result<(), Failure> {
        let mut first = First::default();
        if self.size.is_some() {
            // A link has no size that could be set.
            first.take(Err(nix::errno::Errno::EINVAL));
        }
        if let Some(mode) = self.permissions() {
            first.take(change_mode_of_link(path, mode));
        }
        if let Some(times) = self.timestamps() {
            first.take(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW));
        }
        if let Some((user, group)) = self.ids() {
            first.take(chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW));
        }
        first.0
    }
}

/// As the C library does it: a link has no mode, and what is no link is changed without following one.
fn change_mode_of_link(path: &[u8], mode: Mode) -> Result<(), Failure> {
    let file = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_symlink() {
        return Err(nix::errno::Errno::EOPNOTSUPP.into());
    }
    let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(chmodat(CWD, by_descriptor.as_str(), mode, AtFlags::empty())?)
}

/// The first of several errors.
struct First(Result<(), Failure>);

impl Default for First {
    fn default() -> Self {
        Self(Ok(()))
    }
}

impl First {
    fn take(&mut self, result: Result<(), impl Into<Failure>>) {
        if self.0.is_ok() {
            self.0 = result.map_err(Into::into);
        }
    }
}

impl Outlet {
    pub(super) fn no_attributes(&mut self) {
        self.u32(0);
    }

    /// Of an entry that could be listed but not looked at: what it is.
    pub(super) fn only_mode(&mut self, mode: u32) {
        self.u32(has::MODE);
        self.u32(mode);
    }

    pub(super) fn attributes(&mut self, stat: &Stat) {
        self.u32(has::SIZE | has::OWNER | has::MODE | has::TIMES);
        self.u64(u64::try_from(stat.st_size).unwrap_or(0));
        for number in [stat.st_uid, stat.st_gid, stat.st_mode] {
            self.u32(number);
        }
        self.u32(seconds(stat.st_atime));
        self.u32(seconds(stat.st_mtime));
    }
}

/// Version 3 has 32 bits for a time, without a sign.
pub(super) fn seconds(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_attributes_are_read_in_their_order() {
        let mut bytes = 0x8000_000f_u32.to_be_bytes().to_vec();
        bytes.extend(1_u64.to_be_bytes());
        for number in [2_u32, 3, 0o100_644, 5, 6, 1, 1] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(b"x\0\0\0\0rest");
        let mut fields = Fields::new(&bytes);
        let expected =
            Attributes { size: Some(1), owner: Some((2, 3)), mode: Some(0o100_644), times: Some((5, 6)) };
        assert_eq!(Attributes::read(&mut fields), Ok(expected));
        assert_eq!(expected.mode_or(0o666), Mode::from_raw_mode(0o644));
        assert_eq!(fields.u32(), Ok(u32::from_be_bytes(*b"rest")));
        assert_eq!(Attributes::read(&mut Fields::new(&bytes[..20])), Err(Malformed::Truncated));
    }

    #[test]
    fn times_outside_of_their_field_are_at_its_ends() {
        assert_eq!([seconds(-1), seconds(7), seconds(1 << 40)], [0, 7, u32::MAX]);
    }
}
