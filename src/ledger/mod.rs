//! The ledger: which card belongs to whom. The only user of SQLite; the agent is its only writer.
//!
//! A ledger that cannot be read (corrupt, newer, or another program's database) stops the agent; it is never
//! replaced by an empty one. Each change and its event are one transaction, which is on the disk when the call
//! returns.

mod berths;
mod conditions;
mod early_releases;
mod event_summary;
mod events;
mod leases;
mod messages;
mod moves;
mod names;
mod probes;
mod reservations;
mod rulings;
mod schema;
mod snapshots;
mod stops;
#[cfg(test)]
mod tests;
mod tickets;
mod usage;
mod user_limits;
mod users;

pub use berths::{ClaimError, NewBerth, PortUse, WrongChange};
pub use event_summary::EventSum;
pub use events::{Event, EventFilter, NewEvent};
pub use leases::{Counted, Holding, LeaseNotes, Shift};
pub use names::NewSize;
pub use reservations::Reservation;
pub use snapshots::{NewSnapshot, Snapshot, SnapshotBase, SnapshotError, SnapshotState};
pub use tickets::{NewTicket, TicketRow};
pub use usage::{Held, UsageKey};
pub use users::{Key, User};

use crate::error::Fault;
use crate::host::{files, room};
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The size of the reserve: enough for some hundred changes of a few pages each.
const RESERVE: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger has schema {found}, this berth knows {known}")]
    Newer { found: i32, known: i32 },
    #[error("the ledger is corrupt: {0}")]
    Corrupt(String),
    #[error("the file is a database, but not a ledger of berth")]
    Foreign,
    #[error("{0}")]
    Change(Box<WrongChange>),
    #[error("{0}")]
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        let error = match error {
            rusqlite::Error::ToSqlConversionFailure(inner) => match inner.downcast::<WrongChange>() {
                Ok(refused) => return Self::Change(refused),
                Err(inner) => rusqlite::Error::ToSqlConversionFailure(inner),
            },
            other => other,
        };
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Sql(error),
        }
    }
}

impl LedgerError {
    fn into_fault(self, path: &Path) -> Fault {
        let help = match &self {
            Self::Change(refused) => return Fault::refused(refused.to_string()),
            Self::Newer { .. } => "install the berth that wrote it, or a newer one; nothing was changed",
            Self::Corrupt(_) | Self::Foreign => {
                "nothing was changed; move it away together with the -wal and -shm files beside it, then restore all \
                 from a backup or start anew: the labels of running containers (docker ps --filter label=berth.schema) still say who has what"
            }
            Self::Sql(_) => "nothing was changed; look at the disk and the rights of the state directory",
        };
        Fault::host(format!("ledger {}: {self}", path.display())).help(help)
    }
}

/// An open ledger. Calls block on the disk: use it from blocking code.
#[derive(Debug)]
pub struct Ledger {
    /// A read-only connection for old events. A long read on it delays only other such reads, and no decision. It
    /// is closed before the connection that writes, which leaves the file as the next start expects it.
    past: Mutex<Connection>,
    connection: Mutex<Connection>,
    path: PathBuf,
    last_event: watch::Sender<i64>,
    /// The uids of all users, in memory: each caller that connects is looked up here first.
    uids: Mutex<HashSet<u32>>,
}

impl Ledger {
    /// Opens the ledger. Makes it when there is none, and migrates an older one. An error when it cannot be read or
    /// is newer.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, Fault> {
        Self::try_open(path, now).map_err(|error| error.into_fault(path))
    }

    fn try_open(path: &Path, now: Timestamp) -> Result<Self, LedgerError> {
        if !path.exists() {
            let left = ["-wal", "-shm", "-journal"]
                .map(|end| beside(path, end))
                .into_iter()
                .find(|path| path.exists());
            if let Some(left) = left {
                // SQLite could take what is in there for a part of the new one.
                return Err(LedgerError::Corrupt(format!("it is gone, but {} is there", left.display())));
            }
            create(path, now)?;
        } else if path.metadata().is_ok_and(|meta| meta.len() == 0) {
            // SQLite takes an empty file for an empty database; for us it is a ledger that was lost.
            return Err(LedgerError::Corrupt("the file is empty".into()));
        }
        check_readable(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        schema::migrate(&mut connection)?;
        let last = events::newest(&connection)?;
        let uids = Mutex::new(users::uids(&connection)?);
        let ledger = Self {
            past: Mutex::new(open_past(path)?),
            connection: Mutex::new(connection),
            path: path.to_path_buf(),
            last_event: watch::Sender::new(last),
            uids,
        };
        if let Err(fault) = ledger.keep_room() {
            tracing::warn!("{}", fault.message);
        }
        Ok(ledger)
    }

    /// Reserves space, so that changes (releases, above all) can be written even on a full file system. SQLite
    /// writes each change into this file first, and the change stays there while the ledger itself cannot grow.
    pub fn keep_room(&self) -> Result<(), Fault> {
        let journal = beside(&self.path, "-wal");
        match room::reserve(&journal, RESERVE) {
            Ok(_) => Ok(()),
            // It is made with the first change.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let text = format!("no room could be kept for the ledger at {}: {error}", journal.display());
                Err(Fault::host(text).help("free space on its file system"))
            }
        }
    }

    /// A random name that tells this agent's containers from another agent's on the same engine.
    pub fn instance(&self) -> Result<String, Fault> {
        self.read(|connection| {
            connection.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))
        })
    }

    /// Changes whenever an event is added; the value is the newest event's id.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.last_event.subscribe()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back; the connection is still good.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        work(&self.connection()).map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// Reads what is committed, without delaying the connection that decisions use.
    fn look_back<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        work(&past).map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// Makes one change and adds its event, in one transaction.
    fn write<T>(
        &self,
        event: Option<&NewEvent>,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        let id = event.map(|event| events::add(&transaction, event)).transpose()?;
        transaction.commit()?;
        if let Some(id) = id {
            self.last_event.send_replace(id);
        }
        Ok(value)
    }

    /// As [`Self::write`], but adds no event where nothing was changed.
    fn write_if(
        &self,
        event: &NewEvent,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<bool> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !work(&transaction)? {
            return Ok(false);
        }
        let id = events::add(&transaction, event)?;
        transaction.commit()?;
        self.last_event.send_replace(id);
        Ok(true)
    }

    /// A change of which nothing is to be said back. `event` is `None` where another event tells it, or nobody need know.
    fn alter<T>(
        &self,
        event: Option<&NewEvent>,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<(), Fault> {
        self.write(event, work).map(drop).map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    fn change<T>(
        &self,
        event: &NewEvent,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        self.write(Some(event), work).map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // All of it is in the one file then, for whoever copies or replaces that; the other one is empty, and keeps room.
        let moved = self.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "some of the ledger is only in its -wal file");
        }
        if let Err(fault) = self.keep_room() {
            tracing::warn!("{}", fault.message);
        }
    }
}

/// Makes the ledger under another name and then renames it, so that a crash leaves no half-made ledger.
fn create(path: &Path, now: Timestamp) -> Result<(), LedgerError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let sql = |error: std::io::Error| LedgerError::Sql(rusqlite::Error::ToSqlConversionFailure(error.into()));
    let temporary =
        tempfile::Builder::new().prefix(".ledger-").suffix(".new").tempfile_in(dir).map_err(sql)?;
    {
        let mut connection = Connection::open(temporary.path())?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection)?;
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('instance', lower(hex(randomblob(8)))), ('made_at', ?1)",
            [now.to_string()],
        )?;
    }
    temporary.persist_noclobber(path).map_err(|error| sql(error.error))?;
    files::sync_dir(dir).map_err(sql)
}

/// The path of one of SQLite's own files: the ledger's name and a suffix.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// An error where the file is not a ledger that this program can use. It only reads: opening it for writing would
/// already change the file.
fn check_readable(path: &Path) -> Result<(), LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != schema::APPLICATION_ID {
        return Err(LedgerError::Foreign);
    }
    schema::refuse_newer(&connection)?;
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(LedgerError::Corrupt(verdict)) }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    // What is kept for changes stays when the agent ends: it may start again on a full file system.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

fn open_past(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Times are stored as RFC 3339 text.
fn time_at(row: &rusqlite::Row, index: usize) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(index)?;
    parse_time(index, &text)
}

fn optional_time_at(row: &rusqlite::Row, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(index)?;
    text.map(|text| parse_time(index, &text)).transpose()
}

fn json_at<T: DeserializeOwned>(row: &rusqlite::Row, index: usize) -> rusqlite::Result<T> {
    parse_json(index, &row.get::<_, String>(index)?)
}

fn parse_json<T: DeserializeOwned>(index: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
    })
}

fn parse_time(index: usize, text: &str) -> rusqlite::Result<Timestamp> {
    text.parse().map_err(|error: jiff::Error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
    })
}

fn find<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: fn(&rusqlite::Row) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row(params, read).optional()
}

fn list<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: fn(&rusqlite::Row) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}
