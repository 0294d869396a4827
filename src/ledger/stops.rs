//! Stops and starts of berths: each its intent first, and its end when that is done.

use super::berths::{ClaimError, add_cards, count, end_holdings, seconds, set_state};
use super::{Ledger, NewEvent, tickets};
use crate::error::Fault;
use crate::model::{Berth, BerthState, CardId, StopReason};
use jiff::Timestamp;
use rusqlite::params;

impl Ledger {
    /// Writes the intent of a stop: its container is to be stopped and kept.
    pub fn begin_stop(&self, id: i64, reason: StopReason, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            set_state(transaction, id, BerthState::Stopping)?;
            transaction
                .execute("UPDATE berths SET stop_reason = ?2 WHERE id = ?1", params![id, reason.as_str()])
        })
        .map(|_| ())
    }

    /// Completes a stop. Its container no longer runs, and its cards are free from now on.
    pub fn stopped(&self, id: i64, kept_until: Timestamp, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            end_holdings(transaction, id, event.at)?;
            set_state(transaction, id, BerthState::Stopped)?;
            transaction.execute(
                "UPDATE berths SET stopped_at = ?2, kept_until = ?3, until = NULL, stops_at = NULL, told_left = NULL
                 WHERE id = ?1",
                params![id, event.at.to_string(), kept_until.to_string()],
            )
        })?;
        self.berth_by_id(id)
    }

    /// Writes the intent of a start: the stopped berth has these cards from now on, for a lease of this length.
    pub fn begin_start(
        &self,
        id: i64,
        cards: &[CardId],
        lease: Option<u64>,
        unattended: bool,
        (ticket, overtaken): (Option<i64>, &[i64]),
        event: &NewEvent,
    ) -> Result<Berth, ClaimError> {
        let started = self.write(Some(event), |transaction| {
            set_state(transaction, id, BerthState::Starting)?;
            transaction.execute(
                "UPDATE berths SET size = ?2, lease = ?3, unattended = ?4 WHERE id = ?1",
                params![id, count(cards), lease.map(seconds), unattended],
            )?;
            transaction.execute("DELETE FROM berth_cards WHERE berth = ?1", [id])?;
            add_cards(transaction, id, cards, event.at)?;
            tickets::served(transaction, id, ticket, overtaken)
        });
        started.map_err(|error| self.claim_error(error, cards))?;
        self.berth_by_id(id).map_err(ClaimError::Ledger)
    }
}
