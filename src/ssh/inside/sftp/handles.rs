//! The files and directories that a client has open. Their number is bounded, and a closed handle is never reused
//! for another file.

use super::failure::{Failure, Status};
use rustix::process::{Resource, getrlimit};
use std::os::fd::OwnedFd;

/// As many as one session may have, where the system allows more.
const MOST: usize = 16 << 10;
/// Descriptors that are not for handles.
const RESERVED: u64 = 16;
const WIRE: usize = 8;

#[derive(Debug)]
pub(super) enum Open {
    File(OwnedFd),
    Directory(OwnedFd),
}

impl Open {
    fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::File(descriptor) | Self::Directory(descriptor) => descriptor,
        }
    }
}

impl From<Open> for OwnedFd {
    fn from(open: Open) -> Self {
        match open {
            Open::File(descriptor) | Open::Directory(descriptor) => descriptor,
        }
    }
}

#[derive(Debug)]
pub(super) struct Handles {
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: usize,
    /// Of the last handle that was given out.
    serial: u32,
}

#[derive(Debug)]
struct Slot {
    serial: u32,
    open: Option<Open>,
}

impl Handles {
    pub(super) fn new() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(RESERVED);
        Self::with_limit(usize::try_from(allowed).unwrap_or(MOST).min(MOST))
    }

    fn with_limit(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit, serial: 0 }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Before anything is opened: a file that is made and then refused would stay.
    pub(super) fn check_room(&self) -> Result<(), Failure> {
        if self.free.is_empty() && self.slots.len() >= self.limit {
            let message = format!("{} files are open, which is the limit", self.limit);
            return Err(Failure::new(Status::Failure, message));
        }
        Ok(())
    }

    pub(super) fn add(&mut self, open: Open) -> Result<[u8; WIRE], Failure> {
        self.check_room()?;
        self.serial = self.serial.wrapping_add(1);
        let slot = Slot { serial: self.serial, open: Some(open) };
        let index = match self.free.pop() {
            Some(index) => index,
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        match place(index).and_then(|at| self.slots.get_mut(at)) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        Ok((u64::from(index) << 32 | u64::from(self.serial)).to_be_bytes())
    }

    fn open(&self, handle: &[u8]) -> Result<&Open, Failure> {
        let (index, serial) = read(handle).ok_or_else(unknown)?;
        let slot = place(index).and_then(|at| self.slots.get(at)).filter(|slot| slot.serial == serial);
        slot.and_then(|slot| slot.open.as_ref()).ok_or_else(unknown)
    }

    pub(super) fn file(&self, handle: &[u8]) -> Result<&OwnedFd, Failure> {
        match self.open(handle)? {
            Open::File(descriptor) => Ok(descriptor),
            Open::Directory(_) => Err(Failure::new(Status::Failure, "the handle is of a directory")),
        }
    }

    pub(super) fn directory(&self, handle: &[u8]) -> Result<&OwnedFd, Failure> {
        match self.open(handle)? {
            Open::Directory(descriptor) => Ok(descriptor),
            Open::File(_) => Err(Failure::new(Status::Failure, "the handle is not of a directory")),
        }
    }

    /// Of a file or a directory.
    pub(super) fn any(&self, handle: &[u8]) -> Result<&OwnedFd, Failure> {
        self.open(handle).map(Open::descriptor)
    }

    pub(super) fn remove(&mut self, handle: &[u8]) -> Result<Open, Failure> {
        self.open(handle)?;
        let (index, _) = read(handle).ok_or_else(unknown)?;
        let slot = place(index).and_then(|at| self.slots.get_mut(at));
        let open = slot.and_then(|slot| slot.open.take()).ok_or_else(unknown)?;
        self.free.push(index);
        Ok(open)
    }
}

fn read(handle: &[u8]) -> Option<(u32, u32)> {
    let (index, serial) = handle.split_first_chunk::<4>()?;
    let serial = <[u8; 4]>::try_from(serial).ok()?;
    Some((u32::from_be_bytes(*index), u32::from_be_bytes(serial)))
}

fn place(index: u32) -> Option<usize> {
    usize::try_from(index).ok()
}

fn unknown() -> Failure {
    Failure::new(Status::Failure, "there is no such handle")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Open {
        Open::File(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn a_closed_handle_never_means_another_file() {
        let mut handles = Handles::with_limit(2);
        let first = handles.add(file()).unwrap();
        let second = handles.add(file()).unwrap();
        let refused = handles.add(file()).unwrap_err();
        assert_eq!(refused.message, "2 files are open, which is the limit");
        handles.remove(&first).unwrap();
        let third = handles.add(file()).unwrap();
        assert!(handles.file(&first).is_err() && handles.remove(&first).is_err());
        assert!(handles.file(&second).is_ok() && handles.file(&third).is_ok());
        assert!(handles.directory(&third).is_err());
    }

    #[test]
    fn nonsense_is_no_handle() {
        let mut handles = Handles::with_limit(2);
        handles.add(file()).unwrap();
        for handle in [&b""[..], b"\0\0\0\0", &[0; 8], &[255; 8], &[0; 300]] {
            assert!(handles.file(handle).is_err() && handles.remove(handle).is_err(), "{handle:?}");
        }
    }
}
