//! Tickets: one for each request that waits for cards, in the order in which they came.

use super::{Ledger, LedgerError, NewEvent, list, time_at};
use crate::error::Fault;
use crate::model::CardWish;
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is stored when a request begins to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    pub owner: String,
    /// The berth's name, where the request names one.
    pub berth: Option<String>,
    pub wish: CardWish,
    pub lease: Duration,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRow {
    pub id: i64,
    pub owner: String,
    pub berth: Option<String>,
    pub wish: CardWish,
    /// Seconds.
    pub lease: u64,
    pub since: Timestamp,
    /// How many later requests were served before it.
    pub overtaken: u32,
}

impl Ledger {
    pub fn add_ticket(&self, ticket: &NewTicket, event: &NewEvent) -> Result<i64, Fault> {
        let wish = serde_json::to_string(&ticket.wish)
            .map_err(|error| Fault::bug(format!("writing the wish of a ticket: {error}")))?;
        self.change(event, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO tickets (owner, berth, wish, lease, since) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    ticket.owner,
                    ticket.berth,
                    wish,
                    i64::try_from(ticket.lease.as_secs()).unwrap_or(i64::MAX),
                    event.at.to_string()
                ])?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// Removes a ticket. `event` is `None` where the event of the new berth already says it.
    pub fn remove_ticket(&self, id: i64, event: Option<&NewEvent>) -> Result<(), Fault> {
        self.write(event, |transaction| remove(transaction, id))
            .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// Removes all tickets of an earlier run of the agent. Their clients were told that waiting had ended.
    pub fn remove_tickets(&self) -> Result<(), Fault> {
        self.write(None, |transaction| transaction.execute("DELETE FROM tickets", []))
            .map(|_| ())
            .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// The oldest first.
    pub fn tickets(&self) -> Result<Vec<TicketRow>, Fault> {
        self.read(all)
    }
}

/// Removes the ticket of a request that becomes a berth, and counts that for the tickets that it overtook. Part of
/// the transaction that makes the berth.
pub(super) fn served(transaction: &Transaction, id: Option<i64>, overtaken: &[i64]) -> rusqlite::Result<()> {
    if let Some(id) = id {
        remove(transaction, id)?;
    }
    let mut count =
        transaction.prepare_cached("UPDATE tickets SET overtaken = overtaken + 1 WHERE id = ?1")?;
    for id in overtaken {
        count.execute([id])?;
    }
    Ok(())
}

fn remove(transaction: &Transaction, id: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM tickets WHERE id = ?1")?.execute([id]).map(|_| ())
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<TicketRow>> {
    let sql = "SELECT id, owner, berth, wish, lease, since, overtaken FROM tickets ORDER BY id";
    list(connection, sql, [], |row| {
        let wish: String = row.get(3)?;
        let wish = serde_json::from_str(&wish).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, error.into())
        })?;
        Ok(TicketRow {
            id: row.get(0)?,
            owner: row.get(1)?,
            berth: row.get(2)?,
            wish,
            lease: row.get::<_, i64>(4)?.unsigned_abs(),
            since: time_at(row, 5)?,
            overtaken: row.get(6)?,
        })
    })
}
