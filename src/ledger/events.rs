//! What happened, and who did it: added, never changed.

use super::{Ledger, list, time_at};
use crate::error::Fault;
use crate::model::text::clean_to;
use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: i64,
    pub at: Timestamp,
    /// `berth.requested`, `berth.live`, `user.added`, `container.unknown`, …
    pub kind: String,
    /// Who did it: a user's name, `root`, or `agent`.
    pub actor: String,
    /// Whose berth it is about; users see the events of their own.
    pub owner: Option<String>,
    pub berth: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub at: Timestamp,
    pub kind: &'static str,
    pub actor: String,
    pub owner: Option<String>,
    pub berth: Option<String>,
    pub text: String,
}

/// Characters of an event's text that are kept: events can never be removed.
const TEXT_LIMIT: usize = 2000;

pub(super) fn add(transaction: &Transaction, event: &NewEvent) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO events (at, kind, actor, owner, berth, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            event.at.to_string(),
            event.kind,
            event.actor,
            event.owner,
            event.berth,
            clean_to(&event.text, TEXT_LIMIT)
        ])?;
    Ok(transaction.last_insert_rowid())
}

impl Ledger {
    pub fn record(&self, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |_| Ok(()))
    }

    /// Events after `after`, oldest first, at most `limit`; of one owner where `owner` is given.
    pub fn events(&self, after: i64, limit: u32, owner: Option<&str>) -> Result<Vec<Event>, Fault> {
        self.read(|connection| {
            list(
                connection,
                "SELECT id, at, kind, actor, owner, berth, text FROM events
                 WHERE id > ?1 AND (?2 IS NULL OR owner = ?2) ORDER BY id LIMIT ?3",
                params![after, owner, limit],
                read,
            )
        })
    }

    /// The times of the newest events that a berth told itself since it was asked for, newest first. Which those are is
    /// said by their order in the ledger: clocks go wrong, also by years.
    pub fn told_times(&self, owner: &str, berth: &str) -> Result<Vec<Timestamp>, Fault> {
        self.read(|connection| {
            list(
                connection,
                "SELECT at FROM events WHERE owner = ?1 AND berth = ?2 AND actor = 'berth:' || ?2
                 AND id > (SELECT coalesce(max(id), 0) FROM events
                           WHERE owner = ?1 AND berth = ?2 AND kind = 'berth.requested')
                 ORDER BY id DESC LIMIT 64",
                params![owner, berth],
                |row| time_at(row, 0),
            )
        })
    }

    /// The id after which the newest `count` events come.
    pub fn events_before_last(&self, count: u32, owner: Option<&str>) -> Result<i64, Fault> {
        self.read(|connection| {
            connection.query_row(
                // Of no events, the newest id of all.
                "SELECT coalesce(min(id) - 1, (SELECT max(id) FROM events), 0) FROM (SELECT id FROM events
                 WHERE ?1 IS NULL OR owner = ?1 ORDER BY id DESC LIMIT ?2)",
                params![owner, count],
                |row| row.get(0),
            )
        })
    }
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(0)?,
        at: time_at(row, 1)?,
        kind: row.get(2)?,
        actor: row.get(3)?,
        owner: row.get(4)?,
        berth: row.get(5)?,
        text: row.get(6)?,
    })
}
