//! The policy in examples, and what always holds, tried on situations that a seeded generator makes up.

mod early;
mod examples;
mod properties;
mod queue;
mod random;
mod reservations;
mod telling;
mod walk;

use super::*;
use crate::alloc::Slot;
use crate::model::{CardId, CardWish};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Noon of the day on which everything happens.
pub(super) fn noon() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

pub(super) fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

pub(super) fn hours(count: u64) -> Duration {
    minutes(60 * count)
}

pub(super) fn cards(ids: impl IntoIterator<Item = u32>) -> Vec<CardId> {
    ids.into_iter().map(CardId).collect()
}

/// Eight free cards in two groups, nobody there, and nobody waits. Nobody is warned: `telling` tries that.
pub(super) fn empty_node() -> Situation {
    Situation {
        now: noon(),
        slots: (0..8).map(|id| Slot { id: CardId(id), free: true, link: id / 4, numa: id / 4 }).collect(),
        standing: Vec::new(),
        tickets: Vec::new(),
        used: BTreeMap::new(),
        reservations: Vec::new(),
        rules: Rules { first_warning: Duration::ZERO, later_warnings: Vec::new(), ..Rules::default() },
        hold_ends: false,
    }
}

/// A berth that works, with eight hours of which so many have gone by at noon.
pub(super) fn berth(id: i64, owner: &str, ids: impl IntoIterator<Item = u32>, gone: Duration) -> Standing {
    let since = noon() - gone;
    Standing {
        id,
        owner: owner.to_owned(),
        cards: cards(ids),
        phase: Phase::Live { since },
        lease: Some(hours(8)),
        until: Some(since + hours(8)),
        unattended: false,
        asked: None,
        told_left: None,
        locked: false,
        idle: None,
        keeps: 0,
        renewals: 0,
    }
}

/// A request of eight hours that has waited so long at noon.
pub(super) fn ticket(id: i64, owner: &str, wish: CardWish, waited: Duration) -> Ticket {
    Ticket {
        id,
        owner: owner.to_owned(),
        wish,
        lease: Some(hours(8)),
        unattended: false,
        since: noon() - waited,
        overtaken: 0,
        last: Vec::new(),
    }
}

pub(super) fn any(count: i64) -> CardWish {
    CardWish::Count(count)
}

impl Situation {
    pub(super) fn with(mut self, berths: impl IntoIterator<Item = Standing>) -> Self {
        for berth in berths {
            for slot in &mut self.slots {
                slot.free &= !berth.cards.contains(&slot.id);
            }
            self.standing.push(berth);
        }
        self
    }

    pub(super) fn waiting(mut self, tickets: impl IntoIterator<Item = Ticket>) -> Self {
        self.tickets.extend(tickets);
        self
    }

    pub(super) fn after(mut self, time: Duration) -> Self {
        self.now += time;
        self
    }

    pub(super) fn find(&mut self, id: i64) -> &mut Standing {
        self.standing.iter_mut().find(|berth| berth.id == id).unwrap()
    }

    /// As the agent does what was decided; a start begins and does not get further.
    pub(super) fn done(mut self, actions: &[Action]) -> Self {
        for action in actions {
            self.apply(action);
        }
        self
    }

    fn apply(&mut self, action: &Action) {
        let now = self.now;
        match action.clone() {
            Action::Start { ticket, cards } => {
                let index = self.tickets.iter().position(|waiting| waiting.id == ticket).unwrap();
                let started = self.tickets.remove(index);
                let mut new = berth(1000 + started.id, &started.owner, [], Duration::ZERO);
                (new.cards, new.phase) = (cards, Phase::Starting);
                (new.lease, new.until, new.unattended) = (started.lease, None, started.unattended);
                *self = std::mem::replace(self, empty_node()).with([new]);
            }
            Action::Overtaken { ticket } => {
                self.tickets.iter_mut().find(|waiting| waiting.id == ticket).unwrap().overtaken += 1;
            }
            Action::Withdraw { berth } => self.find(berth).asked = None,
            Action::Warn { berth, left, .. } => self.find(berth).told_left = Some(left),
            Action::Announce { berth, stops_at, why } => {
                self.find(berth).asked = Some(Asked { at: now, stops_at, why });
            }
            Action::Stop { berth, .. } => {
                let berth = self.find(berth);
                let Phase::Live { since } = berth.phase else { panic!("{berth:?} is stopped twice") };
                berth.phase = Phase::Stopping { since };
            }
        }
    }

    /// The berth's container is gone.
    pub(super) fn gone(mut self, id: i64) -> Self {
        let index = self.standing.iter().position(|berth| berth.id == id).unwrap();
        let berth = self.standing.remove(index);
        for slot in &mut self.slots {
            slot.free |= berth.cards.contains(&slot.id);
        }
        self
    }
}
