//! `copy-data`: copies from one open file to another without sending the data over the connection.

use super::failure::{Failure, Status};
use super::handles::Handles;
use super::request::Copy;
use rustix::fs::{copy_file_range, fstat};
use rustix::io::{Errno, pread, retry_on_intr};
use std::os::fd::OwnedFd;

/// What one system call is asked to copy; a signal ends the session between two of them.
const STEP: usize = 64 << 20;
const BUFFER: usize = 256 << 10;

pub(super) fn copy(handles: &Handles, wanted: &Copy<'_>) -> Result<(), Failure> {
    let (from, to) = (handles.file(wanted.from)?, handles.file(wanted.to)?);
    let (source, target) = (fstat(from)?, fstat(to)?);
    if (source.st_dev, source.st_ino) == (target.st_dev, target.st_ino) {
        return Err(Failure::new(Status::Failure, "a file is not copied onto itself"));
    }
    let to_the_end = wanted.length == 0;
    let end = if to_the_end { i64::MAX.unsigned_abs() } else { wanted.length };
    let fits = |offset: u64| offset.checked_add(end).is_some() || to_the_end;
    if !fits(wanted.from_offset) || !fits(wanted.to_offset) {
        return Err(Errno::INVAL.into());
    }
    let mut progress = Copying { from, to, at: wanted.from_offset, to_at: wanted.to_offset, left: end };
    while progress.left > 0 {
        if progress.step()? == 0 {
            return if to_the_end { Ok(()) } else { Err(Failure::end_of_file()) };
        }
    }
    Ok(())
}

struct Copying<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    at: u64,
    to_at: u64,
    left: u64,
}

impl Copying<'_> {
    /// Copies some; 0 at the end of the file.
    fn step(&mut self) -> Result<u64, Failure> {
        let want = usize::try_from(self.left).unwrap_or(STEP).min(STEP);
        let (mut at, mut to_at) = (self.at, self.to_at);
        let copied = match copy_file_range(self.from, Some(&mut at), self.to, Some(&mut to_at), want) {
            // Between file systems of older kernels, to a file that is appended to, from /proc: by hand.
            Ok(0) | Err(Errno::XDEV | Errno::BADF | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.step_by_hand(want)?
            }
            Ok(count) => count,
            Err(error) => return Err(error.into()),
        };
        let copied = u64::try_from(copied).unwrap_or(0);
        self.at = self.at.saturating_add(copied);
        self.to_at = self.to_at.saturating_add(copied);
        self.left = self.left.saturating_sub(copied);
        Ok(copied)
    }

    fn step_by_hand(&self, want: usize) -> Result<usize, Failure> {
        let mut buffer = vec![0; want.min(BUFFER)];
        let count = retry_on_intr(|| pread(self.from, buffer.as_mut_slice(), self.at))?;
        super::files::write_all(self.to, buffer.get(..count).unwrap_or_default(), self.to_at)?;
        Ok(count)
    }
}
