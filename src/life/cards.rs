//! When each card is free, and which cards serve a wish.

use super::time::NEVER;
use super::{Situation, Standing, Ticket};
use crate::alloc::{Slot, assign};
use crate::model::{CardId, CardWish};
use jiff::Timestamp;

/// When a card is free, and which berth has it until then.
#[derive(Debug, Clone, Copy)]
pub(super) struct CardTime<'a> {
    pub slot: Slot,
    pub at: Timestamp,
    pub berth: Option<&'a Standing>,
}

/// Every card, where each berth gives its cards back when `end` says.
pub(super) fn card_times(state: &Situation, end: impl Fn(&Standing) -> Timestamp) -> Vec<CardTime<'_>> {
    let time_of = |slot: &Slot| {
        let mut berths = state.standing.iter().filter(|berth| berth.cards.contains(&slot.id));
        let berth = berths.next();
        let at = match berth {
            // Two on a card cannot be. If it is, nobody else gets it.
            Some(_) if berths.next().is_some() => NEVER,
            Some(berth) => end(berth).max(state.now),
            None if slot.free => state.now,
            None => NEVER,
        };
        CardTime { slot: *slot, at, berth }
    };
    state.slots.iter().map(time_of).collect()
}

/// Are these cards enough?
pub(super) fn fits(wish: &CardWish, cards: &[CardId]) -> bool {
    match wish {
        CardWish::Count(count) => *count > 0 && cards.len() >= wish.count(),
        CardWish::Ids(ids) => {
            !ids.is_empty() && ids.iter().all(|id| cards.iter().any(|card| i64::from(card.0) == *id))
        }
    }
}

/// The cards for a ticket among these, with neighbours kept together.
pub(super) fn choose(state: &Situation, ticket: &Ticket, among: &[CardId]) -> Option<Vec<CardId>> {
    if !fits(&ticket.wish, among) {
        return None;
    }
    if matches!(&ticket.wish, CardWish::Count(_)) && among.len() == ticket.wish.count() {
        let mut cards = among.to_vec();
        cards.sort_unstable();
        return Some(cards);
    }
    let slots: Vec<Slot> =
        state.slots.iter().map(|slot| Slot { free: among.contains(&slot.id), ..*slot }).collect();
    assign(&slots, &ticket.wish, &ticket.last).ok()
}

pub(super) fn ids(times: &[CardTime]) -> Vec<CardId> {
    times.iter().map(|time| time.slot.id).collect()
}
