//! What cards did by day, owner, image and card, and who had them when.

use super::{Ledger, list, optional_time_at, time_at};
use crate::error::Fault;
use crate::model::CardId;
use jiff::Timestamp;
use rusqlite::params;

/// Whose use of which card, with which image, on which day of the node's calendar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageKey {
    /// `2026-12-01`
    pub day: String,
    pub owner: String,
    pub image: String,
    pub card: CardId,
}

/// A card that somebody had, or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub owner: String,
    pub image: String,
    pub card: CardId,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

impl Ledger {
    /// Adds milliseconds of use, and of idleness while others waited.
    pub fn add_usage(&self, rows: &[(UsageKey, u64, u64)]) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            let mut add = transaction.prepare_cached(
                "INSERT INTO usage (day, owner, image, card, used, idle_wanted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (day, owner, image, card)
                 DO UPDATE SET used = used + excluded.used, idle_wanted = idle_wanted + excluded.idle_wanted",
            )?;
            for (key, used, idle_wanted) in rows {
                let whole = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
                let (used, idle_wanted) = (whole(*used), whole(*idle_wanted));
                add.execute(params![key.day, key.owner, key.image, key.card.0, used, idle_wanted])?;
            }
            Ok(())
        })
    }

    /// As they were added, from this day on.
    pub fn usage_since(&self, day: &str) -> Result<Vec<(UsageKey, u64, u64)>, Fault> {
        self.look_back(|connection| {
            let sql = "SELECT day, owner, image, card, used, idle_wanted FROM usage WHERE day >= ?1";
            list(connection, sql, [day], |row| {
                let key = UsageKey {
                    day: row.get(0)?,
                    owner: row.get(1)?,
                    image: row.get(2)?,
                    card: CardId(row.get(3)?),
                };
                let millis = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
                Ok((key, millis(4)?, millis(5)?))
            })
        })
    }

    /// Cards that were held after `since`, and those that are held.
    pub fn holdings_after(&self, since: Timestamp) -> Result<Vec<Held>, Fault> {
        self.look_back(|connection| {
            // Two searches: the index of ends has those without one at its beginning.
            let columns = "SELECT owner, image, card, since, holdings.until FROM holdings JOIN berths ON berth = berths.id";
            let sql = format!(
                "{columns} WHERE holdings.until > ?1 UNION ALL {columns} WHERE holdings.until IS NULL"
            );
            list(connection, &sql, [since.to_string()], |row| {
                Ok(Held {
                    owner: row.get(0)?,
                    image: row.get(1)?,
                    card: CardId(row.get(2)?),
                    since: time_at(row, 3)?,
                    until: optional_time_at(row, 4)?,
                })
            })
        })
    }
}
