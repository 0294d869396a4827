//! Reservations: requests that come at their time. What they will need is kept free of berths that would not end before.

use super::cards::{CardTime, card_times, choose, ids};
use super::hold::{Hold, Keeper};
use super::time::{NEVER, between};
use super::{Phase, Reserved, Situation, Standing, Ticket};
use crate::model::{CardId, CardWish};
use jiff::Timestamp;

/// No ticket's number.
const NOBODY: i64 = i64::MIN;

/// The holds of reservations, each with what it still waits for, the next one first.
pub(super) fn holds(state: &Situation) -> Vec<(Ticket, Hold)> {
    let mut reserved: Vec<&Reserved> = state.reservations.iter().collect();
    reserved.sort_by_key(|reserved| reserved.from);
    let times = card_times(state, |berth| berth.end_by_lease(state.now, &state.rules));
    let mut holds: Vec<(Ticket, Hold)> = Vec::new();
    for reserved in reserved {
        let Some(ticket) = as_ticket(state, reserved) else { continue };
        let hold = hold(state, reserved, &ticket, &times, &holds);
        holds.push((ticket, hold));
    }
    holds
}

/// Cards that are free when it begins; where those are not enough, what is free next.
fn hold(
    state: &Situation,
    reserved: &Reserved,
    ticket: &Ticket,
    times: &[CardTime],
    before: &[(Ticket, Hold)],
) -> Hold {
    let overlaps = |hold: &Hold| hold.from < reserved.until && reserved.from < hold.until;
    let taken: Vec<CardId> =
        before.iter().filter(|(_, hold)| overlaps(hold)).flat_map(|(_, hold)| hold.cards.clone()).collect();
    let is_open = |time: &&CardTime| time.at != NEVER && !taken.contains(&time.slot.id);
    let mut open: Vec<CardTime> = times.iter().filter(is_open).copied().collect();
    open.sort_by_key(|time| time.at);
    let in_time: Vec<CardTime> = open.iter().filter(|time| time.at <= ticket.since).copied().collect();
    let next = || ids(&open).into_iter().take(ticket.wish.count()).collect();
    let cards = choose(state, ticket, &ids(&in_time)).unwrap_or_else(next);
    Hold { keeper: Keeper::Owner(reserved.owner.clone()), cards, from: ticket.since, until: reserved.until }
}

/// What of it is not in use by its owner yet.
fn as_ticket(state: &Situation, reserved: &Reserved) -> Option<Ticket> {
    let begin = reserved.from.max(state.now);
    let in_use: usize =
        state.standing.iter().filter(|berth| is_of(berth, reserved, state.now)).map(cards).sum();
    let open = reserved.cards.saturating_sub(in_use);
    (begin < reserved.until && open > 0).then(|| Ticket {
        id: NOBODY,
        owner: String::new(),
        wish: CardWish::Count(i64::try_from(open).unwrap_or(i64::MAX)),
        lease: Some(between(begin, reserved.until)),
        unattended: true,
        since: begin,
        overtaken: 0,
        last: Vec::new(),
    })
}

fn cards(berth: &Standing) -> usize {
    berth.cards.len()
}

/// Did it begin in this reservation's time?
fn is_of(berth: &Standing, reserved: &Reserved, now: Timestamp) -> bool {
    let begun = match berth.phase {
        Phase::Starting => now,
        Phase::Live { since } | Phase::Stopping { since } => since,
    };
    berth.owner == reserved.owner && begun >= reserved.from
}
