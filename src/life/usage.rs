//! Card-hours, as fair share counts them: an hour counts half after each half-life.
//!
//! The ledger adds what a berth `held` when it ends, and lets that be `decayed` until it is asked for.

use super::time::between;
use super::{Phase, Situation, Standing};
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: f64 = 3600.0;

/// What is left of so many card-hours after a time.
pub fn decayed(card_hours: f64, age: Duration, half_life: Duration) -> f64 {
    if half_life.is_zero() {
        return 0.0;
    }
    card_hours * (-age.as_secs_f64() / half_life.as_secs_f64()).exp2()
}

/// What cards count that were held for a time up to now.
pub fn held(cards: usize, time: Duration, half_life: Duration) -> f64 {
    if half_life.is_zero() {
        return 0.0;
    }
    // The integral of the decay over the time.
    let hours = half_life.as_secs_f64() / HOUR / std::f64::consts::LN_2;
    count(cards) * hours * (1.0 - decayed(1.0, time, half_life))
}

/// What each owner has used, and uses now.
pub(super) fn shares(state: &Situation) -> BTreeMap<&str, f64> {
    let mut shares: BTreeMap<&str, f64> = state.used.iter().map(|(owner, used)| (&**owner, *used)).collect();
    for berth in &state.standing {
        *shares.entry(&berth.owner).or_default() += of_berth(state, berth);
    }
    shares
}

fn of_berth(state: &Situation, berth: &Standing) -> f64 {
    let time = match berth.phase {
        Phase::Live { since } | Phase::Stopping { since } => between(since, state.now),
        Phase::Starting => Duration::ZERO,
    };
    let penalty = count(berth.cards.len()) * state.rules.entry_penalty.as_secs_f64() / HOUR;
    held(berth.cards.len(), time, state.rules.half_life).max(penalty)
}

fn count(cards: usize) -> f64 {
    u32::try_from(cards).map_or(f64::INFINITY, f64::from)
}
