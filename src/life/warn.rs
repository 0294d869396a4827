//! Warnings before the end of a lease, each once: a quarter of the lease, half an hour, five minutes.

use super::{Action, Phase, Situation, Standing};
use std::time::Duration;

const FIRST: u32 = 4;

pub(super) fn warnings(state: &Situation) -> Vec<Action> {
    let told = state.standing.iter().filter(|_| !state.hold_ends);
    told.filter_map(|berth| warning(state, berth)).collect()
}

fn warning(state: &Situation, berth: &Standing) -> Option<Action> {
    if berth.locked || !matches!(berth.phase, Phase::Live { .. }) {
        return None;
    }
    let left = berth.left(state.now).filter(|left| !left.is_zero())?;
    // What was told of less than is left now was of the lease before a renewal.
    let told = berth.told_left.filter(|told| *told >= left).unwrap_or(Duration::MAX);
    let is_due = |mark: &Duration| left <= *mark && *mark < told;
    let terminate = berth.unattended && is_due(&checkpoint_mark(state, berth));
    let is_marked = marks(state, berth).iter().any(is_due);
    (terminate || is_marked).then_some(Action::Warn { berth: berth.id, left, terminate })
}

/// A mark in the first half of a lease would be no news to whoever asked for so little.
fn marks(state: &Situation, berth: &Standing) -> Vec<Duration> {
    let lease = berth.lease.unwrap_or(Duration::MAX);
    let later = state.rules.later_warnings.iter().copied().filter(|mark| *mark <= lease / 2);
    later.chain([state.rules.first_warning.min(lease / FIRST)]).collect()
}

fn checkpoint_mark(state: &Situation, berth: &Standing) -> Duration {
    state.rules.terminate_before.min(berth.lease.unwrap_or(Duration::MAX) / 2)
}
