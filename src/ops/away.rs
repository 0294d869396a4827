//! Requests whose clients lost the agent while they waited. When the agent ends, their tickets stay in the ledger, and the
//! next one keeps them for a time in which the clients come back.

use super::queue::WaitingTicket;
use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::{Ledger, NewTicket, TicketRow};
use crate::model::Berth;
use crate::model::clock::BootTime;
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For how long the place of a client is kept that does not come back.
pub const COME_BACK: Duration = Duration::from_mins(1);

/// The tickets whose clients may come back, and until when.
#[derive(Debug, Default)]
pub(super) struct Away(Mutex<BTreeMap<i64, BootTime>>);

impl Away {
    fn expect(&self, ticket: i64, until: BootTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, until);
    }

    /// Whether it was away.
    fn take(&self, ticket: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket).is_some()
    }

    /// Those that are no longer expected.
    fn overdue(&self, now: BootTime) -> Vec<i64> {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        away.extract_if(.., |_, until| *until <= now).map(|(ticket, _)| ticket).collect()
    }
}

impl Node {
    /// Expects the clients of tickets that an earlier run of the agent left.
    pub async fn expect_waiting(&self) -> Result<()> {
        let until = self.now().boot + COME_BACK;
        let waiting = self.ledger(Ledger::tickets).await?;
        waiting.iter().filter(|ticket| !ticket.detached).for_each(|row| self.away.expect(row.id, until));
        Ok(())
    }

    /// Notes that the request of a berth that was cut waits again.
    pub(super) async fn waits_again(&self, berth: &Berth, ticket: Option<i64>) -> Result<()> {
        let Some(id) = ticket else { return Ok(()) };
        tracing::info!(berth = berth.label(), ticket = id, "its request waits again");
        if self.ledger(move |ledger| ledger.ticket(id)).await?.is_some_and(|row| !row.detached) {
            self.away.expect(id, self.now().boot + COME_BACK);
        }
        Ok(())
    }

    /// The ticket with which a request waited before the agent was away. `None` where it names none.
    pub(super) async fn came_back(
        &self,
        ticket: Option<i64>,
        new: &NewTicket,
        caller: &Caller,
    ) -> Result<Option<WaitingTicket>> {
        let Some(id) = ticket else { return Ok(None) };
        let mut is_back = self.takes_up(id, new).await?;
        if !is_back {
            // A berth that was cut gives its ticket back when it is undone.
            self.ensure_reconciled().await?;
            is_back = self.takes_up(id, new).await?;
        }
        if !is_back {
            return Err(Fault::refused(format!(
                "no request like this one waits with ticket {id} for its client"
            ))
            .help("ask again, without that ticket")
            .into());
        }
        tracing::info!(ticket = id, "its client came back");
        Ok(Some(self.waits_with(id, new, &caller.name)))
    }

    pub(super) async fn takes_up(&self, id: i64, new: &NewTicket) -> Result<bool> {
        let row = self.ledger(move |ledger| ledger.ticket(id)).await?;
        Ok(row.is_some_and(|row| is_for(&row, new)) && self.away.take(id))
    }

    /// Ends the waits of clients that did not come back.
    pub async fn forget_away(&self) -> Result<()> {
        for id in self.away.overdue(self.now().boot) {
            let Some(row) = self.ledger(move |ledger| ledger.ticket(id)).await? else { continue };
            let gone = self.about_gone(&row.owner, row.berth.as_ref(), &row.wish, &Caller::agent().name);
            self.ledger(move |ledger| ledger.remove_ticket(id, Some(&gone))).await?;
            self.tell_freed();
        }
        Ok(())
    }

    /// Whoever asked for this berth was told that it failed, and waits for it no more.
    pub(super) async fn forget_ticket(&self, berth: i64) {
        if let Err(error) = self.ledger(move |ledger| ledger.forget_ticket(berth)).await {
            tracing::warn!(berth, error = format!("{error:#}"), "its request may wait for a minute more");
        }
    }
}

/// Whether the request may have its place: nobody gets one for more than was asked for when it was taken.
fn is_for(row: &TicketRow, new: &NewTicket) -> bool {
    !row.detached
        && (&row.owner, &row.berth, &row.wish) == (&new.owner, &new.berth, &new.wish)
        && row.unattended == new.unattended
        && new.lease.as_secs() <= row.lease
}
