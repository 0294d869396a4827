//! What administrators decided about cards: one ruling a card, until its end or until it is cleared.

use super::{Ledger, LedgerError, NewEvent, list, optional_time_at, time_at};
use crate::error::Fault;
use crate::model::{CardId, CardVerdict, Ruling};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

impl Ledger {
    /// Stores a ruling on the card. It replaces an earlier one.
    pub fn rule(&self, card: CardId, ruling: &Ruling, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO rulings (card, verdict, why, until, by, since)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    card.0,
                    ruling.verdict.as_str(),
                    ruling.why,
                    ruling.until.map(|until| until.to_string()),
                    ruling.by,
                    ruling.since.to_string(),
                ])
        })
        .map(|_| ())
    }

    pub fn clear_ruling(&self, card: CardId, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            transaction.prepare_cached("DELETE FROM rulings WHERE card = ?1")?.execute([card.0])
        })
        .map(|_| ())
    }

    /// Removes a ruling whose end has come. `false` where it was replaced or cleared in the meantime.
    pub fn end_ruling(&self, card: CardId, now: Timestamp, event: &NewEvent) -> Result<bool, Fault> {
        let is_over = |(found, ruling): &(CardId, Ruling)| *found == card && !ruling.is_in_force(now);
        let ended = self.write_if(event, |transaction| {
            // Times are text: they are compared as times, and not by SQLite.
            if !all(transaction)?.iter().any(is_over) {
                return Ok(false);
            }
            let sql = "DELETE FROM rulings WHERE card = ?1";
            transaction.prepare_cached(sql)?.execute([card.0]).map(|removed| removed > 0)
        });
        ended.map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// The rulings whose end has come and was not yet reported.
    pub fn rulings_over(&self, now: Timestamp) -> Result<Vec<(CardId, Ruling)>, Fault> {
        let mut found = self.read(all)?;
        found.retain(|(_, ruling)| !ruling.is_in_force(now));
        Ok(found)
    }

    /// The rulings in force.
    pub fn rulings(&self, now: Timestamp) -> Result<BTreeMap<CardId, Ruling>, Fault> {
        Ok(self.read(all)?.into_iter().filter(|(_, ruling)| ruling.is_in_force(now)).collect())
    }
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<(CardId, Ruling)>> {
    list(connection, "SELECT card, verdict, why, until, by, since FROM rulings", [], read)
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<(CardId, Ruling)> {
    let verdict: String = row.get(1)?;
    let ruling = Ruling {
        verdict: CardVerdict::parse(&verdict).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, 0))?,
        why: row.get(2)?,
        until: optional_time_at(row, 3)?,
        by: row.get(4)?,
        since: time_at(row, 5)?,
    };
    Ok((CardId(row.get(0)?), ruling))
}
