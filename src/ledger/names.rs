//! Berths that are renamed or get another size, and the names that they had before: events, and what a berth told,
//! are under them.

use super::berths::ClaimError;
use super::{Ledger, LedgerError, NewEvent, list, time_at};
use crate::error::Fault;
use crate::model::{Berth, CardId, Size};
use jiff::Timestamp;
use rusqlite::params;

/// What a stopped berth has from its next start on.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSize {
    pub size: u32,
    /// Exactly these cards; `None` where any will do.
    pub cards: Option<Vec<CardId>>,
    pub memory: Option<Size>,
    pub cpus: Option<f64>,
}

/// One name of a berth. `until` is `None` for the name that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) until: Option<Timestamp>,
}

impl Ledger {
    /// Gives a live or stopped berth another name. Fails when its owner has a berth of that name.
    pub fn rename(&self, berth: &Berth, name: &str, event: &NewEvent) -> Result<Berth, ClaimError> {
        let renamed = self.write(Some(event), |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO earlier_names (berth, name, until)
                 SELECT id, name, ?2 FROM berths WHERE id = ?1",
                params![berth.id, event.at.to_string()],
            )?;
            let sql = "UPDATE berths SET name = ?2 WHERE id = ?1 AND state IN ('live', 'stopped')";
            if transaction.execute(sql, params![berth.id, name])? != 1 {
                return Err(rusqlite::Error::StatementChangedRows(0));
            }
            // A start that waits shows the name that the berth has.
            transaction.execute(
                "UPDATE tickets SET berth = ?3 WHERE owner = ?1 AND berth = ?2 AND request IS NULL",
                params![berth.owner, berth.name, name],
            )
        });
        renamed.map_err(|error| {
            // SQLite names the index that refused in its words, and nowhere else.
            let text = error.to_string();
            if text.contains("berths.name") {
                return ClaimError::NameTaken { owner: berth.owner.clone(), name: name.to_owned() };
            }
            ClaimError::Ledger(LedgerError::from(error).into_fault(&self.path))
        })?;
        self.berth_by_id(berth.id).map_err(ClaimError::Ledger)
    }

    /// Gives a stopped berth another size, and the share of the machine that goes with it.
    pub fn resize(&self, id: i64, new: &NewSize, event: &NewEvent) -> Result<Berth, Fault> {
        let bytes = new.memory.map(|memory| i64::try_from(memory.0).unwrap_or(i64::MAX));
        let cards = new.cards.as_ref().map(serde_json::to_string).transpose();
        let cards = cards.map_err(|error| Fault::bug(format!("writing cards: {error}")))?;
        self.change(event, |transaction| {
            let sql = "UPDATE berths SET size = ?2, memory = ?3, cpus = ?4, next_cards = ?5
                       WHERE id = ?1 AND state = 'stopped'";
            match transaction.execute(sql, params![id, new.size, bytes, new.cpus, cards])? {
                1 => Ok(()),
                rows => Err(rusqlite::Error::StatementChangedRows(rows)),
            }
        })?;
        self.berth_by_id(id)
    }

    /// The name of a berth and those that it had before.
    pub(super) fn names_of(&self, berth: &Berth) -> Result<Vec<Named>, Fault> {
        let earlier = self.read(|connection| {
            let sql = "SELECT name, until FROM earlier_names WHERE berth = ?1 ORDER BY until DESC";
            list(connection, sql, [berth.id], |row| {
                Ok(Named { name: row.get(0)?, until: Some(time_at(row, 1)?) })
            })
        })?;
        let now = Named { name: berth.name.clone(), until: None };
        Ok(std::iter::once(now).chain(earlier.into_iter().filter(|named| named.name != berth.name)).collect())
    }
}
