//! Whose cards would serve a wish if they were asked back. No more are asked than the wish needs.

use super::cards::{CardTime, card_times, choose, fits};
use super::hold::{Hold, Keeper, earliest};
use super::time::{NEVER, after};
use super::{Phase, Situation, Standing, Ticket, Why};
use crate::model::CardId;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Berths that are asked back for one ticket.
#[derive(Debug, Clone)]
pub(super) struct Pledge {
    /// When it can start, if all of them give their cards back.
    pub at: Timestamp,
    pub berths: Vec<i64>,
    /// What it is going to have. Nobody takes it in the meantime.
    pub hold: Hold,
}

/// Who needs cards: a ticket that cannot start, or a reservation.
pub(super) struct Demand<'a> {
    pub ticket: &'a Ticket,
    /// Not before then.
    pub from: Timestamp,
    pub keeper: Keeper,
}

/// Cards that come back together: a berth's, or those that are free already.
struct Lump<'a> {
    rank: Rank,
    berth: Option<&'a Standing>,
    /// Why it is asked, where it does not come back anyway.
    why: Option<Why>,
    cards: Vec<CardId>,
}

/// Smaller is used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    asks_own: bool,
    /// Nobody is asked for it, or it was asked for somebody else in the row.
    asks: Option<Why>,
    within_soft_limit: bool,
    berth: Option<i64>,
}

/// The berths to ask for it. Others' first; its owner's own where there is nothing else. `asked` are those that were asked
/// for somebody in front of it.
pub(super) fn plan(
    state: &Situation,
    demand: &Demand,
    holds: &[Hold],
    asked: &BTreeSet<i64>,
) -> Option<Pledge> {
    let ticket = demand.ticket;
    [false, true].into_iter().find_map(|with_own| {
        let end = |berth: &Standing| {
            let is_spared = !with_own && berth.owner == ticket.owner && !asked.contains(&berth.id);
            if is_spared {
                berth.end_if_left_alone(state.now, &state.rules)
            } else {
                berth.end_if_asked(state.now, &state.rules)
            }
        };
        let times = card_times(state, end);
        let (at, free) = earliest(state, ticket, demand.from, &times, holds)?;
        pledge(state, demand, at, &free, asked)
    })
}

fn pledge(
    state: &Situation,
    demand: &Demand,
    at: Timestamp,
    free: &[CardTime],
    asked: &BTreeSet<i64>,
) -> Option<Pledge> {
    let ticket = demand.ticket;
    let lumps = needed(ticket, lumps(state, ticket, at, free, asked));
    // A ticket that has to wait for somebody else in any case is not helped yet.
    let asks = lumps.iter().filter(|lump| is_in_time(state, lump, at));
    let berths: Vec<i64> = asks.filter_map(|lump| Some(lump.berth?.id)).collect();
    if berths.is_empty() {
        return None;
    }
    let among: Vec<CardId> = lumps.into_iter().flat_map(|lump| lump.cards).collect();
    let cards = choose(state, ticket, &among)?;
    Some(Pledge { at, berths, hold: Hold { keeper: demand.keeper.clone(), cards, from: at, until: NEVER } })
}

/// Would an announcement of now, or the one that was made, end it no earlier than needed?
fn is_in_time(state: &Situation, lump: &Lump, at: Timestamp) -> bool {
    let (Some(berth), Some(why)) = (lump.berth, lump.why) else { return false };
    let said =
        berth.asked_still(state.now).map_or(state.now, |asked| berth.stop_as_said(asked, &state.rules));
    at <= said.max(after(state.now, state.rules.grace(why)))
}

fn lumps<'a>(
    state: &Situation,
    ticket: &Ticket,
    at: Timestamp,
    free: &[CardTime<'a>],
    asked: &BTreeSet<i64>,
) -> Vec<Lump<'a>> {
    let mut lumps: BTreeMap<Option<i64>, Lump> = BTreeMap::new();
    for time in free {
        let new = || lump(state, ticket, at, time.berth, asked);
        lumps.entry(time.berth.map(|berth| berth.id)).or_insert_with(new).cards.push(time.slot.id);
    }
    let mut lumps: Vec<Lump> = lumps.into_values().collect();
    lumps.sort_by_key(|lump| lump.rank);
    lumps
}

fn lump<'a>(
    state: &Situation,
    ticket: &Ticket,
    at: Timestamp,
    berth: Option<&'a Standing>,
    asked: &BTreeSet<i64>,
) -> Lump<'a> {
    let why = berth.and_then(|berth| why(state, berth, at));
    let asks = why.filter(|_| berth.is_some_and(|berth| !asked.contains(&berth.id)));
    let rank = Rank {
        asks_own: asks.is_some() && berth.is_some_and(|berth| berth.owner == ticket.owner),
        asks,
        within_soft_limit: berth.is_some_and(|berth| !is_beyond_soft_limit(state, berth)),
        berth: berth.map(|berth| berth.id),
    };
    Lump { rank, berth, why, cards: Vec::new() }
}

/// Why a berth is or would be asked in order to be free by then; nothing where its lease promises that.
fn why(state: &Situation, berth: &Standing, at: Timestamp) -> Option<Why> {
    let said = berth.asked.filter(|asked| asked.why != Why::Unattended).map(|asked| asked.why);
    match berth.phase {
        // Those who are to have its cards keep them until they come.
        Phase::Stopping { .. } => said,
        _ if berth.asked_still(state.now).is_some() => berth.reason(state.now),
        _ if berth.end_if_left_alone(state.now, &state.rules) <= at => None,
        _ => berth.reason(state.now),
    }
}

/// The first of these that are enough, less those that are not needed then.
fn needed<'a>(ticket: &Ticket, lumps: Vec<Lump<'a>>) -> Vec<Lump<'a>> {
    let is_enough = |lumps: &[Lump], without: Option<usize>| {
        let others = lumps.iter().enumerate().filter(|(index, _)| Some(*index) != without);
        let cards: Vec<CardId> = others.flat_map(|(_, lump)| lump.cards.clone()).collect();
        fits(&ticket.wish, &cards)
    };
    let mut needed = Vec::new();
    for lump in lumps {
        needed.push(lump);
        if is_enough(&needed, None) {
            break;
        }
    }
    for index in (0..needed.len()).rev() {
        if is_enough(&needed, Some(index)) {
            needed.remove(index);
        }
    }
    needed
}

/// Its owner has that many cards without it already.
fn is_beyond_soft_limit(state: &Situation, berth: &Standing) -> bool {
    let began = |berth: &Standing| match berth.phase {
        Phase::Starting => (NEVER, berth.id),
        Phase::Live { since } | Phase::Stopping { since } => (since, berth.id),
    };
    let earlier =
        state.standing.iter().filter(|other| other.owner == berth.owner && began(other) < began(berth));
    let cards: usize = earlier.map(|other| other.cards.len()).sum();
    cards + berth.cards.len() > state.rules.soft_cards
}
