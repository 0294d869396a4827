//! What the owner of each live berth was last told. A message goes when its berth stops.

use super::{Ledger, list, time_at};
use crate::error::Fault;
use crate::model::lease_file::Message;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::BTreeMap;

/// Notes a message in place of the last one. Part of the transaction that makes what it tells.
pub(super) fn put(transaction: &Transaction, berth: i64, at: Timestamp, text: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO messages (berth, at, text)
             SELECT id, ?2, ?3 FROM berths WHERE id = ?1 AND state = 'live'",
        )?
        .execute(params![berth, at.to_string(), text])
        .map(|_| ())
}

impl Ledger {
    /// Notes a message by itself, for what another transaction has made.
    pub fn put_message(&self, berth: i64, at: Timestamp, text: &str) -> Result<(), Fault> {
        self.alter(None, |transaction| put(transaction, berth, at, text))
    }

    /// By the berth's id.
    pub fn messages(&self) -> Result<BTreeMap<i64, Message>, Fault> {
        let all = self.read(|connection| {
            list(connection, "SELECT berth, id, at, text FROM messages", [], |row| {
                let message = Message { id: row.get(1)?, at: time_at(row, 2)?, text: row.get(3)? };
                Ok((row.get(0)?, message))
            })
        })?;
        Ok(all.into_iter().collect())
    }

    /// Up to which event the hook program was told; `None` before the first.
    pub fn notified(&self) -> Result<Option<i64>, Fault> {
        let text: Option<String> = self.read(|connection| {
            connection
                .query_row("SELECT value FROM meta WHERE key = 'notified'", [], |row| row.get(0))
                .optional()
        })?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Notes up to which event it was told; `None` forgets it.
    pub fn note_notified(&self, event: Option<i64>) -> Result<(), Fault> {
        self.alter(None, |transaction| match event {
            Some(event) => transaction
                .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('notified', ?1)")?
                .execute([event.to_string()]),
            None => transaction.execute("DELETE FROM meta WHERE key = 'notified'", []),
        })
    }
}
