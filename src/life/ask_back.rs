//! Announced stops: what is announced, taken back, and done.
//!
//! A stop happens only if its announcement is as old as its grace, its reason is still there, and the one for whom it
//! was asked can start then: nobody is stopped for somebody who waits all the same.

use super::pledge::Pledge;
use super::time::after;
use super::{Action, Asked, Phase, Situation, Standing, Why};

type Say = fn(&Situation, &[Pledge], &Standing) -> Option<Action>;

/// What is said or done next, and noted in the state: who is not stopped any more, else who stops, else one who hears of
/// it for the first time, since each changes whom others have to ask. `before` is what was decided already: a berth hears
/// each thing once in a decision, so that it comes to an end.
pub(super) fn say(state: &mut Situation, pledges: &[Pledge], before: &[Action]) -> Vec<Action> {
    let steps: [Say; 3] = [withdrawal, stop, announcement];
    let says = steps.into_iter().map(|step| {
        let says = |berth| step(state, pledges, berth).filter(|action| !is_old(before, berth, action));
        state.standing.iter().filter_map(says).collect::<Vec<Action>>()
    });
    let mut says = says.into_iter().find(|says| !says.is_empty()).unwrap_or_default();
    if let Some(mildest) = says.iter().filter_map(reason_said).min() {
        says.retain(|action| reason_said(action) == Some(mildest));
        says.truncate(1);
    }
    for action in &says {
        note(state, action);
    }
    says
}

/// An announcement of this decision that a later one made needless: nobody has heard it yet.
pub(super) fn is_in_vain(action: &Action, pledges: &[Pledge]) -> bool {
    match action {
        Action::Announce { berth, why, .. } => {
            *why != Why::Unattended && !pledges.iter().any(|pledge| pledge.berths.contains(berth))
        }
        _ => false,
    }
}

fn reason_said(action: &Action) -> Option<Why> {
    match action {
        Action::Announce { why, .. } => Some(*why),
        _ => None,
    }
}

/// Who was told that one stop does not happen may hear of another.
fn is_old(before: &[Action], berth: &Standing, action: &Action) -> bool {
    let leads_on = |old: &Action| matches!((old, action), (Action::Withdraw { .. }, Action::Announce { .. }));
    before.iter().any(|old| is_of(old, berth) && !leads_on(old))
}

fn is_of(action: &Action, berth: &Standing) -> bool {
    match action {
        Action::Withdraw { berth: id }
        | Action::Announce { berth: id, .. }
        | Action::Stop { berth: id, .. } => *id == berth.id,
        Action::Start { .. } | Action::Overtaken { .. } | Action::Warn { .. } => false,
    }
}

fn note(state: &mut Situation, action: &Action) {
    let now = state.now;
    let Some(berth) = state.standing.iter_mut().find(|berth| is_of(action, berth)) else { return };
    match (action, berth.phase) {
        (Action::Withdraw { .. }, _) => berth.asked = None,
        (Action::Announce { stops_at, why, .. }, _) => {
            berth.asked = Some(Asked { at: now, stops_at: *stops_at, why: *why });
        }
        (Action::Stop { .. }, Phase::Live { since }) => berth.phase = Phase::Stopping { since },
        _ => {}
    }
}

/// The stop is not needed any more, or its reason is gone.
fn withdrawal(state: &Situation, pledges: &[Pledge], berth: &Standing) -> Option<Action> {
    if berth.asked.is_none() || !matches!(berth.phase, Phase::Live { .. }) {
        return None;
    }
    // While ends are held nobody looks whose cards are needed.
    let somebody_waits = !state.tickets.is_empty() || !state.reservations.is_empty();
    let is_wanted = if state.hold_ends { somebody_waits } else { is_pledged(pledges, berth) };
    let stays = berth.asked_still(state.now).is_some_and(|asked| asked.why == Why::Unattended || is_wanted);
    (!stays).then_some(Action::Withdraw { berth: berth.id })
}

fn is_pledged(pledges: &[Pledge], berth: &Standing) -> bool {
    pledges.iter().any(|pledge| pledge.berths.contains(&berth.id))
}

fn announcement(state: &Situation, pledges: &[Pledge], berth: &Standing) -> Option<Action> {
    if berth.asked_still(state.now).is_some() || state.hold_ends {
        return None;
    }
    let why = if is_pledged(pledges, berth) { berth.reason(state.now)? } else { ends_soon(state, berth)? };
    let stops_at = match why {
        Why::Unattended => berth.until?.max(after(state.now, state.rules.grace(why))),
        Why::Lease | Why::Idle | Why::Parked => berth.stop_if_asked(why, state.now, &state.rules),
    };
    Some(Action::Announce { berth: berth.id, stops_at, why })
}

/// An unattended berth is told about its end, whoever waits.
fn ends_soon(state: &Situation, berth: &Standing) -> Option<Why> {
    let ends = berth.unattended && !berth.locked && matches!(berth.phase, Phase::Live { .. });
    let is_soon = berth.until? <= after(state.now, state.rules.grace(Why::Unattended));
    (ends && is_soon).then_some(Why::Unattended)
}

fn stop(state: &Situation, pledges: &[Pledge], berth: &Standing) -> Option<Action> {
    let asked = berth.asked_still(state.now).filter(|_| !state.hold_ends)?;
    let is_told = berth.stop_as_said(asked, &state.rules) <= state.now;
    let helps = |pledge: &Pledge| pledge.at <= state.now && pledge.berths.contains(&berth.id);
    let is_due = is_told && (asked.why == Why::Unattended || pledges.iter().any(helps));
    is_due.then_some(Action::Stop { berth: berth.id, why: asked.why })
}
