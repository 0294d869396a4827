//! What kind of image archive a file is: a root file system for `docker import`, or what `docker save` wrote.
//!
//! It reads the names of the first entries only, and unpacks nothing to disk.

use crate::error::Fault;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: usize = 512;
const MAX_ENTRIES: usize = 4096;
/// How much of a packed archive is unpacked to look at it.
const MAX_UNPACKED: u64 = 1 << 30;
const TOP_DIRECTORIES: [&str; 19] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run",
    "sbin", "srv", "sys", "tmp", "usr", "var",
];
const HELP: &str = "give a tar of a root file system, or what `docker save` wrote, plain or gzipped";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// A tar of a root file system.
    RootFs,
    /// An archive of images with their names and layers.
    Saved,
}

/// Says which kind of archive the file is, and rewinds it. An error when it is neither kind.
pub fn detect(file: &mut File) -> Result<ArchiveKind> {
    let kind = detect_in(file).context("looking into the image archive")?;
    file.rewind().context("rewinding the image archive")?;
    Ok(kind)
}

fn detect_in(file: &mut File) -> Result<ArchiveKind, Fault> {
    let unreadable =
        |error: io::Error| Fault::usage(format!("it cannot be read as a tar: {error}")).help(HELP);
    file.rewind().map_err(unreadable)?;
    let mut magic = Vec::new();
    file.take(6).read_to_end(&mut magic).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let packed =
        |with: &str| Err(Fault::usage(format!("it is packed with {with}")).help("unpack it, or gzip it"));
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => {
            let stream = flate2::read::MultiGzDecoder::new(io::BufReader::new(file)).take(MAX_UNPACKED);
            walk(stream, |stream, count| io::copy(&mut stream.take(count), &mut io::sink()).map(|_| ()))
        }
        [0xfd, b'7', b'z', b'X', ..] => packed("xz"),
        [b'B', b'Z', b'h', ..] => packed("bzip2"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => packed("zstd"),
        _ => walk(file, |file, count| {
            let count = i64::try_from(count).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            file.seek(SeekFrom::Current(count)).map(|_| ())
        }),
    }
}

fn walk<R: Read>(
    mut stream: R,
    mut skip: impl FnMut(&mut R, u64) -> io::Result<()>,
) -> Result<ArchiveKind, Fault> {
    let broken = |error: io::Error| Fault::usage(format!("it cannot be read as a tar: {error}")).help(HELP);
    for _ in 0..MAX_ENTRIES {
        let mut header = [0u8; BLOCK];
        if let Err(error) = stream.read_exact(&mut header) {
            return Err(broken(error));
        }
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let entry = Entry::parse(&header).ok_or_else(|| Fault::usage("it is not a tar").help(HELP))?;
        if let Some(kind) = kind_by(&entry.name) {
            return Ok(kind);
        }
        let blocks = entry.size.div_ceil(BLOCK as u64);
        let bytes =
            blocks.checked_mul(BLOCK as u64).ok_or_else(|| Fault::usage("it is not a tar").help(HELP))?;
        skip(&mut stream, bytes).map_err(broken)?;
    }
    Err(Fault::usage("it holds neither a root file system nor images").help(HELP))
}

struct Entry {
    name: String,
    size: u64,
}

impl Entry {
    /// `None` when the checksum is wrong: then it is no tar header.
    fn parse(header: &[u8; BLOCK]) -> Option<Self> {
        let claimed = octal(header.get(148..156)?)?;
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
            .sum();
        if sum != claimed {
            return None;
        }
        // Extended headers and long names carry a text of their own; it is not the name of a file.
        let ordinary = matches!(header.get(156)?, 0 | b'0'..=b'7');
        let name = header.get(..100)?.split(|byte| *byte == 0).next()?;
        let name = if ordinary { String::from_utf8_lossy(name).into_owned() } else { String::new() };
        Some(Self { name, size: octal(header.get(124..136)?)? })
    }
}

/// A number as tar writes it: octal digits, or a big-endian number where the highest bit is set.
fn octal(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(|c: char| c == ' ' || c == '\0');
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn kind_by(name: &str) -> Option<ArchiveKind> {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    let top = name.split('/').next().unwrap_or_default();
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let saved = matches!(name, "manifest.json" | "index.json" | "oci-layout" | "repositories")
        || (top == "blobs" && name.split('/').nth(1).is_none_or(|next| next.is_empty() || next == "sha256"))
        || is_digest(top)
        || top.strip_suffix(".json").is_some_and(is_digest);
    if saved {
        return Some(ArchiveKind::Saved);
    }
    TOP_DIRECTORIES.contains(&top).then_some(ArchiveKind::RootFs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn header(name: &str, size: u64, kind: u8) -> [u8; BLOCK] {
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[156] = kind;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    }

    fn tar(entries: &[(&str, u64, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, size, kind) in entries {
            bytes.extend(header(name, *size, *kind));
            bytes.resize(bytes.len() + usize::try_from(size.div_ceil(512) * 512).unwrap(), b'x');
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn kind(bytes: &[u8]) -> Result<ArchiveKind> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let kind = detect(&mut file);
        assert!(kind.is_err() || file.stream_position().unwrap() == 0);
        kind
    }

    #[test]
    fn both_kinds_are_told_apart_plain_and_gzipped() {
        let digest = "a".repeat(64);
        let layer = format!("{digest}/");
        let config = format!("{digest}.json");
        for (entries, expected) in [
            (vec![("./", 0, b'5'), ("./bin/", 0, b'5'), ("./bin/busybox", 600, b'0')], ArchiveKind::RootFs),
            (vec![("usr/lib/x", 10, b'0')], ArchiveKind::RootFs),
            (vec![("pax", 100, b'x'), (".dockerenv", 0, b'0'), ("etc/", 0, b'5')], ArchiveKind::RootFs),
            (vec![("blobs/", 0, b'5'), ("index.json", 3, b'0')], ArchiveKind::Saved),
            (vec![(layer.as_str(), 0, b'5')], ArchiveKind::Saved),
            (vec![(config.as_str(), 2000, b'0')], ArchiveKind::Saved),
            (vec![("manifest.json", 3, b'0')], ArchiveKind::Saved),
        ] {
            let plain = tar(&entries);
            assert_eq!(kind(&plain).unwrap(), expected, "{entries:?}");
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&plain).unwrap();
            assert_eq!(kind(&packer.finish().unwrap()).unwrap(), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_help() {
        let big = {
            let mut h = header("x", 0, b'0');
            h[124] = 0xff;
            h[125..136].fill(0xff);
            h
        };
        for bytes in [
            b"".to_vec(),
            b"hello".to_vec(),
            vec![0; 2048],
            vec![7; 4096],
            tar(&[("notes.txt", 10, b'0')]),
            header("notes.txt", u64::from(u32::MAX), b'0').to_vec(),
            big.to_vec(),
            vec![0x1f, 0x8b, 1, 2, 3],
            b"\xfd7zXZ\0".to_vec(),
            b"\x28\xb5\x2f\xfd12345".to_vec(),
        ] {
            let fault = crate::error::flatten(&kind(&bytes).unwrap_err());
            assert!(fault.help.is_some(), "{fault:?}");
        }
    }
}
