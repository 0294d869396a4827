//! Stopped berths that are to be released sooner than the profile says, because the disk is full: when, or that their owner
//! keeps them. A row goes when its berth is stopped no more.

use super::{Ledger, NewEvent, list, time_at};
use crate::error::Fault;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Transaction, params};

impl Ledger {
    /// Notes when a stopped berth is to be released; `None` takes that back.
    pub fn note_early_release(&self, id: i64, at: Option<Timestamp>, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| match at {
            Some(at) => put(transaction, id, Some(at)),
            None => transaction.execute("DELETE FROM early_releases WHERE berth = ?1", [id]),
        })
        .map(|_| ())
    }

    /// Its owner needs it: it is released no sooner than the profile says.
    pub fn keep_stopped(&self, id: i64, event: &NewEvent) -> Result<crate::model::Berth, Fault> {
        self.change(event, |transaction| put(transaction, id, None))?;
        self.berth_by_id(id)
    }
}

fn put(transaction: &Transaction, id: i64, release_at: Option<Timestamp>) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO early_releases (berth, release_at)
               SELECT id, ?2 FROM berths WHERE id = ?1 AND state = 'stopped'";
    transaction.execute(sql, params![id, release_at.map(|at| at.to_string())])
}

/// Moves the times that were announced, as the ends of leases are moved.
pub(super) fn shift(transaction: &Transaction, shift: SignedDuration) -> rusqlite::Result<()> {
    if shift.is_zero() {
        return Ok(());
    }
    let moved = |time: Timestamp| time.checked_add(shift).unwrap_or(time).to_string();
    let sql = "SELECT berth, release_at FROM early_releases WHERE release_at IS NOT NULL";
    let read = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)?, time_at(row, 1)?));
    for (id, release_at) in list(transaction, sql, [], read)? {
        let sql = "UPDATE early_releases SET release_at = ?2 WHERE berth = ?1";
        transaction.execute(sql, params![id, moved(release_at)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{at, event, new_berth, open};
    use crate::model::{Berth, CardId, StopReason};

    fn stopped(ledger: &Ledger) -> Berth {
        let berth = ledger.claim(&new_berth("a", &[0], 20000), &event("x")).unwrap();
        ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
        ledger.begin_stop(berth.id, StopReason::Asked, &event("x")).unwrap();
        ledger.stopped(berth.id, at(99), &event("x")).unwrap()
    }

    fn told(ledger: &Ledger, id: i64) -> (Option<Timestamp>, bool) {
        let stop = ledger.berth_by_id(id).unwrap().stop.unwrap();
        (stop.release_at, stop.kept)
    }

    #[test]
    fn an_announcement_is_of_one_stop() {
        let (dir, ledger) = open();
        let id = stopped(&ledger).id;
        ledger.note_early_release(id, Some(at(24)), &event("berth.release-soon")).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&dir.path().join("ledger.db"), at(0)).unwrap();
        assert_eq!(told(&ledger, id), (Some(at(24)), false), "the next agent knows");
        ledger.note_early_release(id, None, &event("x")).unwrap();
        assert_eq!(told(&ledger, id), (None, false));
        ledger.note_early_release(id, Some(at(24)), &event("x")).unwrap();
        assert_eq!(ledger.keep_stopped(id, &event("x")).unwrap().stop.unwrap().release_at, None);
        assert_eq!(told(&ledger, id), (None, true));
        ledger.begin_start(id, &[CardId(0)], None, false, (None, &[]), &event("x")).unwrap();
        ledger.note_early_release(id, Some(at(24)), &event("x")).unwrap();
        ledger.begin_stop(id, StopReason::Failed, &event("x")).unwrap();
        ledger.stopped(id, at(99), &event("x")).unwrap();
        assert_eq!(told(&ledger, id), (None, false), "nothing of before counts, and nothing that came late");
    }

    #[test]
    fn a_clock_that_is_set_releases_nobody() {
        let (_dir, ledger) = open();
        let id = stopped(&ledger).id;
        ledger.note_early_release(id, Some(at(24)), &event("x")).unwrap();
        let counted =
            crate::ledger::Counted { wall: at(0), boot: std::time::Duration::ZERO, boot_id: String::new() };
        let hours = SignedDuration::from_hours(1000);
        let shift = crate::ledger::Shift { kept: hours, ..crate::ledger::Shift::default() };
        ledger.count(&counted, shift, None).unwrap();
        let stop = ledger.berth_by_id(id).unwrap().stop.unwrap();
        let later = |time: Timestamp| Some(time + hours);
        assert_eq!((stop.release_at, stop.kept_until), (later(at(24)), later(at(99))));
    }
}
