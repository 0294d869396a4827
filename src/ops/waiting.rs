//! A request that waits for cards: until when, its place among its owner's waiting requests, its ticket.

use super::queue::WaitingTicket;
use super::ration::WaitingPlace;
use super::{Caller, Node, Progress, ProgressSender};
use crate::error::{ErrorClass, Fault, FaultKind, class_of, flatten};
use crate::ledger::NewTicket;
use anyhow::Result;
use std::time::Duration;
use tokio::sync::watch;

/// The longest time that a request may wait. It is bounded because a request that waits keeps a connection open.
const LONGEST_WAIT: Duration = Duration::from_hours(30 * 24);
/// A request that waits looks at the cards at least this often: a process of the host ends without an event.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a request says that it waits, in seconds. An error when that is too long.
pub(super) fn checked(seconds: u64) -> Result<Duration, Fault> {
    let wait = Duration::from_secs(seconds);
    if wait > LONGEST_WAIT {
        let longest = humantime::format_duration(LONGEST_WAIT);
        return Err(Fault::usage(format!("the longest wait is {longest}")));
    }
    Ok(wait)
}

pub(super) struct Wait<'a> {
    node: &'a Node,
    progress: &'a ProgressSender,
    actor: &'a str,
    new: NewTicket,
    length: Duration,
    /// By tokio's clock, because tokio ends the wait.
    deadline: tokio::time::Instant,
    freed: watch::Receiver<u64>,
    /// Taken when it is refused for the first time.
    ticket: Option<WaitingTicket>,
    _place: Option<WaitingPlace>,
}

impl Node {
    /// `length` comes from [`checked`]; zero does not wait. `ticket` is one that the request has already. An error when
    /// too many requests of the owner wait.
    pub(super) fn wait<'a>(
        &'a self,
        caller: &'a Caller,
        new: NewTicket,
        length: Duration,
        ticket: Option<WaitingTicket>,
        progress: &'a ProgressSender,
    ) -> Result<Wait<'a>> {
        let place = if length.is_zero() { None } else { Some(self.waiting.enter(&new.owner)?) };
        Ok(Wait {
            node: self,
            progress,
            actor: &caller.name,
            new,
            length,
            deadline: tokio::time::Instant::now() + length,
            freed: self.subscribe_freed(),
            ticket,
            _place: place,
        })
    }
}

impl Wait<'_> {
    /// To be called before a look at the cards: what is given back from here on ends the next wait.
    pub(super) fn looks(&mut self) {
        self.freed.mark_unchanged();
    }

    pub(super) fn ticket(&self) -> Option<i64> {
        self.ticket.as_ref().map(WaitingTicket::id)
    }

    /// It got its cards, and the claim has removed the ticket; or there is none to remove.
    pub(super) fn is_served(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.keep();
        }
    }

    /// Waits until cards were given back or the next look is due. Returns `refused` when the wait is over: time is
    /// up, the client has gone, the agent stops, or cards are not what is missing.
    pub(super) async fn after(&mut self, refused: anyhow::Error) -> Result<()> {
        if let Some(id) = self.ticket()
            && let Err(cancelled) = self.node.check_waits(id).await
        {
            self.is_served(); // nothing is left to remove
            return Err(cancelled);
        }
        if class_of(&refused) != ErrorClass::Busy
            || self.length.is_zero()
            || tokio::time::Instant::now() >= self.deadline
        {
            return Err(refused);
        }
        if self.ticket.is_none() {
            self.ticket = Some(self.node.take_ticket(self.new.clone(), self.actor).await?);
            self.node.tell_wanted();
        }
        let text = format!("waiting for cards: {}", flatten(&refused).message);
        self.progress.send(Progress::Step { text, ticket: self.ticket() });
        tokio::select! {
            _ = self.freed.changed() => Ok(()),
            () = tokio::time::sleep_until(self.deadline.min(tokio::time::Instant::now() + LOOK_AGAIN)) => Ok(()),
            () = self.progress.abandoned() => Err(refused),
            () = self.node.stopping() => {
                // The next agent keeps the place for a client that comes back.
                self.is_served();
                Err(Fault::busy("the agent ends, and with it this wait")
                    .of(FaultKind::AgentAway)
                    .help("ask again in a moment")
                    .into())
            }
        }
    }
}
