//! Which stopped berths are released sooner because the disk with their containers runs full: the oldest first, and each
//! told before. One pure function, [`make_room`].
//!
//! Careful, because a release cannot be taken back: what was not measured counts as nothing to gain, a berth that frees
//! next to nothing is left alone, no more are told than the disk lacks, and one is released at a time, between two looks at
//! the disk.

use super::time::after;
use jiff::Timestamp;
use std::time::Duration;

/// A release that frees less is worth nobody's files.
const LEAST: u64 = 16 << 20;
/// An announcement is taken back once this part of the floor is free beyond it, so that a disk at the floor does not say
/// one thing after the other.
const SLACK: u64 = 10;

/// The file system with the containers' files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    pub free: u64,
    /// How much of it is to stay free.
    pub floor: u64,
}

/// A stopped berth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    pub id: i64,
    pub stopped_at: Timestamp,
    /// When it is released whatever the disk says; `None` for never.
    pub kept_until: Option<Timestamp>,
    /// How much its release frees; `None` where that was not measured.
    pub bytes: Option<u64>,
    /// Locked, kept by its owner, or about to be started.
    pub is_needed: bool,
    /// When it is to be released, where its owner was told.
    pub release_at: Option<Timestamp>,
}

/// All that this decision knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    pub now: Timestamp,
    /// `None` where it could not be looked at.
    pub disk: Option<Disk>,
    /// From the announcement of a release to the release.
    pub notice: Duration,
    pub stopped: Vec<Resting>,
    /// A release has begun and is not at its end, so that what it frees is not free yet.
    pub is_releasing: bool,
    /// The clock was just set: nobody is told a time, and nothing is released.
    pub hold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relief {
    /// Tell its owner that it is released then.
    Announce {
        berth: i64,
        release_at: Timestamp,
    },
    /// It is not released sooner, because there is room again, or because it is needed.
    Withdraw {
        berth: i64,
        needed: bool,
    },
    Release {
        berth: i64,
    },
}

/// What is to be done now, in this order. The caller writes each down before the next decision.
pub fn make_room(shelf: &Shelf) -> Vec<Relief> {
    let mut berths: Vec<&Resting> = shelf.stopped.iter().collect();
    berths.sort_by_key(|berth| (berth.stopped_at, berth.id));
    let told = |berth: &&&Resting| berth.release_at.is_some();
    let needed = berths.iter().filter(told).filter(|berth| berth.is_needed);
    let mut reliefs: Vec<Relief> =
        needed.map(|berth| Relief::Withdraw { berth: berth.id, needed: true }).collect();
    berths.retain(|berth| !berth.is_needed);
    // A floor that no release could reach is a mistake in the profile.
    let Some(disk) = shelf.disk.filter(|disk| !shelf.hold && disk.floor < disk.total) else { return reliefs };
    if disk.free >= disk.floor.saturating_add(disk.floor / SLACK) {
        let told = berths.iter().filter(told);
        reliefs.extend(told.map(|berth| Relief::Withdraw { berth: berth.id, needed: false }));
    } else if disk.free < disk.floor {
        berths.retain(|berth| berth.bytes.is_some_and(|bytes| bytes >= LEAST));
        reliefs.extend(announcements(shelf, &berths, disk.floor - disk.free));
        let is_due = |berth: &&&Resting| berth.release_at.is_some_and(|at| at <= shelf.now);
        let due = berths.iter().find(is_due).filter(|_| !shelf.is_releasing);
        reliefs.extend(due.map(|berth| Relief::Release { berth: berth.id }));
    }
    reliefs
}

/// Tells as many as free what the disk lacks. `berths` are sorted, the oldest first.
fn announcements(shelf: &Shelf, berths: &[&Resting], lacks: u64) -> Vec<Relief> {
    let release_at = after(shelf.now, shelf.notice);
    // Whoever goes by then anyway needs no word.
    let goes = |berth: &Resting| {
        berth.release_at.is_some() || berth.kept_until.is_some_and(|until| until <= release_at)
    };
    let bytes = |berth: &Resting| berth.bytes.unwrap_or(0);
    let mut gained =
        berths.iter().filter(|berth| goes(berth)).fold(0, |sum: u64, berth| sum.saturating_add(bytes(berth)));
    let mut reliefs = Vec::new();
    for berth in berths.iter().filter(|berth| !goes(berth)) {
        if gained >= lacks {
            break;
        }
        gained = gained.saturating_add(bytes(berth));
        reliefs.push(Relief::Announce { berth: berth.id, release_at });
    }
    reliefs
}
