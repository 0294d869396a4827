//! What is stored about leases: what owners were told, and up to when time was counted.

use super::berths::STANDING;
use super::{Ledger, NewEvent, conditions, early_releases, find, list, messages, optional_time_at, time_at};
use crate::error::Fault;
use crate::model::clock::BootTime;
use crate::model::{Berth, BerthState, Lock, StopReason};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is stored about a berth's lease and not shown to users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseNotes {
    /// When its server answered.
    pub live_at: Option<Timestamp>,
    /// How much of the lease was left when its owner was last warned.
    pub told_left: Option<Duration>,
    /// How often it was renewed while another request waited for cards.
    pub renewals: u32,
    /// The announced stop: when it was announced, when it will be, and why.
    pub asked: Option<(Timestamp, Timestamp, StopReason)>,
    /// How often its owner kept it in this lease, though it did nothing.
    pub keeps: u32,
}

/// Cards that a user had, for a time that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub owner: String,
    pub since: Timestamp,
    pub until: Timestamp,
}

/// Up to when the time of leases was counted: on the wall clock, on the boot clock, and in which boot of the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub wall: Timestamp,
    pub boot: Duration,
    pub boot_id: String,
}

/// How far ends move on the clock on the wall; back where it is negative.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift {
    /// The ends of leases.
    pub leases: SignedDuration,
    /// Until when stopped berths are kept.
    pub kept: SignedDuration,
    /// Where these move, they are kept until then at least.
    pub kept_at_least: Option<Timestamp>,
}

impl Shift {
    pub fn is_zero(&self) -> bool {
        self.leases.is_zero() && self.kept.is_zero()
    }
}

const NOTES: &str =
    "SELECT id, live_at, told_left, renewals, asked_at, stops_at, stop_reason, keeps FROM berths";

impl Ledger {
    pub fn lease_notes(&self, id: i64) -> Result<LeaseNotes, Fault> {
        let notes =
            self.read(|connection| find(connection, &format!("{NOTES} WHERE id = ?1"), [id], read_notes))?;
        Ok(notes.map(|(_, notes)| notes).unwrap_or_default())
    }

    /// Of all berths that have not ended, by id.
    pub fn standing_notes(&self) -> Result<BTreeMap<i64, LeaseNotes>, Fault> {
        let notes =
            self.read(|connection| list(connection, &format!("{NOTES} WHERE {STANDING}"), [], read_notes))?;
        Ok(notes.into_iter().collect())
    }

    /// Notes that the owner was warned when this much of the lease was left, and what terminals show of it.
    pub fn note_warning(
        &self,
        id: i64,
        left: Duration,
        message: &str,
        event: &NewEvent,
    ) -> Result<(), Fault> {
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        self.change(event, |transaction| {
            messages::put(transaction, id, event.at, message)?;
            transaction
                .prepare_cached("UPDATE berths SET told_left = ?2 WHERE id = ?1 AND state = 'live'")?
                .execute(params![id, seconds])
        })
        .map(|_| ())
    }

    /// Notes an announced stop; `None` takes the announcement back.
    pub fn note_stop(
        &self,
        id: i64,
        stop: Option<(Timestamp, StopReason)>,
        message: &str,
        event: &NewEvent,
    ) -> Result<(), Fault> {
        let at = stop.map(|_| event.at.to_string());
        let (stops_at, reason) = stop.map(|(at, reason)| (at.to_string(), reason.as_str())).unzip();
        self.change(event, |transaction| {
            messages::put(transaction, id, event.at, message)?;
            transaction
                .prepare_cached(
                    "UPDATE berths SET asked_at = ?2, stops_at = ?3, stop_reason = ?4 WHERE id = ?1 AND state = 'live'",
                )?
                .execute(params![id, at, stops_at, reason])
        })
        .map(|_| ())
    }

    /// Changes the end of a live berth's lease.
    pub fn renew(
        &self,
        id: i64,
        until: Timestamp,
        is_wanted: bool,
        event: &NewEvent,
    ) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE berths SET until = ?2, lease = max(1, unixepoch(?2) - unixepoch(?3)), told_left = NULL,
                     asked_at = NULL, stops_at = NULL, stop_reason = NULL, keeps = 0,
                     renewals = renewals + ?4
                     WHERE id = ?1 AND state = 'live'",
                )?
                .execute(params![id, until.to_string(), event.at.to_string(), is_wanted])?;
            if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
        })?;
        self.berth_by_id(id)
    }

    /// Its owner needs it although it did nothing: it is not stopped, and is not idle from now on.
    pub fn keep(&self, id: i64, message: &str, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            messages::put(transaction, id, event.at, message)?;
            let sql =
                "UPDATE berths SET asked_at = NULL, stops_at = NULL, stop_reason = NULL, keeps = keeps + 1
                       WHERE id = ?1 AND state = 'live'";
            transaction.prepare_cached(sql)?.execute([id])
        })?;
        self.berth_by_id(id)
    }

    /// It is not asked back for a time; `None`: it is again.
    pub fn set_lock(&self, id: i64, lock: Option<&Lock>, event: &NewEvent) -> Result<Berth, Fault> {
        let text = lock.map(serde_json::to_string).transpose();
        let text = text.map_err(|error| Fault::bug(format!("writing a lock: {error}")))?;
        self.change(event, |transaction| {
            transaction
                .prepare_cached("UPDATE berths SET lock = ?2 WHERE id = ?1")?
                .execute(params![id, text])
        })?;
        self.berth_by_id(id)
    }

    /// Cards that berths gave back after `since`.
    pub fn held_since(&self, since: Timestamp) -> Result<Vec<Holding>, Fault> {
        self.look_back(|connection| {
            let sql =
                "SELECT owner, holdings.since, holdings.until FROM holdings JOIN berths ON berth = berths.id
                       WHERE holdings.until >= ?1";
            list(connection, sql, [since.to_string()], |row| {
                Ok(Holding { owner: row.get(0)?, since: time_at(row, 1)?, until: time_at(row, 2)? })
            })
        })
    }

    pub fn counted(&self) -> Result<Option<Counted>, Fault> {
        let text: Option<String> = self.read(|connection| {
            connection
                .query_row("SELECT value FROM meta WHERE key = 'counted'", [], |row| row.get(0))
                .optional()
        })?;
        // What cannot be read is as good as nothing: time is counted from now on.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Notes that time is counted up to here, and moves all ends.
    pub fn count(&self, counted: &Counted, shift: Shift, event: Option<&NewEvent>) -> Result<(), Fault> {
        let text = serde_json::to_string(counted)
            .map_err(|error| Fault::bug(format!("writing how time is counted: {error}")))?;
        self.alter(event, |transaction| {
            let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('counted', ?1)";
            transaction.prepare_cached(sql)?.execute([text])?;
            let standing = |state: BerthState| {
                let sql = "SELECT id FROM berths WHERE state = ?1";
                list(transaction, sql, [state.as_str()], |row| row.get(0))
            };
            if !shift.leases.is_zero() {
                for id in standing(BerthState::Live)? {
                    shift_end(transaction, id, shift.leases)?;
                }
            }
            if !shift.kept.is_zero() {
                for id in standing(BerthState::Stopped)? {
                    shift_kept(transaction, id, &shift)?;
                }
            }
            early_releases::shift(transaction, shift.kept)
        })
    }
}

/// Lets the lease of a live berth end later. An announced stop stays when it is.
pub(super) fn give_back(transaction: &Transaction, id: i64, time: SignedDuration) -> rusqlite::Result<()> {
    let sql = "SELECT until FROM berths WHERE id = ?1 AND state = 'live'";
    let until =
        transaction.prepare_cached(sql)?.query_row([id], |row| optional_time_at(row, 0)).optional()?;
    let Some(until) = until.flatten() else { return Ok(()) };
    let until = until.checked_add(time).unwrap_or(until);
    let sql = "UPDATE berths SET until = ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![id, until.to_string()]).map(|_| ())
}

fn shift_kept(transaction: &Transaction, id: i64, shift: &Shift) -> rusqlite::Result<()> {
    let sql = "SELECT kept_until FROM berths WHERE id = ?1";
    let until: Option<Timestamp> =
        transaction.prepare_cached(sql)?.query_row([id], |row| optional_time_at(row, 0))?;
    let Some(until) = until else { return Ok(()) };
    let moved = until.checked_add(shift.kept).unwrap_or(until);
    let moved = shift.kept_at_least.map_or(moved, |least| moved.max(least));
    let sql = "UPDATE berths SET kept_until = ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![id, moved.to_string()]).map(|_| ())
}

/// Moves the end of a live berth's lease, and the times that go with it.
pub(super) fn shift_end(transaction: &Transaction, id: i64, shift: SignedDuration) -> rusqlite::Result<()> {
    let moved = |time: Timestamp| time.checked_add(shift).unwrap_or(time).to_string();
    let sql =
        "SELECT until, asked_at, stops_at, live_at, confirm_by FROM berths WHERE id = ?1 AND state = 'live'";
    let times = transaction
        .prepare_cached(sql)?
        .query_row([id], |row| {
            let time = |index| Ok(optional_time_at(row, index)?.map(moved));
            (0..5).map(time).collect::<rusqlite::Result<Vec<_>>>()
        })
        .optional()?;
    let Some([until, asked_at, stops_at, live_at, confirm_by]) = times.as_deref() else { return Ok(()) };
    let sql = "UPDATE berths SET until = ?2, asked_at = ?3, stops_at = ?4, live_at = ?5, confirm_by = ?6 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![id, until, asked_at, stops_at, live_at, confirm_by])?;
    conditions::shift_return(transaction, id, shift)
}

fn read_notes(row: &rusqlite::Row) -> rusqlite::Result<(i64, LeaseNotes)> {
    let reason: Option<String> = row.get(6)?;
    let reason = reason.as_deref().and_then(StopReason::parse);
    let asked = match (optional_time_at(row, 4)?, optional_time_at(row, 5)?, reason) {
        (Some(at), Some(stops_at), Some(reason)) => Some((at, stops_at, reason)),
        _ => None,
    };
    let told_left: Option<i64> = row.get(2)?;
    let notes = LeaseNotes {
        live_at: optional_time_at(row, 1)?,
        told_left: told_left.map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
        renewals: row.get(3)?,
        asked,
        keeps: row.get(7)?,
    };
    Ok((row.get(0)?, notes))
}

impl Counted {
    pub fn boot(&self) -> BootTime {
        BootTime(self.boot)
    }
}
