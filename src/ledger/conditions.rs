//! What is wrong with a berth now, as codes. A code begins and ends in one transaction with the event about it.

use super::{Ledger, NewEvent, json_at, leases, time_at};
use crate::error::Fault;
use crate::model::{Berth, Condition, ConditionCode};
use jiff::SignedDuration;
use rusqlite::{OptionalExtension as _, Transaction, params};

const END: &str = "DELETE FROM conditions WHERE berth = ?1 AND code = ?2";

impl Ledger {
    /// Notes a condition that begins, or that has other values now.
    pub fn begin_condition(&self, berth: i64, condition: &Condition, event: &NewEvent) -> Result<(), Fault> {
        let cards: Vec<u32> = condition.cards.iter().map(|card| card.0).collect();
        let cards = serde_json::to_string(&cards)
            .map_err(|error| Fault::bug(format!("writing a condition's cards: {error}")))?;
        self.change(event, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO conditions (berth, code, since, cards, detail) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (berth, code) DO UPDATE SET since = ?3, cards = ?4, detail = ?5",
                )?
                .execute(params![
                    berth,
                    condition.code.as_str(),
                    condition.since.to_string(),
                    cards,
                    condition.detail
                ])
        })
        .map(|_| ())
    }

    /// Removes a condition. `event` is `None` where the event of another condition says that this one is over.
    pub fn end_condition(
        &self,
        berth: i64,
        code: ConditionCode,
        event: Option<&NewEvent>,
    ) -> Result<(), Fault> {
        self.alter(event, |transaction| {
            transaction.prepare_cached(END)?.execute(params![berth, code.as_str()])
        })
    }

    /// A berth that was to come back is back. Its lease ends later by the time that it was not there.
    pub fn returned(&self, berth: i64, given_back: SignedDuration, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            transaction.prepare_cached(END)?.execute(params![berth, ConditionCode::Returning.as_str()])?;
            leases::give_back(transaction, berth, given_back)
        })?;
        self.berth_by_id(berth)
    }

    /// How many kills by the out-of-memory killer were reported since the berth's container was started.
    pub fn oom_kills(&self, berth: i64) -> Result<u64, Fault> {
        let told: i64 = self.read(|connection| {
            connection
                .prepare_cached("SELECT oom_kills FROM berths WHERE id = ?1")?
                .query_row([berth], |row| row.get(0))
        })?;
        Ok(u64::try_from(told).unwrap_or(0))
    }

    pub fn note_oom_kills(&self, berth: i64, kills: u64) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction
                .prepare_cached("UPDATE berths SET oom_kills = ?2 WHERE id = ?1")?
                .execute(params![berth, i64::try_from(kills).unwrap_or(i64::MAX)])
        })
    }
}

/// Time that was given back to all leases is not given back once more to a berth that is to come back.
pub(super) fn shift_return(
    transaction: &Transaction,
    berth: i64,
    shift: SignedDuration,
) -> rusqlite::Result<()> {
    let returning = ConditionCode::Returning.as_str();
    let sql = "SELECT since FROM conditions WHERE berth = ?1 AND code = ?2";
    let since = transaction.prepare_cached(sql)?.query_row(params![berth, returning], |row| time_at(row, 0));
    let Some(since) = since.optional()? else { return Ok(()) };
    let since = since.checked_add(shift).unwrap_or(since);
    let sql = "UPDATE conditions SET since = ?3 WHERE berth = ?1 AND code = ?2";
    transaction.prepare_cached(sql)?.execute(params![berth, returning, since.to_string()]).map(|_| ())
}

/// Reads conditions, the worst first. A code that this program does not know is an error, so that a berth is never
/// shown as well by mistake.
pub(super) fn read(row: &rusqlite::Row, index: usize) -> rusqlite::Result<Vec<Condition>> {
    let mut found: Vec<Condition> = json_at(row, index)?;
    found.sort_by_key(|condition| condition.code);
    Ok(found)
}
