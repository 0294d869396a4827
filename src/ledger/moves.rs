//! Containers that are being made anew for other cards: which directory has the berth's files.

use super::{Ledger, find};
use crate::error::Fault;
use rusqlite::params;

impl Ledger {
    /// Writes the intent: the files in the directory with this inode go on in another container.
    pub fn begin_move(&self, berth: i64, inode: u64) -> Result<(), Fault> {
        // SQLite's integers are signed; every bit is kept.
        let inode = inode.cast_signed();
        self.alter(None, |transaction| {
            let sql = "INSERT OR REPLACE INTO moves (berth, inode) VALUES (?1, ?2)";
            transaction.prepare_cached(sql)?.execute(params![berth, inode])
        })
    }

    /// The inode of the files that move; `None` where nothing does.
    pub fn moving(&self, berth: i64) -> Result<Option<u64>, Fault> {
        let inode: Option<i64> = self.read(|connection| {
            find(connection, "SELECT inode FROM moves WHERE berth = ?1", [berth], |row| row.get(0))
        })?;
        Ok(inode.map(i64::cast_unsigned))
    }

    pub fn end_move(&self, berth: i64) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction.prepare_cached("DELETE FROM moves WHERE berth = ?1")?.execute([berth])
        })
    }
}
