//! When the cards of a berth come back: by its lease, or earlier where it may be asked for them.

use super::time::{NEVER, after, between};
use super::{Asked, Phase, Rules, Standing, Why};
use jiff::Timestamp;
use std::time::Duration;

/// The latest end of a berth that becomes live now.
pub(super) fn end_of_new(
    now: Timestamp,
    lease: Option<Duration>,
    unattended: bool,
    rules: &Rules,
) -> Timestamp {
    match lease {
        None => NEVER,
        Some(lease) if unattended => after(now, lease.max(rules.grace)),
        Some(lease) => after(after(now, lease), rules.grace).max(after(now, rules.protected)),
    }
}

impl Standing {
    /// Why it may be asked for its cards now, if somebody waits for them.
    pub(super) fn reason(&self, now: Timestamp) -> Option<Why> {
        let is_left_alone = self.locked || self.unattended || !matches!(self.phase, Phase::Live { .. });
        if is_left_alone {
            return None;
        }
        if self.until.is_some_and(|until| until <= now) {
            return Some(Why::Lease);
        }
        self.idle.map(|idle| if idle.parked { Why::Parked } else { Why::Idle })
    }

    /// The announced stop, as long as its reason is there.
    pub(super) fn asked_still(&self, now: Timestamp) -> Option<Asked> {
        let asked = self.asked.filter(|_| matches!(self.phase, Phase::Live { .. }))?;
        let still = match asked.why {
            Why::Lease => self.reason(now) == Some(Why::Lease),
            Why::Idle | Why::Parked => self.reason(now).is_some() && self.idle.is_some(),
            Why::Unattended => {
                self.unattended && !self.locked && self.until.is_some_and(|until| until <= asked.stops_at)
            }
        };
        still.then_some(asked)
    }

    /// Whether it was asked back as idle, and is not idle any more.
    pub fn is_idle_no_more(&self) -> bool {
        let is_idleness = |asked: Asked| matches!(asked.why, Why::Idle | Why::Parked);
        self.asked.is_some_and(is_idleness) && self.idle.is_none()
    }

    /// When its cards come back if nobody asks for them before its lease is over.
    pub(super) fn end_by_lease(&self, now: Timestamp, rules: &Rules) -> Timestamp {
        let end = match (self.phase, self.until) {
            (Phase::Stopping { .. }, _) => return now,
            (Phase::Starting, _) => return end_of_new(now, self.lease, self.unattended, rules),
            _ if self.locked => return NEVER,
            (_, None) => return NEVER,
            (_, Some(until)) if self.unattended => {
                let said = self.asked_still(now).map(|asked| self.stop_as_said(asked, rules));
                said.unwrap_or(after(now, rules.grace)).max(until)
            }
            (_, Some(until)) => {
                let end = self.unprotected(after(until.max(now), rules.grace), rules);
                let said = self.asked_still(now).filter(|_| until <= now);
                said.map_or(end, |asked| end.min(self.stop_as_said(asked, rules)))
            }
        };
        end.max(now)
    }

    /// When they come back if it is asked for them now, or was asked: where that may be.
    pub(super) fn end_if_asked(&self, now: Timestamp, rules: &Rules) -> Timestamp {
        let by_lease = self.end_by_lease(now, rules);
        match (self.asked_still(now), self.reason(now)) {
            (Some(asked), _) => self.stop_as_said(asked, rules).max(now).min(by_lease),
            (None, Some(why)) => self.stop_if_asked(why, now, rules).min(by_lease),
            (None, None) => by_lease,
        }
    }

    /// When they come back if it is asked for nothing that it has not heard: a lease that is over does not end a berth.
    pub(super) fn end_if_left_alone(&self, now: Timestamp, rules: &Rules) -> Timestamp {
        match (self.asked_still(now), self.reason(now)) {
            (None, Some(Why::Lease)) => NEVER,
            (None, _) => self.end_by_lease(now, rules),
            (Some(_), _) => self.end_if_asked(now, rules),
        }
    }

    /// The stop that an announcement of now says.
    pub(super) fn stop_if_asked(&self, why: Why, now: Timestamp, rules: &Rules) -> Timestamp {
        self.unprotected(after(now, rules.grace(why)), rules)
    }

    /// When the announced stop may happen: no earlier than its grace, whoever wrote it down.
    pub(super) fn stop_as_said(&self, asked: Asked, rules: &Rules) -> Timestamp {
        let stop = asked.stops_at.max(after(asked.at, rules.grace(asked.why)));
        if asked.why == Why::Unattended { stop } else { self.unprotected(stop, rules) }
    }

    fn unprotected(&self, end: Timestamp, rules: &Rules) -> Timestamp {
        match self.phase {
            Phase::Live { since } => end.max(after(since, rules.protected)),
            Phase::Starting | Phase::Stopping { .. } => end,
        }
    }

    /// How much of its lease is left, or of the time to its stop.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        let until = self.until?;
        let end =
            if self.unattended { self.asked_still(now).map_or(until, |asked| asked.stops_at) } else { until };
        Some(between(now, end))
    }
}
