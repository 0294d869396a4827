//! Reservations: cards that an administrator keeps for a user, for a time.

use super::{Ledger, NewEvent, find, list, time_at};
use crate::error::Fault;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: i64,
    /// Whose berths these cards are for.
    pub owner: String,
    pub cards: u32,
    pub from: Timestamp,
    pub until: Timestamp,
    pub why: String,
    pub by: String,
}

const RESERVATIONS: &str = "SELECT id, owner, cards, begins, ends, why, by FROM reservations";

impl Ledger {
    /// The id of `new` is not used.
    pub fn add_reservation(&self, new: &Reservation, event: &NewEvent) -> Result<i64, Fault> {
        self.change(event, |transaction| {
            let sql = "INSERT INTO reservations (owner, cards, begins, ends, why, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            transaction.prepare_cached(sql)?.execute(params![
                new.owner,
                new.cards,
                new.from.to_string(),
                new.until.to_string(),
                new.why,
                new.by
            ])?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// Those that are not over, the next one first.
    pub fn reservations(&self, now: Timestamp) -> Result<Vec<Reservation>, Fault> {
        let all = self.read(|connection| {
            list(connection, &format!("{RESERVATIONS} ORDER BY begins, id"), [], read_reservation)
        })?;
        // As times, because their texts may have fractions of seconds or none.
        Ok(all.into_iter().filter(|reservation| reservation.until > now).collect())
    }

    pub fn reservation(&self, id: i64) -> Result<Option<Reservation>, Fault> {
        self.read(|connection| {
            find(connection, &format!("{RESERVATIONS} WHERE id = ?1"), [id], read_reservation)
        })
    }

    pub fn remove_reservation(&self, id: i64, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| transaction.execute("DELETE FROM reservations WHERE id = ?1", [id]))
            .map(|_| ())
    }
}

fn read_reservation(row: &rusqlite::Row) -> rusqlite::Result<Reservation> {
    Ok(Reservation {
        id: row.get(0)?,
        owner: row.get(1)?,
        cards: row.get(2)?,
        from: time_at(row, 3)?,
        until: time_at(row, 4)?,
        why: row.get(5)?,
        by: row.get(6)?,
    })
}
