//! How time is counted for leases. Setting the node's clock ends no lease. Time in which the agent or the node was
//! down is given back, because nobody could work then. Pure.

use crate::ledger::Counted;
use crate::model::clock::{Moment, Now};
use jiff::SignedDuration;
use std::time::Duration;

/// A change of the clock by less is a correction by a time server, and is not counted as setting the clock.
const JUMP: SignedDuration = SignedDuration::from_mins(5);
/// The most that is given back for one time that the agent was down.
const MOST_GIVEN_BACK: SignedDuration = SignedDuration::from_hours(24);
/// The least: a restart of the agent takes less, and does not move the ends of all leases.
const LEAST_GIVEN_BACK: SignedDuration = SignedDuration::from_mins(1);

/// How the ends of leases have to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Passed {
    /// They end this much later, by the wall clock.
    pub(super) shift: SignedDuration,
    /// Stopped berths are kept this much longer, by the wall clock: all of the time in which no agent was there to start one.
    pub(super) kept: SignedDuration,
    /// How far the clock was set, if it was.
    pub(super) jump: Option<SignedDuration>,
    /// How much time is given back.
    pub(super) given_back: SignedDuration,
}

/// What has passed since time was last counted. `was_down`: an earlier run of the agent counted it.
pub(super) fn passed(last: &Counted, was_down: bool, now: Now, boot_id: &str) -> Passed {
    let by_wall = now.wall.duration_since(last.wall);
    let by_boot = (last.boot_id == boot_id).then(|| signed(now.boot.since(last.boot())));
    // Over a boot there is only the clock on the wall.
    let real = by_boot.unwrap_or_else(|| by_wall.max(SignedDuration::ZERO));
    let jump = Some(by_wall.saturating_sub(real)).filter(|drift| drift.abs() > JUMP);
    let given_back =
        if was_down && real >= LEAST_GIVEN_BACK { real.min(MOST_GIVEN_BACK) } else { SignedDuration::ZERO };
    let set = jump.unwrap_or_default();
    // What is released is gone. Over a boot nobody knows whether the clock went or was set, so none of that counts.
    let kept = if was_down && by_wall.abs() >= LEAST_GIVEN_BACK { by_wall } else { set };
    Passed { shift: given_back.saturating_add(set), kept, jump, given_back }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::BootTime;
    use jiff::Timestamp;

    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;

    fn counted() -> Counted {
        Counted { wall: Timestamp::UNIX_EPOCH, boot: Duration::from_hours(10), boot_id: "a".into() }
    }

    fn now(wall: i64, boot: i64) -> Now {
        let boot = BootTime(Duration::from_secs(u64::try_from(10 * HOUR + boot).unwrap()));
        Now { wall: Timestamp::from_second(wall).unwrap(), boot }
    }

    fn secs(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    #[test]
    fn while_the_agent_runs_only_a_clock_that_is_set_moves_an_end() {
        let passed = |wall, boot| passed(&counted(), false, now(wall, boot), "a");
        assert_eq!(passed(60, 60), Passed::default());
        assert_eq!(passed(60 + 290, 60), Passed::default(), "a correction");
        for set in [YEAR, -YEAR, 301] {
            let jump = Some(secs(set));
            let wanted = Passed { shift: secs(set), kept: secs(set), jump, given_back: secs(0) };
            assert_eq!(passed(60 + set, 60), wanted);
        }
    }

    #[test]
    fn the_time_of_an_agent_that_was_down_is_given_back() {
        let down = |wall, boot| passed(&counted(), true, now(wall, boot), "a");
        assert_eq!(down(50, 50), Passed::default(), "a restart");
        assert_eq!(down(30 * HOUR, 30 * HOUR).kept, secs(30 * HOUR), "nobody could start what is kept");
        assert_eq!(down(-YEAR, HOUR).kept, secs(-YEAR), "set back meanwhile");
        assert_eq!(down(2 * HOUR, 2 * HOUR).shift, secs(2 * HOUR));
        assert_eq!(down(30 * HOUR, 30 * HOUR).shift, secs(24 * HOUR), "six hours of it count");
        let set = down(2 * HOUR + 7 * HOUR, 2 * HOUR);
        assert_eq!((set.shift, set.jump), (secs(9 * HOUR), Some(secs(7 * HOUR))));
    }

    #[test]
    fn over_a_boot_the_clock_is_all_there_is() {
        let booted = |wall| passed(&counted(), true, now(wall, 0), "b");
        assert_eq!(booted(3 * HOUR).shift, secs(3 * HOUR));
        assert_eq!(booted(400 * HOUR).shift, secs(24 * HOUR));
        assert_eq!(booted(YEAR).kept, secs(YEAR), "a machine that was off, or a clock without a battery");
        let back = booted(-HOUR);
        assert_eq!((back.shift, back.jump), (secs(-HOUR), Some(secs(-HOUR))));
    }
}
