//! Tickets: one for each request that waits for cards, in the order in which they came.

use super::{Ledger, LedgerError, NewEvent, find, json_at, list, time_at};
use crate::error::Fault;
use crate::model::{BerthRequest, CardWish};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is stored when a request begins to wait.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTicket {
    pub owner: String,
    /// The berth's name, where the request names one.
    pub berth: Option<String>,
    pub wish: CardWish,
    pub lease: Duration,
    pub unattended: bool,
    /// Of a request that waits without a connection.
    pub request: Option<BerthRequest>,
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
    /// The berth is to end with its lease.
    #[serde(default)]
    pub unattended: bool,
    /// It waits without a connection.
    #[serde(default)]
    pub detached: bool,
    pub since: Timestamp,
    /// How many later requests were served before it.
    pub overtaken: u32,
}

impl Ledger {
    pub fn add_ticket(&self, ticket: &NewTicket, event: &NewEvent) -> Result<i64, Fault> {
        let wish = to_json(&ticket.wish)?;
        let request = ticket.request.as_ref().map(to_json).transpose()?;
        self.change(event, |transaction| {
            let sql = "INSERT INTO tickets (owner, berth, wish, lease, since, unattended, request)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            transaction.prepare_cached(sql)?.execute(params![
                ticket.owner,
                ticket.berth,
                wish,
                i64::try_from(ticket.lease.as_secs()).unwrap_or(i64::MAX),
                event.at.to_string(),
                ticket.unattended,
                request,
            ])?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// The requests that wait without a connection, by ticket.
    pub fn detached(&self) -> Result<Vec<(TicketRow, BerthRequest)>, Fault> {
        self.read(|connection| {
            let sql = format!("{TICKETS} WHERE request IS NOT NULL ORDER BY id");
            list(connection, &sql, [], |row| Ok((read_ticket(row)?, json_at(row, 8)?)))
        })
    }

    pub fn ticket(&self, id: i64) -> Result<Option<TicketRow>, Fault> {
        self.read(|connection| find(connection, &format!("{TICKETS} WHERE id = ?1"), [id], read_ticket))
    }

    /// The berth has to be used within this time once it is live, in seconds.
    pub fn expect_login(&self, berth: i64, seconds: u64) -> Result<(), Fault> {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.alter(None, |transaction| {
            transaction.execute("UPDATE berths SET confirm = ?2 WHERE id = ?1", params![berth, seconds])
        })
    }

    /// Live berths that nobody has used yet, with the time by which somebody has to.
    pub fn unconfirmed(&self) -> Result<Vec<(i64, Timestamp)>, Fault> {
        self.read(|connection| {
            let sql = "SELECT id, confirm_by FROM berths WHERE state = 'live' AND confirm_by IS NOT NULL";
            list(connection, sql, [], |row| Ok((row.get(0)?, time_at(row, 1)?)))
        })
    }

    pub fn is_unconfirmed(&self, berth: i64) -> Result<bool, Fault> {
        Ok(self.unconfirmed()?.iter().any(|(id, _)| *id == berth))
    }

    /// Somebody logged in.
    pub fn confirm(&self, berth: i64) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction.execute(
                "UPDATE berths SET confirm_by = NULL WHERE id = ?1 AND confirm_by IS NOT NULL",
                [berth],
            )
        })
    }

    /// Removes a ticket. `event` is `None` where the event of the new berth already says it.
    pub fn remove_ticket(&self, id: i64, event: Option<&NewEvent>) -> Result<(), Fault> {
        self.alter(event, |transaction| remove(transaction, id))
    }

    /// A start that was cut waits again, as [`Ledger::end_cut`] lets a request.
    pub fn wait_again(&self, berth: i64) -> Result<Option<i64>, Fault> {
        self.write(None, |transaction| wait_again(transaction, berth))
            .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// What becomes of this berth does not wait again: whoever asked for it was told how it ended.
    pub fn forget_ticket(&self, berth: i64) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction
                .execute("UPDATE berths SET ticket = NULL WHERE id = ?1 AND ticket ->> 8 IS NULL", [berth])
        })
    }

    /// The oldest first.
    pub fn tickets(&self) -> Result<Vec<TicketRow>, Fault> {
        self.read(all)
    }
}

/// Removes the ticket of a request that becomes a berth, and counts that for the tickets that it overtook. Part of
/// the transaction that makes the berth.
pub(super) fn served(
    transaction: &Transaction,
    berth: i64,
    id: Option<i64>,
    overtaken: &[i64],
) -> rusqlite::Result<()> {
    if let Some(id) = id {
        // It goes on waiting where the agent ends before the berth is live.
        let sql =
            "UPDATE berths SET ticket = (SELECT json_array(id, owner, berth, wish, lease, since, overtaken,
                   unattended, request) FROM tickets WHERE id = ?2) WHERE id = ?1";
        transaction.prepare_cached(sql)?.execute([berth, id])?;
        // One that was cancelled in the meantime becomes nothing.
        let removed = remove(transaction, id)?;
        if removed != 1 {
            return Err(rusqlite::Error::StatementChangedRows(removed));
        }
    }
    let mut count =
        transaction.prepare_cached("UPDATE tickets SET overtaken = overtaken + 1 WHERE id = ?1")?;
    for id in overtaken {
        count.execute([id])?;
    }
    Ok(())
}

/// Lets the request of a berth that was cut wait again, at its old place, if it waited. Its ticket.
pub(super) fn wait_again(transaction: &Transaction, berth: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT ticket FROM berths WHERE id = ?1 AND ticket IS NOT NULL";
    let ticket: Option<String> =
        transaction.prepare_cached(sql)?.query_row([berth], |row| row.get(0)).optional()?;
    let Some(ticket) = ticket else { return Ok(None) };
    let sql = "INSERT INTO tickets (id, owner, berth, wish, lease, since, overtaken, unattended, request)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8 FROM (SELECT ?1 AS value)";
    transaction.prepare_cached(sql)?.execute([ticket])?;
    let id = transaction.last_insert_rowid();
    transaction.execute("UPDATE berths SET ticket = NULL WHERE id = ?1", [berth])?;
    Ok(Some(id))
}

fn remove(transaction: &Transaction, id: i64) -> rusqlite::Result<usize> {
    transaction.prepare_cached("DELETE FROM tickets WHERE id = ?1")?.execute([id])
}

const TICKETS: &str =
    "SELECT id, owner, berth, wish, lease, since, overtaken, unattended, request FROM tickets";

fn all(connection: &Connection) -> rusqlite::Result<Vec<TicketRow>> {
    list(connection, &format!("{TICKETS} ORDER BY id"), [], read_ticket)
}

fn read_ticket(row: &rusqlite::Row) -> rusqlite::Result<TicketRow> {
    Ok(TicketRow {
        id: row.get(0)?,
        owner: row.get(1)?,
        berth: row.get(2)?,
        wish: json_at(row, 3)?,
        lease: row.get::<_, i64>(4)?.unsigned_abs(),
        since: time_at(row, 5)?,
        overtaken: row.get(6)?,
        unattended: row.get(7)?,
        detached: row.get::<_, Option<String>>(8)?.is_some(),
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::bug(format!("writing a ticket: {error}")))
}
