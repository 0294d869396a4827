//! Cards that are kept for somebody: for the first ticket, for reservations, for whom berths are asked back.
//!
//! A hold does not stop others from using its cards until then: a berth whose lease ends before may have them.

use super::cards::{CardTime, card_times, choose, fits, ids};
use super::ends::end_of_new;
use super::order::is_due;
use super::time::NEVER;
use super::{Situation, Standing, Ticket};
use crate::model::CardId;
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub keeper: Keeper,
    pub cards: Vec<CardId>,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// For whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keeper {
    Ticket(i64),
    Owner(String),
}

impl Hold {
    /// Would a berth of this ticket from `start` to `end` be in the way?
    fn forbids(&self, ticket: &Ticket, start: Timestamp, end: Timestamp) -> bool {
        let is_mine = match &self.keeper {
            Keeper::Ticket(id) => *id == ticket.id,
            Keeper::Owner(owner) => *owner == ticket.owner,
        };
        !is_mine && end > self.from && start < self.until
    }
}

/// The cards that a ticket may have from `start` on.
pub(super) fn allowed<'a>(
    state: &Situation,
    ticket: &Ticket,
    start: Timestamp,
    times: &[CardTime<'a>],
    holds: &[Hold],
) -> Vec<CardTime<'a>> {
    let end = end_of_new(start, ticket.lease, ticket.unattended, &state.rules);
    let in_the_way: Vec<&Hold> = holds.iter().filter(|hold| hold.forbids(ticket, start, end)).collect();
    let is_kept = |card: CardId| in_the_way.iter().any(|hold| hold.cards.contains(&card));
    times.iter().filter(|time| time.at <= start && !is_kept(time.slot.id)).copied().collect()
}

/// The earliest start of a ticket, not before `from`, and the cards that it may have then.
pub(super) fn earliest<'a>(
    state: &Situation,
    ticket: &Ticket,
    from: Timestamp,
    times: &[CardTime<'a>],
    holds: &[Hold],
) -> Option<(Timestamp, Vec<CardTime<'a>>)> {
    let ends = times.iter().map(|time| time.at).chain(holds.iter().map(|hold| hold.until));
    let mut starts: Vec<Timestamp> = ends.filter(|at| *at != NEVER).map(|at| at.max(from)).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.into_iter().find_map(|start| {
        let cards = allowed(state, ticket, start, times, holds);
        let ids: Vec<CardId> = cards.iter().map(|time| time.slot.id).collect();
        fits(&ticket.wish, &ids).then_some((start, cards))
    })
}

/// The first ticket, and what is kept for it. The oldest of those that nobody is to overtake; one that no known end of
/// a berth would serve keeps nothing, and somebody else is first.
pub(super) fn first<'a>(
    state: &Situation,
    row: &[&'a Ticket],
    reserved: &[Hold],
) -> Option<(&'a Ticket, Vec<Hold>)> {
    let due = row.iter().copied().filter(|ticket| is_due(state, ticket));
    let mut kept = due.map(|ticket| (ticket, of_first(state, ticket, reserved)));
    kept.find(|(_, holds)| !holds.is_empty())
}

/// Twice: by what leases promise, and by what comes back if berths are asked. Nobody may be in the way of either.
fn of_first(state: &Situation, ticket: &Ticket, reserved: &[Hold]) -> Vec<Hold> {
    let by_lease = |berth: &Standing| berth.end_by_lease(state.now, &state.rules);
    let if_asked = |berth: &Standing| berth.end_if_asked(state.now, &state.rules);
    let hold = |times: Vec<CardTime>| {
        let (from, free) = earliest(state, ticket, state.now, &times, reserved)?;
        let cards = choose(state, ticket, &ids(&free))?;
        Some(Hold { keeper: Keeper::Ticket(ticket.id), cards, from, until: NEVER })
    };
    let mut holds: Vec<Hold> = hold(card_times(state, by_lease)).into_iter().collect();
    if !state.hold_ends {
        holds.extend(hold(card_times(state, if_asked)));
    }
    holds.dedup();
    holds
}
