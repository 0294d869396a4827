//! The format of SFTP packets: fields read with bounds, numbers of the protocol. Pure, and never trusts a length.

use std::fmt;

pub(super) const VERSION: u32 = 3;
/// The longest packet that is accepted after its length, a little above OpenSSH's 256 KiB.
pub(super) const LONGEST_PACKET: usize = (256 << 10) + 1024;
/// What OpenSSH's server announces, which is known to work with every client.
pub(super) const ANNOUNCED_PACKET: u32 = 256 << 10;
/// The most data in one read or write.
pub(super) const LONGEST_DATA: u32 = ANNOUNCED_PACKET - 1024;
pub(super) const LONGEST_PATH: usize = 4096;
const LENGTH: usize = 4;
/// The type of a packet and the number after it, which every packet has.
const SHORTEST_PACKET: usize = 5;
/// No client sends any; the draft allows as many as fit.
const EXTENDED_ATTRIBUTES: u32 = 64;

/// Numbers of requests and answers.
pub(super) mod kind {
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const CLOSE: u8 = 4;
    pub(in super::super) const READ: u8 = 5;
    pub(in super::super) const WRITE: u8 = 6;
    pub(in super::super) const LSTAT: u8 = 7;
    pub(in super::super) const FSTAT: u8 = 8;
    pub(in super::super) const SETSTAT: u8 = 9;
    pub(in super::super) const FSETSTAT: u8 = 10;
    pub(in super::super) const OPENDIR: u8 = 11;
    pub(in super::super) const READDIR: u8 = 12;
    pub(in super::super) const REMOVE: u8 = 13;
    pub(in super::super) const MKDIR: u8 = 14;
    pub(in super::super) const RMDIR: u8 = 15;
    pub(in super::super) const REALPATH: u8 = 16;
    pub(in super::super) const STAT: u8 = 17;
    pub(in super::super) const RENAME: u8 = 18;
    pub(in super::super) const READLINK: u8 = 19;
    pub(in super::super) const SYMLINK: u8 = 20;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
    pub(in super::super) const EXTENDED: u8 = 200;
    pub(in super::super) const EXTENDED_REPLY: u8 = 201;
}

/// Flags of `OPEN`.
pub(super) mod open {
    pub(in super::super) const READ: u32 = 1;
    pub(in super::super) const WRITE: u32 = 2;
    pub(in super::super) const APPEND: u32 = 4;
    pub(in super::super) const CREATE: u32 = 8;
    pub(in super::super) const TRUNCATE: u32 = 0x10;
    pub(in super::super) const EXCLUSIVE: u32 = 0x20;
}

/// Which attributes follow.
pub(super) mod has {
    pub(in super::super) const SIZE: u32 = 1;
    pub(in super::super) const OWNER: u32 = 2;
    pub(in super::super) const MODE: u32 = 4;
    pub(in super::super) const TIMES: u32 = 8;
    pub(in super::super) const EXTENDED: u32 = 0x8000_0000;
}

/// Why a packet is no request. The packets after it can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    Truncated,
    NulInPath,
    LongPath,
    ManyAttributes,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the packet ends in the middle of a field"),
            Self::NulInPath => f.write_str("a path contains a NUL byte"),
            Self::LongPath => write!(f, "a path is longer than {LONGEST_PATH} bytes"),
            Self::ManyAttributes => write!(f, "more than {EXTENDED_ATTRIBUTES} extended attributes"),
        }
    }
}

/// A packet's length that cannot be meant: where the next packet starts is unknown from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AbsurdLength(u32);

impl fmt::Display for AbsurdLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0;
        write!(
            f,
            "a packet of {length} bytes was announced; between {SHORTEST_PACKET} and {LONGEST_PACKET}"
        )?;
        f.write_str(" are accepted")
    }
}

/// The length of the first packet with its length field; `None` while that is not there yet.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<usize>, AbsurdLength> {
    let Some((length, _)) = bytes.split_first_chunk() else { return Ok(None) };
    let announced = u32::from_be_bytes(*length);
    match usize::try_from(announced) {
        Ok(length @ SHORTEST_PACKET..=LONGEST_PACKET) => Ok(Some(LENGTH + length)),
        _ => Err(AbsurdLength(announced)),
    }
}

/// Reads one field after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of a packet with its length field.
    pub(super) fn of_packet(packet: &'a [u8]) -> Self {
        Self(packet.get(LENGTH..).unwrap_or_default())
    }

    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.chunk().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.chunk().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed::Truncated)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(string)
    }

    pub(super) fn path(&mut self) -> Result<&'a [u8], Malformed> {
        let path = self.string()?;
        if path.len() > LONGEST_PATH {
            return Err(Malformed::LongPath);
        }
        if path.contains(&0) { Err(Malformed::NulInPath) } else { Ok(path) }
    }

    /// Skips what OpenSSH skips: attributes that nobody has defined.
    pub(super) fn skip_extended_attributes(&mut self) -> Result<(), Malformed> {
        let count = self.u32()?;
        if count > EXTENDED_ATTRIBUTES {
            return Err(Malformed::ManyAttributes);
        }
        for _ in 0..count {
            self.string()?;
            self.string()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_meant_is_refused() {
        assert_eq!(frame(&[0, 0, 0]), Ok(None));
        assert_eq!(frame(&[0, 0, 0, 5, 1]), Ok(Some(9)));
        assert_eq!(frame(&[0, 4, 4, 0]), Ok(Some(LONGEST_PACKET + 4)));
        for absurd in [0, 4, LONGEST_PACKET + 1, u32::MAX as usize] {
            let absurd = u32::try_from(absurd).unwrap();
            assert_eq!(frame(&absurd.to_be_bytes()), Err(AbsurdLength(absurd)));
        }
        let said = AbsurdLength(u32::MAX).to_string();
        assert_eq!(said, "a packet of 4294967295 bytes was announced; between 5 and 263168 are accepted");
    }

    #[test]
    fn fields_end_where_the_packet_ends() {
        let mut fields = Fields::new(&[7, 0, 0, 0, 2, b'a', b'b', 0, 0]);
        assert_eq!((fields.byte(), fields.string()), (Ok(7), Ok(b"ab".as_slice())));
        assert_eq!(fields.u32(), Err(Malformed::Truncated));
        assert_eq!(Fields::new(&[255, 255, 255, 255, 1]).string(), Err(Malformed::Truncated));
        assert_eq!(Fields::new(&[0; 7]).u64(), Err(Malformed::Truncated));
        assert_eq!(Fields::new(&[0, 0, 0, 1, 0]).path(), Err(Malformed::NulInPath));
        let mut long = 4097_u32.to_be_bytes().to_vec();
        long.resize(4 + 4097, b'x');
        assert_eq!(Fields::new(&long).path(), Err(Malformed::LongPath));
        assert_eq!(Fields::new(&[255; 400]).skip_extended_attributes(), Err(Malformed::ManyAttributes));
    }
}
