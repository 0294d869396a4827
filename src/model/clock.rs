//! Times that callers pass in: the wall clock, and the time since the machine was started.
//!
//! The wall clock may be set forwards and back. It is used only for times that people read, or that outlive a boot.

use jiff::Timestamp;
use std::ops::{Add, AddAssign};
use std::time::{Duration, Instant};

/// Time since the machine was started, sleep included. It never goes back, and says nothing after the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(pub Duration);

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub wall: Timestamp,
    pub boot: BootTime,
}

impl BootTime {
    /// So much earlier; the boot itself where that would be before it.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl AddAssign<Duration> for BootTime {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

/// A point in time of a clock that never goes back.
pub trait Moment: Copy + Add<Duration, Output = Self> {
    /// Zero where `earlier` is not earlier.
    fn since(self, earlier: Self) -> Duration;
}

impl Moment for BootTime {
    fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Moment for Instant {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}
