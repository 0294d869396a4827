//! The machine's clocks, behind a trait: code that decides about time is given a clock, so that a test can set it.

use crate::model::clock::{BootTime, Now};
use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Where the time of a decision comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { wall: set(Timestamp::now()), boot: boot() }
    }
}

/// In a debug build `BERTH_CLOCK_SHIFT` may name a file with seconds: so much the clock on the wall is set forward, or back.
/// A test cannot set the machine's clock, which others use. A release build has no such variable.
fn set(now: Timestamp) -> Timestamp {
    if cfg!(debug_assertions)
        && let Some(file) = std::env::var_os("BERTH_CLOCK_SHIFT")
        && let Ok(text) = std::fs::read_to_string(file)
        && let Ok(seconds) = text.trim().parse()
    {
        return now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    }
    now
}

/// `CLOCK_BOOTTIME`, which every kernel since 2.6.39 has: it goes on while a machine sleeps or a VM is paused.
fn boot() -> BootTime {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    BootTime(time.unwrap_or_default())
}

/// A clock that goes only when it is told to.
#[cfg(test)]
pub struct TestClock(std::sync::Mutex<Now>);

#[cfg(test)]
impl TestClock {
    pub fn at(wall: &str) -> std::sync::Arc<Self> {
        let now = Now { wall: wall.parse().unwrap(), boot: BootTime(Duration::from_hours(1)) };
        std::sync::Arc::new(Self(std::sync::Mutex::new(now)))
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = Now { wall: now.wall + time, boot: now.boot + time };
    }

    /// Somebody sets the clock on the wall.
    pub fn set(&self, wall: &str) {
        self.0.lock().unwrap().wall = wall.parse().unwrap();
    }
}

#[cfg(test)]
impl Clock for TestClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Moment as _;

    #[test]
    fn both_clocks_are_the_machines() {
        let (first, uptime) = (SystemClock.now(), std::fs::read_to_string("/proc/uptime").unwrap());
        let second = SystemClock.now();
        let up: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        // The file has hundredths of a second.
        assert!(first.boot.0.as_secs_f64() <= up + 0.02 && up <= second.boot.0.as_secs_f64() + 0.02);
        assert_eq!(first.boot.since(second.boot), Duration::ZERO);
    }
}
