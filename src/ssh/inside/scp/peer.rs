//! The other end: bounded lines and data from it, answers and complaints to it.

use super::record::sendable;
use rustix::io::{Errno, read, retry_on_intr, write};
use std::os::fd::{AsFd, BorrowedFd};

/// Longer than any name and what stands before it.
const LONGEST_LINE: usize = 8 << 10;
const BUFFER: usize = 256 << 10;

/// Nothing more can be said: the end was agreed on, or the peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

pub(super) struct Peer<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    errors: bool,
}

impl<'a> Peer<'a> {
    pub(super) fn new(input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Self {
        Self { input, output, buffer: vec![0; BUFFER], start: 0, end: 0, errors: false }
    }

    pub(super) fn had_errors(&self) -> bool {
        self.errors
    }

    /// The peer could not send everything.
    pub(super) fn note_error(&mut self) {
        self.errors = true;
    }

    /// What has come, more of it when there is nothing; at most `limit` bytes. Empty: the peer sends no more.
    pub(super) fn available(&mut self, limit: usize) -> Result<&[u8], Ended> {
        if self.start == self.end {
            let room = self.buffer.as_mut_slice();
            let count = retry_on_intr(|| read(self.input, &mut *room)).map_err(|_| Ended)?;
            (self.start, self.end) = (0, count);
        }
        let start = self.start;
        self.start = self.end.min(start.saturating_add(limit));
        Ok(self.buffer.get(start..self.start).unwrap_or_default())
    }

    /// The next line without its newline; `None` when the peer sends no more.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        let mut line = Vec::new();
        loop {
            match self.available(1)? {
                [] if line.is_empty() => return Ok(None),
                [] => return Err(Ended),
                [b'\n'] => return Ok(Some(line)),
                byte => line.extend_from_slice(byte),
            }
            if line.len() > LONGEST_LINE {
                return Err(self.give_up(b"protocol error: line too long"));
            }
        }
    }

    /// Waits for the peer's word on what it was told. `false`: it does not want it.
    pub(super) fn accepts(&mut self) -> Result<bool, Ended> {
        match self.available(1)? {
            [] => Err(Ended),
            [0] => Ok(true),
            [1] => {
                self.errors = true;
                self.line()?;
                Ok(false)
            }
            _ => {
                self.line()?;
                Err(Ended)
            }
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Ended> {
        send_all(self.output, bytes).map_err(|_| Ended)
    }

    pub(super) fn agree(&self) -> Result<(), Ended> {
        self.send(&[0])
    }

    /// Tells what went wrong, and goes on.
    pub(super) fn complain(&mut self, message: &[u8]) -> Result<(), Ended> {
        self.errors = true;
        self.send(&[b"\x01scp: ", sendable(message).as_slice(), b"\n"].concat())
    }

    pub(super) fn complain_of(&mut self, path: &[u8], what: &str) -> Result<(), Ended> {
        self.complain(&[path, b": ", what.as_bytes()].concat())
    }

    /// Tells why this is the end.
    pub(super) fn give_up(&mut self, message: &[u8]) -> Ended {
        // A peer that is gone need not be told.
        let _ = self.complain(message);
        Ended
    }
}

pub(super) fn send_all(to: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = retry_on_intr(|| write(&to, rest))?;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// The reason of an error alone, as the C library says it.
pub(super) fn reason(errno: Errno) -> &'static str {
    nix::errno::Errno::from_raw(errno.raw_os_error()).desc()
}
