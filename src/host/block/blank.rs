//! Whether a device is blank: reads its ends, every place where copies of superblocks are kept, and a random sample.
//!
//! It never writes. A device that cannot be read does not count as blank.

use super::copies::{Copies, Places, TABLE, places};
use super::{END, wiped_mark};
use crate::model::disk::{Content, Coverage, Trace};
use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

const BLOCK: u64 = 4096;
/// The device is cut into so many pieces of one size, and one block of each, at random, is looked at.
const SAMPLE: u64 = 2048;

/// What was found on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub content: Content,
    /// Structures found at known places.
    pub traces: Vec<Trace>,
    /// How much was read; only for a blank device that berth has not wiped.
    pub coverage: Option<Coverage>,
}

impl From<Content> for Look {
    fn from(content: Content) -> Self {
        Self { content, traces: Vec::new(), coverage: None }
    }
}

/// Looks at a device. With `alone` it is opened exclusively.
pub fn look_at_content(path: &Path, serial: &str, alone: bool) -> Look {
    let exclusive = if alone { OFlags::EXCL } else { OFlags::empty() };
    let device = match open(path, OFlags::RDONLY | OFlags::CLOEXEC | exclusive, Mode::empty()) {
        Ok(device) => File::from(device),
        Err(Errno::BUSY) => return Content::Held.into(),
        Err(errno) => return Content::Unreadable(errno.to_string()).into(),
    };
    look_into(device, serial).unwrap_or_else(|error| Content::Unreadable(error.to_string()).into())
}

fn look_into(mut device: File, serial: &str) -> io::Result<Look> {
    let size = device.seek(SeekFrom::End(0))?;
    if size == 0 {
        return Err(io::Error::other("it has no size: its controller may have failed"));
    }
    let start = read_at(&mut device, 0, END)?;
    let behind = size.saturating_sub(END);
    let end = read_at(&mut device, behind, END)?;
    // Somebody had it wiped: what is in the middle may go.
    let mark = wiped_mark(serial);
    let is_wiped = start.strip_prefix(mark.as_slice()).is_some_and(is_nothing);
    if is_nothing(&end) && is_wiped {
        return Ok(Content::Blank.into());
    }
    if !is_nothing(&start) || !is_nothing(&end) {
        let mut traces = names_in(&start, 0, size);
        traces.extend(names_in(&end, behind, size));
        traces.extend(names_at_end(&end, behind));
        traces.dedup_by(|a, b| a.kind == b.kind);
        return Ok(Look { content: Content::Data, traces, coverage: None });
    }
    look_between(&mut device, size)
}

/// Looks at the blocks between the ends: a disk whose first blocks were lost may still have its data.
fn look_between(device: &mut File, size: u64) -> io::Result<Look> {
    // Reading ahead would read most of the disk.
    fadvise(&*device, 0, None, Advice::Random)?;
    let known = blocks_of_copies(size);
    let mut is_data = false;
    for (block, copies) in &known {
        let bytes = read_at(device, *block, BLOCK)?;
        if is_nothing(&bytes) {
            continue;
        }
        is_data = true;
        // What lies here may be anything; the next place may say whose it is.
        if let Some((offset, copies)) =
            copies.iter().find(|(offset, copies)| is_at(&bytes, *block, *offset, copies))
        {
            let trace = Trace { kind: copies.kind.into(), offset: *offset };
            return Ok(Look { content: Content::Data, traces: vec![trace], coverage: None });
        }
    }
    if is_data {
        return Ok(Content::Data.into());
    }
    for offset in sample(size) {
        if !is_nothing(&read_at(device, offset, BLOCK)?) {
            return Ok(Content::Data.into());
        }
    }
    let places = known.len() as u64;
    Ok(Look {
        content: Content::Blank,
        traces: Vec::new(),
        coverage: Some(Coverage { known: places, random: SAMPLE }),
    })
}

/// The blocks between the ends where copies may be.
fn blocks_of_copies(size: u64) -> BTreeMap<u64, Vec<(u64, &'static Copies)>> {
    let mut blocks: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let between = END..size.saturating_sub(END);
    for (offset, copies) in places(size) {
        let block = (offset + copies.magic.0) / BLOCK * BLOCK;
        if between.contains(&block) {
            blocks.entry(block).or_default().push((offset, copies));
        }
    }
    blocks
}

/// Random positions, new ones at each look, so that no pattern of data stays unseen.
fn sample(size: u64) -> impl Iterator<Item = u64> {
    let piece = size / SAMPLE;
    let random = RandomState::new();
    (0..SAMPLE).map(move |at| (piece * at + random.hash_one(at) % piece.max(1)) / BLOCK * BLOCK)
}

fn is_at(bytes: &[u8], from: u64, offset: u64, copies: &Copies) -> bool {
    let (behind, magic) = copies.magic;
    let place = (offset + behind).checked_sub(from).and_then(|place| usize::try_from(place).ok());
    place.and_then(|place| bytes.get(place..)).is_some_and(|rest| rest.starts_with(magic))
}

/// The structures at the exact places of the table.
fn names_in(bytes: &[u8], from: u64, size: u64) -> Vec<Trace> {
    let mut found: Vec<Trace> = places(size)
        .into_iter()
        .filter(|(offset, copies)| is_at(bytes, from, *offset, copies))
        .map(|(offset, copies)| Trace { kind: copies.kind.into(), offset })
        .collect();
    found.sort_by(|a, b| (a.offset, &a.kind).cmp(&(b.offset, &b.kind)));
    found.dedup_by(|a, b| a.kind == b.kind);
    found
}

/// The structures near the end. Each sector is compared, because their exact place depends on the end of a lost
/// partition.
fn names_at_end(end: &[u8], behind: u64) -> Vec<Trace> {
    const SECTOR: usize = 512;
    let rows = TABLE.iter().filter(|copies| matches!(copies.places, Places::End));
    let find = |copies: &Copies| {
        let place = (0..end.len() as u64).step_by(SECTOR).find(|at| is_at(end, 0, *at, copies))?;
        Some(Trace { kind: copies.kind.into(), offset: behind + place })
    };
    rows.filter_map(find).collect()
}

fn read_at(device: &mut File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    device.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    device.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// New disks, and discarded blocks, read as zeros; some as ones.
fn is_nothing(bytes: &[u8]) -> bool {
    let [first, rest @ ..] = bytes else { return true };
    // All are equal when each equals the one before it.
    matches!(first, 0 | 0xff) && bytes.starts_with(rest)
}

#[cfg(test)]
mod tests {
    use super::super::Alone;
    use super::*;
    use std::fs;
    use std::io::Write as _;

    const MIB: u64 = 1 << 20;

    fn write(path: &Path, place: u64, what: &[u8]) {
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(what).unwrap();
    }

    #[test]
    fn one_byte_is_something() {
        for nothing in [&[][..], &[0], &[0xff; 3], &[0; 3]] {
            assert!(is_nothing(nothing), "{nothing:?}");
        }
        for data in
            [&[1][..], &[0, 0, 1], &[1, 0, 0], &[0, 0xff], &[0xff, 0], &[0xff, 0xff, 0xfe], &[7, 7, 7]]
        {
            assert!(!is_nothing(data), "{data:?}");
        }
    }

    #[test]
    fn data_at_the_ends_or_between_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let size = 64 * MIB;
        File::create(&path).unwrap().set_len(size).unwrap();
        let look = || look_at_content(&path, "S1", false).content;
        assert_eq!(look(), Content::Blank);
        for place in [5, size - 1, 20 * MIB] {
            let lost = vec![7; 200 << 10];
            write(&path, place.min(size - lost.len() as u64), &lost);
            assert_eq!(look(), Content::Data, "{place}");
            write(&path, place.min(size - lost.len() as u64), &vec![0; lost.len()]);
            write(&path, place, &[0]);
        }
        assert_eq!(look(), Content::Blank);
        // The superblock of an ext4 in the first partition, whose table was overwritten.
        write(&path, MIB + 0x438, &[0x53, 0xef]);
        let found = look_at_content(&path, "S1", false);
        assert_eq!(found.content, Content::Data);
        assert_eq!(found.traces, [Trace { kind: "ext4".into(), offset: MIB + 1024 }]);
        File::create(&path).unwrap();
        assert!(matches!(look(), Content::Unreadable(_)), "a disk of no size");
        assert!(matches!(
            look_at_content(&dir.path().join("none"), "S1", false).content,
            Content::Unreadable(_)
        ));
    }

    /// Each row of the table, alone on a big disk.
    #[test]
    fn every_copy_in_the_table_is_seen_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let size = 3 << 40;
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        let all = places(size);
        let between = END..size - END;
        for (index, copies) in TABLE.iter().enumerate() {
            let (behind, magic) = copies.magic;
            // The farthest one that is no part of the ends, which are read whole.
            let mine =
                all.iter().filter(|(_, other)| std::ptr::eq(*other, copies)).map(|(offset, _)| *offset);
            let traces = if let Some(place) = mine.filter(|offset| between.contains(offset)).max() {
                write(&path, place + behind, magic);
                let found = look_between(&mut file, size).unwrap();
                write(&path, place + behind, &vec![0; magic.len()]);
                assert_eq!(found.content, Content::Data, "row {index}, {} at {place}", copies.kind);
                found.traces
            } else {
                let mut end = vec![0; 1 << 20];
                let place = 512 + usize::try_from(behind).unwrap();
                end[place..place + magic.len()].copy_from_slice(magic);
                names_at_end(&end, size - (1 << 20))
            };
            let kinds: Vec<&str> = traces.iter().map(|trace| trace.kind.as_str()).collect();
            assert!(kinds.contains(&copies.kind), "row {index}, {}: {kinds:?}", copies.kind);
        }
        let blank = look_at_content(&path, "S1", false);
        assert_eq!(blank.content, Content::Blank);
        let coverage = blank.coverage.unwrap();
        assert!((1000..8000).contains(&coverage.known) && coverage.random == SAMPLE, "{coverage:?}");
    }

    #[test]
    fn the_sample_has_a_block_of_each_piece() {
        let size = 3 << 40;
        let places: Vec<u64> = sample(size).collect();
        assert_eq!(places.len() as u64, SAMPLE);
        let piece = size / SAMPLE;
        for (at, place) in places.iter().enumerate() {
            assert_eq!((place + BLOCK - 1) / piece, at as u64);
            assert_eq!(place % BLOCK, 0);
        }
        assert_ne!(places, sample(size).collect::<Vec<_>>(), "another one each time");
    }

    /// One block of each five hundred, thinly spread over the whole disk.
    #[test]
    fn thin_data_is_seen_as_often_as_the_plan_says() {
        let sees = || sample(3 << 40).any(|place| place / BLOCK % 500 == 250);
        let seen = (0..1000).map(|_| f64::from(u8::from(sees()))).sum::<f64>() / 1000.0;
        let said = Coverage { known: 0, random: SAMPLE }.chance(0.002);
        assert!((0.983..0.984).contains(&said), "{said}");
        // Five standard deviations.
        assert!((seen - said).abs() < 0.021, "{seen} and {said}");
    }

    #[test]
    fn a_wiped_disk_may_have_anything_in_the_middle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let size = 64 * MIB;
        fs::write(&path, vec![9; usize::try_from(size).unwrap()]).unwrap();
        let device = File::options().read(true).write(true).open(&path).unwrap();
        Alone(device).wipe_ends("S1").unwrap();
        let look = |serial: &str| look_at_content(&path, serial, false).content;
        assert_eq!(look("S1"), Content::Blank);
        assert_eq!(look("S2"), Content::Data);
        write(&path, 100, b"new");
        assert_eq!(look("S1"), Content::Data);
    }
}
