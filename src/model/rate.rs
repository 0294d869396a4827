//! A token bucket: a burst at once, then one in each period. It has no clock: callers pass the time in.

use super::clock::Moment;
use std::time::{Duration, Instant};

/// A bucket that fills up again.
#[derive(Debug, Clone)]
pub struct Rate<T = Instant> {
    burst: u32,
    refill: Duration,
    left: u32,
    filled: T,
}

impl<T: Moment> Rate<T> {
    /// `burst` at once, and then one every `refill`.
    pub fn new(burst: u32, refill: Duration, now: T) -> Self {
        Self { burst, refill, left: burst, filled: now }
    }

    /// How long until there is one again.
    pub fn wait(&self, now: T) -> Duration {
        if self.left > 0 { Duration::ZERO } else { (self.filled + self.refill).since(now) }
    }

    /// Whether nothing was taken of late.
    pub fn is_full(&self, now: T) -> bool {
        let missing = self.burst.saturating_sub(self.left);
        now.since(self.filled) >= self.refill.saturating_mul(missing)
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: T) -> bool {
        while self.left < self.burst && now.since(self.filled) >= self.refill {
            self.left += 1;
            self.filled = self.filled + self.refill;
        }
        if self.left == self.burst {
            self.filled = now;
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_up_again_and_no_further() {
        let (start, refill) = (Instant::now(), Duration::from_secs(2));
        let mut rate = Rate::new(20, refill, start);
        assert_eq!((0..100).filter(|_| rate.take(start)).count(), 20);
        assert!(!rate.take(start + refill / 2));
        assert_eq!((rate.wait(start + refill / 2), rate.is_full(start + refill)), (refill / 2, false));
        assert!(rate.is_full(start + refill * 20));
        assert!(rate.take(start + refill) && !rate.take(start + refill));
        let later = start + refill * 1000;
        assert_eq!((0..100).filter(|_| rate.take(later)).count(), 20);
    }
}
