//! Buffers of a session: requests that were received and not answered yet, and answers that were not sent yet.
//!
//! Both are bounded and reused. Only pages that were touched use memory.

use super::wire::{self, AbsurdLength, LONGEST_PACKET, kind};
use rustix::io::{Errno, read, retry_on_intr, write};
use std::os::fd::AsFd;

/// Room for several of the longest packets, so that one read takes many requests.
const INLET: usize = 1 << 20;
/// With less room than this behind them, bytes that wait are moved to the front.
const LITTLE: usize = 128 << 10;
/// From here on answers leave although more requests wait: the client has something to do meanwhile.
const ENOUGH: usize = 64 << 10;
/// The longest answer besides data: what one directory buffer lists.
const OUTLET: usize = ENOUGH + LONGEST_PACKET + (8 << 10);

/// Requests.
pub(super) struct Inlet {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inlet {
    pub(super) fn new() -> Self {
        Self { storage: vec![0; INLET], start: 0, end: 0 }
    }

    /// The next whole packet, with its length field.
    pub(super) fn packet(&mut self) -> Result<Option<&[u8]>, AbsurdLength> {
        let waiting = self.storage.get(self.start..self.end).unwrap_or_default();
        let Some(length) = wire::frame(waiting)?.filter(|length| *length <= waiting.len()) else {
            return Ok(None);
        };
        let start = self.start;
        self.start += length;
        Ok(self.storage.get(start..self.start))
    }

    /// Waits for more bytes. `false`: the client has ended its requests.
    pub(super) fn fill(&mut self, from: impl AsFd) -> Result<bool, Errno> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.storage.len() - self.end < LITTLE.max(self.missing()) {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.storage.get_mut(self.end..).unwrap_or_default();
        let count = retry_on_intr(|| read(&from, &mut *room))?;
        self.end += count;
        Ok(count > 0)
    }

    /// How much of the packet that is coming in has not come yet.
    fn missing(&self) -> usize {
        let waiting = self.storage.get(self.start..self.end).unwrap_or_default();
        let length = wire::frame(waiting).ok().flatten();
        length.map_or(0, |length| length.saturating_sub(waiting.len()))
    }
}

/// Answers. Every answer starts with [`Outlet::begin`] and ends with [`Outlet::finish`].
pub(super) struct Outlet {
    storage: Vec<u8>,
    filled: usize,
}

/// Where an answer began.
#[must_use]
pub(super) struct Begun(usize);

impl Outlet {
    pub(super) fn new() -> Self {
        Self { storage: vec![0; OUTLET], filled: 0 }
    }

    pub(super) fn has_enough(&self) -> bool {
        self.filled >= ENOUGH
    }

    #[cfg(test)]
    fn written(&self) -> &[u8] {
        self.storage.get(..self.filled).unwrap_or_default()
    }

    pub(super) fn flush(&mut self, to: impl AsFd) -> Result<(), Errno> {
        let mut rest = self.storage.get(..self.filled).unwrap_or_default();
        while !rest.is_empty() {
            let count = retry_on_intr(|| write(&to, rest))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        self.filled = 0;
        Ok(())
    }

    pub(super) fn begin(&mut self, kind: u8, id: u32) -> Begun {
        let begun = Begun(self.filled);
        self.u32(0);
        self.bytes(&[kind]);
        self.u32(id);
        begun
    }

    pub(super) fn finish(&mut self, Begun(start): Begun) {
        let length = self.filled.saturating_sub(start + 4);
        self.overwrite(start, u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// A whole answer with up to `length` bytes of data, which `read` puts right where they leave from.
    pub(super) fn data<E>(
        &mut self,
        id: u32,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let before = self.filled;
        let begun = self.begin(kind::DATA, id);
        self.u32(0);
        let start = self.filled;
        let count = read(self.room(length)).inspect_err(|_| self.filled = before)?.min(length);
        self.overwrite(start - 4, u32::try_from(count).unwrap_or(0));
        self.filled = start + count;
        self.finish(begun);
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn string(&mut self, string: &[u8]) {
        self.u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
        self.bytes(string);
    }

    /// Where the bytes that come next go, to set a number when it is known.
    pub(super) fn position(&self) -> usize {
        self.filled
    }

    pub(super) fn overwrite(&mut self, at: usize, number: u32) {
        if let Some(place) = self.storage.get_mut(at..at + 4) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Takes back what was put in after this position.
    pub(super) fn take_back(&mut self, position: usize) {
        self.filled = self.filled.min(position);
    }

    fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.filled + length;
        if self.storage.len() < end {
            // Never with answers within their bounds.
            self.storage.resize(end, 0);
        }
        self.storage.get_mut(self.filled..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn packets_come_out_whole_however_they_came_in() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let packet = |size: usize| {
            let mut packet = u32::try_from(size).unwrap().to_be_bytes().to_vec();
            packet.resize(4 + size, u8::try_from(size % 251).unwrap());
            packet
        };
        let sizes: Vec<usize> = (0..40).map(|round| 5 + round * 6001 % LONGEST_PACKET).collect();
        let all: Vec<u8> = sizes.iter().flat_map(|size| packet(*size)).collect();
        let writer = std::thread::spawn(move || {
            for piece in all.chunks(77_777) {
                theirs.write_all(piece).unwrap();
            }
        });
        let mut inlet = Inlet::new();
        let mut seen = Vec::new();
        while inlet.fill(&ours).unwrap() {
            while let Some(whole) = inlet.packet().unwrap() {
                assert!(whole == packet(whole.len() - 4));
                seen.push(whole.len() - 4);
            }
        }
        writer.join().unwrap();
        assert_eq!(seen, sizes);
        assert_eq!(inlet.storage.len(), INLET);
    }

    #[test]
    fn an_answer_that_fails_leaves_nothing_behind() {
        let mut outlet = Outlet::new();
        outlet.data(7, 10, |room| Ok::<_, ()>(room.len() - 8)).unwrap();
        let before = outlet.written().to_vec();
        assert_eq!(before, [0, 0, 0, 11, 103, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0]);
        outlet.data(8, 10, |_| Err(())).unwrap_err();
        assert_eq!(outlet.written(), before);
    }
}
