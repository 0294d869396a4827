//! The row in which tickets are looked at: those that waited too long by age, the others by fair share.

use super::time::between;
use super::usage::shares;
use super::{Situation, Ticket};
use std::cmp::Ordering;

/// Nobody is to be overtaken any more once this is true.
pub(super) fn is_due(state: &Situation, ticket: &Ticket) -> bool {
    between(ticket.since, state.now) >= state.rules.longest_wait
        || ticket.overtaken >= state.rules.most_overtaken
}

pub(super) fn by_age(one: &Ticket, other: &Ticket) -> Ordering {
    (one.since, one.id).cmp(&(other.since, other.id))
}

/// The ticket before which nobody should start.
pub fn next(state: &Situation) -> Option<&Ticket> {
    row(state).first().copied()
}

/// Everybody who waits, the one before whom nobody should start in front.
pub(super) fn row(state: &Situation) -> Vec<&Ticket> {
    let shares = shares(state);
    let share = |ticket: &Ticket| shares.get(&*ticket.owner).copied().unwrap_or_default();
    let (mut due, mut others): (Vec<&Ticket>, Vec<&Ticket>) =
        state.tickets.iter().partition(|ticket| is_due(state, ticket));
    due.sort_by(|a, b| by_age(a, b));
    others.sort_by(|a, b| share(a).total_cmp(&share(b)).then_with(|| by_age(a, b)));
    due.extend(others);
    due
}
