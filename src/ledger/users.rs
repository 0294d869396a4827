//! People and their public keys.

use super::{Ledger, NewEvent, find, list, time_at};
use crate::error::Fault;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    /// The uid of this person's account on the host, where they have one.
    pub uid: Option<u32>,
    pub added_at: Timestamp,
    #[serde(default)]
    pub keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `SHA256:…`
    pub fingerprint: String,
    /// The key as a line of an authorized_keys file.
    pub line: String,
}

impl Ledger {
    /// Adds a person with their first keys. A person who was removed before comes back, with these keys only.
    pub fn add_user(
        &self,
        name: &str,
        uid: Option<u32>,
        keys: &[Key],
        event: &NewEvent,
    ) -> Result<User, Fault> {
        if self.user(name)?.is_some() {
            return Err(Fault::refused(format!("there is a user {name} already"))
                .help("`berth user key add` gives an existing user another key"));
        }
        self.check_uid(name, uid)?;
        self.change(event, |transaction| {
            // Of two calls at once the second changes nothing, and the unique index on uid refuses the rest.
            let added = transaction.execute(
                "INSERT INTO users (name, uid, added_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET uid = ?2, added_at = ?3, removed_at = NULL
                 WHERE removed_at IS NOT NULL",
                params![name, uid, event.at.to_string()],
            )?;
            if added == 0 {
                return Err(rusqlite::Error::StatementChangedRows(0));
            }
            transaction.execute("DELETE FROM keys WHERE owner = ?1", [name])?;
            for key in keys {
                add_key(transaction, name, key, event.at)?;
            }
            Ok(())
        })?;
        self.note_uids();
        self.user(name)?.ok_or_else(|| Fault::bug(format!("user {name} was added and is not there")))
    }

    /// An error where another person has this account. The unique index refuses that too.
    fn check_uid(&self, name: &str, uid: Option<u32>) -> Result<(), Fault> {
        let Some(uid) = uid else { return Ok(()) };
        match self.user_by_uid(uid)? {
            Some(other) if other.name != name => {
                Err(Fault::refused(format!("uid {uid} is user {} already", other.name)))
            }
            _ => Ok(()),
        }
    }

    /// Sets the account on the host that a person has; `None`: none.
    pub fn set_uid(&self, name: &str, uid: Option<u32>, event: &NewEvent) -> Result<User, Fault> {
        self.check_uid(name, uid)?;
        self.change(event, |transaction| {
            let changed = transaction.execute(
                "UPDATE users SET uid = ?2 WHERE name = ?1 AND removed_at IS NULL",
                params![name, uid],
            )?;
            if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
        })?;
        self.note_uids();
        self.user(name)?.ok_or_else(|| Fault::bug(format!("user {name} was changed and is not there")))
    }

    pub fn remove_user(&self, name: &str, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            transaction.execute("DELETE FROM keys WHERE owner = ?1", [name])?;
            transaction.execute(
                "UPDATE users SET removed_at = ?2, uid = NULL WHERE name = ?1",
                params![name, event.at.to_string()],
            )
        })?;
        self.note_uids();
        Ok(())
    }

    /// Whether this account belongs to a user. It never waits for the disk.
    pub fn knows_uid(&self, uid: u32) -> bool {
        self.uids().contains(&uid)
    }

    fn uids(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the uids of all users into memory. To be called after each change of users. The connection stays
    /// locked meanwhile, so that of two changes at once the later one counts.
    fn note_uids(&self) {
        let connection = self.connection();
        match uids(&connection) {
            Ok(found) => *self.uids() = found,
            Err(error) => tracing::error!(%error, "the users' accounts could not be read again"),
        }
    }

    pub fn add_keys(&self, name: &str, keys: &[Key], event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            keys.iter().try_for_each(|key| add_key(transaction, name, key, event.at))
        })
    }

    /// Removes a key. `false` when the user has no such key.
    pub fn remove_key(&self, name: &str, fingerprint: &str, event: &NewEvent) -> Result<bool, Fault> {
        self.change(event, |transaction| {
            transaction.execute("DELETE FROM keys WHERE owner = ?1 AND fingerprint = ?2", [name, fingerprint])
        })
        .map(|removed| removed > 0)
    }

    pub fn user(&self, name: &str) -> Result<Option<User>, Fault> {
        let user = self.read(|connection| {
            let sql = "SELECT name, uid, added_at FROM users WHERE name = ?1 AND removed_at IS NULL";
            find(connection, sql, [name], read_user)
        })?;
        self.with_keys(user)
    }

    pub fn user_by_uid(&self, uid: u32) -> Result<Option<User>, Fault> {
        let user = self.read(|connection| {
            let sql = "SELECT name, uid, added_at FROM users WHERE uid = ?1 AND removed_at IS NULL";
            find(connection, sql, [uid], read_user)
        })?;
        self.with_keys(user)
    }

    pub fn users(&self) -> Result<Vec<User>, Fault> {
        let users = self.read(|connection| {
            let sql = "SELECT name, uid, added_at FROM users WHERE removed_at IS NULL ORDER BY name";
            list(connection, sql, [], read_user)
        })?;
        users.into_iter().map(|user| Ok(User { keys: self.keys(&user.name)?, ..user })).collect()
    }

    fn with_keys(&self, user: Option<User>) -> Result<Option<User>, Fault> {
        user.map(|user| Ok(User { keys: self.keys(&user.name)?, ..user })).transpose()
    }

    fn keys(&self, owner: &str) -> Result<Vec<Key>, Fault> {
        self.read(|connection| {
            let sql = "SELECT fingerprint, line FROM keys WHERE owner = ?1 ORDER BY added_at, fingerprint";
            list(connection, sql, [owner], |row| Ok(Key { fingerprint: row.get(0)?, line: row.get(1)? }))
        })
    }
}

pub(super) fn uids(connection: &Connection) -> rusqlite::Result<HashSet<u32>> {
    let sql = "SELECT uid FROM users WHERE uid IS NOT NULL AND removed_at IS NULL";
    Ok(list(connection, sql, [], |row| row.get(0))?.into_iter().collect())
}

fn add_key(
    transaction: &rusqlite::Transaction,
    owner: &str,
    key: &Key,
    at: Timestamp,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO keys (owner, fingerprint, line, added_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (owner, fingerprint) DO UPDATE SET line = ?3",
        params![owner, key.fingerprint, key.line, at.to_string()],
    )?;
    Ok(())
}

fn read_user(row: &rusqlite::Row) -> rusqlite::Result<User> {
    Ok(User { name: row.get(0)?, uid: row.get(1)?, added_at: time_at(row, 2)?, keys: Vec::new() })
}
