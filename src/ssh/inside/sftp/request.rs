//! A packet as a request. Pure: what it says, not whether it may be done.

use super::attributes::Attributes;
use super::wire::{Fields, Malformed, kind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SftpRequest<'a> {
    Init {
        version: u32,
    },
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    LinkStatus {
        path: &'a [u8],
    },
    HandleStatus {
        handle: &'a [u8],
    },
    SetStatus {
        path: &'a [u8],
        attributes: Attributes,
    },
    SetHandleStatus {
        handle: &'a [u8],
        attributes: Attributes,
    },
    OpenDirectory {
        path: &'a [u8],
    },
    ReadDirectory {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MakeDirectory {
        path: &'a [u8],
        attributes: Attributes,
    },
    RemoveDirectory {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Status {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        path: &'a [u8],
    },
    /// In the order of OpenSSH, which is not that of the draft.
    SymbolicLink {
        target: &'a [u8],
        link: &'a [u8],
    },
    Extended(Extended<'a>),
    Unknown {
        kind: u8,
    },
}

/// What OpenSSH added to version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended<'a> {
    RenameOver {
        from: &'a [u8],
        to: &'a [u8],
    },
    FileSystem {
        path: &'a [u8],
    },
    HandleFileSystem {
        handle: &'a [u8],
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    Sync {
        handle: &'a [u8],
    },
    SetLinkStatus {
        path: &'a [u8],
        attributes: Attributes,
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    CopyData(Copy<'a>),
    HomeDirectory {
        user: &'a [u8],
    },
    /// Numbers of users and of groups, four bytes each.
    NamesOf {
        users: &'a [u8],
        groups: &'a [u8],
    },
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy<'a> {
    pub(super) from: &'a [u8],
    pub(super) from_offset: u64,
    /// 0: to the end of the file.
    pub(super) length: u64,
    pub(super) to: &'a [u8],
    pub(super) to_offset: u64,
}

/// The extensions and their versions, as they are announced.
pub(super) const EXTENSIONS: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

/// A request with its number. Of `INIT`, which has none, the number is 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numbered<'a> {
    pub(super) id: u32,
    pub(super) request: Result<SftpRequest<'a>, Malformed>,
}

/// Reads a packet with its length field. Bytes after the last field are ignored, as OpenSSH does.
pub(super) fn parse(packet: &[u8]) -> Result<Numbered<'_>, Malformed> {
    let mut fields = Fields::of_packet(packet);
    let kind = fields.byte()?;
    let number = fields.u32()?;
    Ok(if kind == kind::INIT {
        Numbered { id: 0, request: Ok(SftpRequest::Init { version: number }) }
    } else {
        Numbered { id: number, request: request(kind, fields) }
    })
}

fn request(kind: u8, mut fields: Fields<'_>) -> Result<SftpRequest<'_>, Malformed> {
    let it = &mut fields;
    Ok(match kind {
        kind::OPEN => {
            SftpRequest::Open { path: it.path()?, flags: it.u32()?, attributes: Attributes::read(it)? }
        }
        kind::CLOSE => SftpRequest::Close { handle: it.string()? },
        kind::READ => SftpRequest::Read { handle: it.string()?, offset: it.u64()?, length: it.u32()? },
        kind::WRITE => SftpRequest::Write { handle: it.string()?, offset: it.u64()?, data: it.string()? },
        kind::LSTAT => SftpRequest::LinkStatus { path: it.path()? },
        kind::FSTAT => SftpRequest::HandleStatus { handle: it.string()? },
        kind::SETSTAT => SftpRequest::SetStatus { path: it.path()?, attributes: Attributes::read(it)? },
        kind::FSETSTAT => {
            SftpRequest::SetHandleStatus { handle: it.string()?, attributes: Attributes::read(it)? }
        }
        kind::OPENDIR => SftpRequest::OpenDirectory { path: it.path()? },
        kind::READDIR => SftpRequest::ReadDirectory { handle: it.string()? },
        kind::REMOVE => SftpRequest::Remove { path: it.path()? },
        kind::MKDIR => SftpRequest::MakeDirectory { path: it.path()?, attributes: Attributes::read(it)? },
        kind::RMDIR => SftpRequest::RemoveDirectory { path: it.path()? },
        kind::REALPATH => SftpRequest::RealPath { path: it.path()? },
        kind::STAT => SftpRequest::Status { path: it.path()? },
        kind::RENAME => SftpRequest::Rename { from: it.path()?, to: it.path()? },
        kind::READLINK => SftpRequest::ReadLink { path: it.path()? },
        kind::SYMLINK => SftpRequest::SymbolicLink { target: it.path()?, link: it.path()? },
        kind::EXTENDED => SftpRequest::Extended(extended(it)?),
        kind => SftpRequest::Unknown { kind },
    })
}

fn extended<'a>(it: &mut Fields<'a>) -> Result<Extended<'a>, Malformed> {
    Ok(match it.string()? {
        b"posix-rename@openssh.com" => Extended::RenameOver { from: it.path()?, to: it.path()? },
        b"statvfs@openssh.com" => Extended::FileSystem { path: it.path()? },
        b"fstatvfs@openssh.com" => Extended::HandleFileSystem { handle: it.string()? },
        b"hardlink@openssh.com" => Extended::HardLink { from: it.path()?, to: it.path()? },
        b"fsync@openssh.com" => Extended::Sync { handle: it.string()? },
        b"lsetstat@openssh.com" => {
            Extended::SetLinkStatus { path: it.path()?, attributes: Attributes::read(it)? }
        }
        b"limits@openssh.com" => Extended::Limits,
        b"expand-path@openssh.com" => Extended::ExpandPath { path: it.path()? },
        b"copy-data" => Extended::CopyData(Copy {
            from: it.string()?,
            from_offset: it.u64()?,
            length: it.u64()?,
            to: it.string()?,
            to_offset: it.u64()?,
        }),
        b"home-directory" => Extended::HomeDirectory { user: it.string()? },
        b"users-groups-by-id@openssh.com" => Extended::NamesOf { users: it.string()?, groups: it.string()? },
        _ => Extended::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
        let body = [&[kind], id.to_be_bytes().as_slice(), &fields.concat()].concat();
        [u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(), &body].concat()
    }

    fn string(text: &[u8]) -> Vec<u8> {
        [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text].concat()
    }

    #[test]
    fn requests_are_read_and_what_follows_them_is_ignored() {
        let offset = 5_000_000_000_u64.to_be_bytes();
        let read = packet(kind::READ, 9, &[&string(b"h"), &offset, &[0, 0, 1, 0], b"more"]);
        let request = SftpRequest::Read { handle: b"h", offset: 5_000_000_000, length: 256 };
        assert_eq!(parse(&read), Ok(Numbered { id: 9, request: Ok(request) }));
        let chinese = packet(kind::REMOVE, 1, &[&string(b"\xd6\xd0")]);
        let request = SftpRequest::Remove { path: b"\xd6\xd0" };
        assert_eq!(parse(&chinese).unwrap().request, Ok(request));
        let attributes = [&4_u32.to_be_bytes()[..], &0o600_u32.to_be_bytes()].concat();
        let open = packet(kind::OPEN, 1, &[&string(b"f"), &26_u32.to_be_bytes(), &attributes]);
        let attributes = Attributes { mode: Some(0o600), ..Attributes::default() };
        let request = SftpRequest::Open { path: b"f", flags: 26, attributes };
        assert_eq!(parse(&open).unwrap().request, Ok(request));
    }

    #[test]
    fn what_is_no_request_keeps_its_number() {
        let broken = packet(kind::WRITE, 77, &[&string(b"h"), &[0; 8], &[255; 4]]);
        assert_eq!(parse(&broken), Ok(Numbered { id: 77, request: Err(Malformed::Truncated) }));
        assert_eq!(parse(&packet(250, 3, &[])).unwrap().request, Ok(SftpRequest::Unknown { kind: 250 }));
        let unknown = packet(kind::EXTENDED, 3, &[&string(b"x@y")]);
        assert_eq!(parse(&unknown).unwrap().request, Ok(SftpRequest::Extended(Extended::Unknown)));
        assert_eq!(parse(&[0, 0, 0, 1, 3]), Err(Malformed::Truncated));
    }

    /// Bytes that look random and are the same in every run.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 33
        }
        fn below(&mut self, limit: usize) -> usize {
            usize::try_from(self.next()).unwrap() % limit.max(1)
        }
        fn byte(&mut self) -> u8 {
            self.next().to_le_bytes()[0]
        }
    }

    #[test]
    fn whatever_comes_is_a_request_or_a_reason() {
        let mut noise = Noise(7);
        let names: Vec<Vec<u8>> = EXTENSIONS.iter().map(|(name, _)| string(name.as_bytes())).collect();
        let (mut good, mut bad) = (0, 0);
        for _ in 0..100_000 {
            let kind = if noise.below(4) == 0 { noise.byte() } else { 1 + noise.byte() % 20 };
            let kind = if noise.below(4) == 0 { kind::EXTENDED } else { kind };
            let mut body = vec![kind, 0, 0, 0, 1];
            if kind == kind::EXTENDED {
                body.extend_from_slice(&names[noise.below(names.len())]);
            }
            for _ in 0..noise.below(5) {
                match noise.below(3) {
                    0 => body.extend(string(&vec![b'a'; noise.below(40)])),
                    1 => body.extend(u32::try_from(noise.below(16)).unwrap().to_be_bytes()),
                    _ => body.extend((0..noise.below(24)).map(|_| noise.byte())),
                }
            }
            for _ in 0..noise.below(3) {
                let at = noise.below(body.len());
                body[at] ^= 1 << noise.below(8);
            }
            body.truncate(1 + noise.below(body.len() + 40));
            let whole = [u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(), &body].concat();
            match parse(&whole) {
                Ok(Numbered { request: Ok(_), .. }) => good += 1,
                Ok(_) | Err(_) => bad += 1,
            }
        }
        assert!(good > 10_000 && bad > 10_000, "{good} requests, {bad} reasons");
    }
}
