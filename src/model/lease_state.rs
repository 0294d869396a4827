//! How a live berth's lease stands, as a code with a time; sentences are made where they are shown. Pure.

use super::{Berth, BerthState};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// It will be stopped at the deadline: that was announced.
    AskedBack,
    /// An administrator said that it is not asked back before the deadline.
    Locked,
    /// Its lease is over. It goes on until somebody needs its cards.
    Overdue,
    /// Its lease ends soon.
    Ending,
    /// It is stopped, and released at the deadline because the disk runs full: that was announced.
    ReleaseSoon,
}

/// That a berth is not asked back for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub until: Timestamp,
    pub why: String,
    pub by: String,
}

impl Berth {
    /// Fills in how its lease stands now, and when something happens to it by itself. `first_warning`: a lease ends soon
    /// when no more is left of it than this, or than a quarter of it.
    #[must_use]
    pub fn with_lease_state(mut self, now: Timestamp, first_warning: Duration) -> Self {
        self.lock = self.lock.filter(|lock| lock.until > now);
        (self.condition, self.deadline) = match self.state {
            BerthState::Live => self.live_lease(now, first_warning),
            BerthState::Stopped => {
                let release_at = self.stop.as_ref().and_then(|stop| stop.release_at);
                let kept_until = self.stop.as_ref().and_then(|stop| stop.kept_until);
                (release_at.map(|_| LeaseState::ReleaseSoon), release_at.or(kept_until))
            }
            _ => (None, None),
        };
        self
    }

    fn live_lease(&self, now: Timestamp, first_warning: Duration) -> (Option<LeaseState>, Option<Timestamp>) {
        if self.stops_at.is_some() {
            return (Some(LeaseState::AskedBack), self.stops_at);
        }
        if let Some(lock) = &self.lock {
            return (Some(LeaseState::Locked), Some(lock.until));
        }
        let Some(until) = self.until else { return (None, None) };
        let quarter = self.lease.map_or(Duration::MAX, |lease| Duration::from_secs(lease / 4));
        let soon = SignedDuration::try_from(first_warning.min(quarter)).unwrap_or(SignedDuration::MAX);
        let state = match until.duration_since(now) {
            left if left <= SignedDuration::ZERO => Some(LeaseState::Overdue),
            left if left <= soon => Some(LeaseState::Ending),
            _ => None,
        };
        (state, Some(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Stop, StopReason};
    use serde_json::json;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn berth() -> Berth {
        serde_json::from_value(json!({
            "id": 1, "owner": "alice", "name": "dev", "state": "live", "cards": [0], "port": 1, "ssh_user": "u",
            "image": "i", "image_id": "s", "created_at": at(0), "until": at(8), "lease": 8 * 3600,
        }))
        .unwrap()
    }

    #[test]
    fn a_lease_has_one_state_and_the_next_thing_that_happens() {
        let stands = |berth: Berth, hour: i64| {
            let berth = berth.with_lease_state(at(hour), Duration::from_hours(2));
            (berth.condition, berth.deadline)
        };
        assert_eq!(stands(berth(), 1), (None, Some(at(8))));
        assert_eq!(stands(berth(), 6), (Some(LeaseState::Ending), Some(at(8))));
        assert_eq!(stands(berth(), 8), (Some(LeaseState::Overdue), Some(at(8))));
        assert_eq!(stands(Berth { until: None, ..berth() }, 8), (None, None));
        // A quarter of a short lease.
        let short = || Berth { lease: Some(4 * 3600), ..berth() };
        assert_eq!((stands(short(), 6).0, stands(short(), 7).0), (None, Some(LeaseState::Ending)));
        let lock = Some(Lock { until: at(20), why: "w".into(), by: "root".into() });
        let locked = || Berth { lock: lock.clone(), ..berth() };
        assert_eq!(stands(locked(), 9), (Some(LeaseState::Locked), Some(at(20))));
        assert_eq!(stands(locked(), 20).0, Some(LeaseState::Overdue));
        let asked = Berth { stops_at: Some(at(9)), stops_for: Some(StopReason::Lease), ..locked() };
        assert_eq!(stands(asked, 8), (Some(LeaseState::AskedBack), Some(at(9))));
        let stop = |release_at| Stop {
            reason: StopReason::Asked,
            at: at(1),
            kept_until: Some(at(30)),
            release_at,
            kept: false,
        };
        let stopped =
            |release_at| Berth { state: BerthState::Stopped, stop: Some(stop(release_at)), ..locked() };
        assert_eq!(stands(stopped(None), 9), (None, Some(at(30))));
        assert_eq!(stands(stopped(Some(at(10))), 9), (Some(LeaseState::ReleaseSoon), Some(at(10))));
    }
}
