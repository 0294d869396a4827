//! Stopped berths that are released sooner, in examples and as properties.

use super::super::early::{Disk, Relief, Resting, Shelf, make_room};
use super::{hours, noon};
use jiff::Timestamp;
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// Stopped so many hours ago, and kept for a week.
fn resting(id: i64, hours_ago: u64, gib: u64) -> Resting {
    let stopped_at = noon() - hours(hours_ago);
    Resting {
        id,
        stopped_at,
        kept_until: Some(stopped_at + hours(7 * 24)),
        bytes: Some(gib * GIB),
        is_needed: false,
        release_at: None,
    }
}

/// A disk of 100 GiB, of which 10 are to stay free.
fn shelf(free: u64, stopped: Vec<Resting>) -> Shelf {
    let disk = Disk { total: 100 * GIB, free: free * GIB, floor: 10 * GIB };
    Shelf { now: noon(), disk: Some(disk), notice: hours(24), stopped, is_releasing: false, hold: false }
}

fn announce(berth: i64) -> Relief {
    Relief::Announce { berth, release_at: noon() + hours(24) }
}

fn told(berth: Resting, release_at: Timestamp) -> Resting {
    Resting { release_at: Some(release_at), ..berth }
}

#[test]
fn the_oldest_are_told_a_day_before_and_no_more_than_the_disk_lacks() {
    let berths = || vec![resting(1, 5, 2), resting(2, 50, 3), resting(3, 20, 4)];
    assert_eq!(make_room(&shelf(10, berths())), [], "there is room");
    assert_eq!(make_room(&shelf(8, berths())), [announce(2)], "3 GiB come back, and 2 lack");
    assert_eq!(make_room(&shelf(4, berths())), [announce(2), announce(3)], "7 come back, and 6 lack");
    assert_eq!(make_room(&shelf(0, berths())), [announce(2), announce(3), announce(1)]);
    let mut said = berths();
    said[1].release_at = Some(noon() + hours(3));
    assert_eq!(make_room(&shelf(8, said)), [], "it was told");
}

#[test]
fn whoever_was_told_goes_at_that_time_and_one_at_a_time() {
    let at = noon();
    let berths = |at| vec![told(resting(1, 30, 2), at), told(resting(2, 50, 3), at)];
    assert_eq!(make_room(&shelf(8, berths(at + Duration::from_secs(1)))), [], "not yet");
    assert_eq!(make_room(&shelf(8, berths(at))), [Relief::Release { berth: 2 }]);
    assert_eq!(make_room(&shelf(10, berths(at))), [], "room at the floor");
    let busy = Shelf { is_releasing: true, ..shelf(8, berths(at)) };
    assert_eq!(make_room(&busy), [], "what the last one frees is not free yet");
    let withdraw = |berth| Relief::Withdraw { berth, needed: false };
    assert_eq!(make_room(&shelf(11, berths(at))), [withdraw(2), withdraw(1)], "room came back");
}

#[test]
fn whoever_is_needed_stays() {
    let needed = |berth: Resting| Resting { is_needed: true, ..berth };
    let berths = vec![needed(resting(1, 50, 5)), resting(2, 20, 5)];
    assert_eq!(make_room(&shelf(8, berths)), [announce(2)]);
    let due = vec![needed(told(resting(1, 50, 5), noon()))];
    let withdraw = [Relief::Withdraw { berth: 1, needed: true }];
    for free in [8, 10, 50] {
        assert_eq!(make_room(&shelf(free, due.clone())), withdraw);
    }
    assert_eq!(make_room(&Shelf { disk: None, ..shelf(8, due) }), withdraw, "that needs no look at the disk");
}

#[test]
fn nothing_happens_on_missing_data() {
    let due = || vec![told(resting(1, 50, 5), noon()), resting(2, 20, 5)];
    assert_eq!(make_room(&Shelf { disk: None, ..shelf(0, due()) }), []);
    assert_eq!(make_room(&Shelf { hold: true, ..shelf(0, due()) }), [], "the clock was just set");
    let unknown = |berth: Resting| Resting { bytes: None, ..berth };
    let not_measured = due().into_iter().map(unknown).collect();
    assert_eq!(make_room(&shelf(0, not_measured)), [], "nobody knows what it would free");
    let disk = Disk { total: 100 * GIB, free: 0, floor: 100 * GIB };
    assert_eq!(make_room(&Shelf { disk: Some(disk), ..shelf(0, due()) }), [], "no release could reach that");
}

#[test]
fn a_release_that_frees_nothing_is_none() {
    let small = Resting { bytes: Some((16 << 20) - 1), ..resting(1, 90, 0) };
    assert_eq!(make_room(&shelf(8, vec![small.clone(), resting(2, 20, 5)])), [announce(2)]);
    assert_eq!(make_room(&shelf(8, vec![told(small, noon())])), []);
}

#[test]
fn whoever_goes_within_the_day_anyway_is_counted_and_not_told() {
    let ends = Resting { kept_until: Some(noon() + hours(23)), ..resting(1, 50, 2) };
    assert_eq!(make_room(&shelf(8, vec![ends.clone(), resting(2, 20, 5)])), []);
    assert_eq!(make_room(&shelf(7, vec![ends, resting(2, 20, 5)])), [announce(2)]);
    let always = Resting { kept_until: None, ..resting(3, 50, 2) };
    assert_eq!(make_room(&shelf(8, vec![always])), [announce(3)]);
}

/// Days of a disk that fills and empties, seen once an hour, with berths that come, are needed, and go.
#[test]
fn nobody_goes_untold_or_before_somebody_older() {
    let mut rng = super::random::Random(20_261_201);
    for _ in 0..300 {
        let count = i64::try_from(rng.below(6)).unwrap();
        let mut shelf = shelf(0, (1..=count).map(|id| resting(id, rng.below(150), rng.below(4))).collect());
        let mut said_at = std::collections::BTreeMap::new();
        for _ in 0..80 {
            shelf.now += hours(1);
            let free = rng.below(20) * GIB;
            shelf.disk = (rng.below(10) > 0).then_some(Disk { total: 100 * GIB, free, floor: 10 * GIB });
            shelf.hold = rng.below(10) == 0;
            if let Some(berth) = shelf.stopped.first_mut() {
                berth.is_needed = rng.below(4) == 0;
            }
            let reliefs = make_room(&shelf);
            for relief in &reliefs {
                note(&mut shelf, &mut said_at, *relief);
            }
            let again = make_room(&shelf);
            let releases =
                |all: &[Relief]| all.iter().filter(|one| matches!(one, Relief::Release { .. })).count();
            assert!(releases(&reliefs) <= 1);
            assert_eq!(again.len(), releases(&again), "said once: {again:?}");
        }
    }
}

fn note(shelf: &mut Shelf, said_at: &mut std::collections::BTreeMap<i64, Timestamp>, relief: Relief) {
    let now = shelf.now;
    let (Relief::Announce { berth: id, .. }
    | Relief::Withdraw { berth: id, .. }
    | Relief::Release { berth: id }) = relief;
    let berth = shelf.stopped.iter_mut().find(|berth| berth.id == id).unwrap();
    match relief {
        Relief::Announce { release_at, .. } => {
            assert!(!berth.is_needed && !shelf.hold && shelf.disk.is_some());
            said_at.insert(id, now);
            berth.release_at = Some(release_at);
        }
        Relief::Withdraw { .. } => {
            said_at.remove(&id);
            berth.release_at = None;
        }
        Relief::Release { .. } => {
            assert!(now >= said_at[&id] + hours(24) && !berth.is_needed && !shelf.hold);
            assert!(shelf.disk.is_some_and(|disk| disk.free < disk.floor));
            let age = (berth.stopped_at, id);
            let is_before = |other: &Resting| {
                let is_due = other.release_at.is_some_and(|at| at <= now) && !other.is_needed;
                is_due && other.bytes >= Some(16 << 20) && (other.stopped_at, other.id) < age
            };
            assert!(!shelf.stopped.iter().any(is_before), "the oldest goes first");
            shelf.stopped.retain(|berth| berth.id != id);
        }
    }
}
