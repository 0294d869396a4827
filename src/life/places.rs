//! Where each ticket stands, and when it may start: the same rules, played forward as if nobody else came.

use super::ends::end_of_new;
use super::hold::first;
use super::order::row;
use super::time::NEVER;
use super::turn::take_turns;
use super::{Action, Asked, Phase, Rules, Situation, Standing, Ticket, Why, reserve};
use jiff::Timestamp;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub ticket: i64,
    /// 1 is next.
    pub place: usize,
    /// If berths that are idle or overdue are asked back. `None` where no known end of a berth would serve it.
    pub likely: Option<Timestamp>,
    /// If everybody stays as long as leases allow.
    pub latest: Option<Timestamp>,
    /// Nobody may delay it any more.
    pub first: bool,
}

/// All who wait, in their order.
pub fn places(situation: &Situation) -> Vec<Place> {
    let row = row(situation);
    let reserved: Vec<_> = reserve::holds(situation).into_iter().map(|(_, hold)| hold).collect();
    let first = first(situation, &row, &reserved).map(|(ticket, _)| ticket.id);
    let by_lease = starts(situation, Standing::end_by_lease);
    let if_asked = starts(situation, Standing::end_if_asked);
    let place = |(index, ticket): (usize, &&Ticket)| {
        let latest = by_lease.get(&ticket.id).copied();
        let likely = if_asked.get(&ticket.id).copied();
        Place {
            ticket: ticket.id,
            place: index + 1,
            // What comes back early may go to somebody else, and leave a later start than leases would.
            likely: likely.map(|likely| latest.map_or(likely, |latest| likely.min(latest))),
            latest,
            first: first == Some(ticket.id),
        }
    };
    row.iter().enumerate().map(place).collect()
}

type End = fn(&Standing, Timestamp, &Rules) -> Timestamp;

/// When each ticket starts, if each berth ends then, and who starts now stays as long as its lease.
fn starts(situation: &Situation, end: End) -> BTreeMap<i64, Timestamp> {
    let mut state = situation.clone();
    let mut starts = BTreeMap::new();
    let (actions, _) = take_turns(&mut state);
    note(&actions, state.now, &mut starts);
    settle(&mut state, end);
    while let Some(next) = next_end(&state).filter(|_| !state.tickets.is_empty()) {
        state.now = next;
        release(&mut state);
        let (actions, _) = take_turns(&mut state);
        note(&actions, next, &mut starts);
        settle(&mut state, Standing::end_by_lease);
    }
    starts
}

fn note(actions: &[Action], now: Timestamp, starts: &mut BTreeMap<i64, Timestamp>) {
    let started = actions.iter().filter_map(|action| match action {
        Action::Start { ticket, .. } => Some((*ticket, now)),
        _ => None,
    });
    starts.extend(started);
}

/// From here on every berth has an end that is certain.
fn settle(state: &mut Situation, end: End) {
    let (now, rules) = (state.now, &state.rules);
    for berth in &mut state.standing {
        let ends = match berth.phase {
            Phase::Starting => end_of_new(now, berth.lease, berth.unattended, rules),
            Phase::Live { .. } | Phase::Stopping { .. } => end(berth, now, rules),
        };
        let since = match berth.phase {
            Phase::Starting => now,
            Phase::Live { since } | Phase::Stopping { since } => since,
        };
        berth.phase = Phase::Live { since };
        berth.until = (ends != NEVER).then_some(ends);
        (berth.unattended, berth.locked, berth.idle) = (true, false, None);
        berth.asked = Some(Asked { at: now, stops_at: ends, why: Why::Unattended });
    }
}

fn next_end(state: &Situation) -> Option<Timestamp> {
    let ends = state.standing.iter().filter_map(|berth| berth.until);
    let reserved = state.reservations.iter().map(|reserved| reserved.until);
    ends.chain(reserved.filter(|until| *until > state.now)).min()
}

fn release(state: &mut Situation) {
    let now = state.now;
    let is_over = |berth: &Standing| berth.until.is_some_and(|until| until <= now);
    let over: Vec<Standing> = state.standing.extract_if(.., |berth| is_over(berth)).collect();
    for slot in &mut state.slots {
        slot.free |= over.iter().any(|berth| berth.cards.contains(&slot.id));
    }
}
