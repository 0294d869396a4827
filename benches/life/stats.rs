//! Waits, and what is said of many of them.

use crate::traffic::Wish;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// How long somebody waited, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    pub cards: usize,
    pub is_heavy: bool,
    pub time: u64,
}

impl Wait {
    pub fn of(wish: &Wish, now: u64) -> Self {
        Self { cards: wish.cards, is_heavy: wish.is_heavy, time: now.saturating_sub(wish.comes) }
    }
}

/// Hours.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    pub mean: f64,
    pub p95: f64,
    pub longest: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}/{:.1}", self.mean, self.p95)
    }
}

pub fn summary<'a>(waits: impl Iterator<Item = &'a Wait>) -> Summary {
    let mut hours: Vec<f64> =
        waits.map(|wait| Duration::from_secs(wait.time).as_secs_f64() / 3600.0).collect();
    hours.sort_by(f64::total_cmp);
    let count = number(hours.len());
    let at = hours.len() * 95 / 100;
    Summary {
        mean: hours.iter().sum::<f64>() / count.max(1.0),
        p95: hours.get(at).copied().unwrap_or_default(),
        longest: hours.last().copied().unwrap_or_default(),
    }
}

pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// What happened on a node that `decide` ran.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    pub asked: usize,
    pub withdrawn: usize,
    pub stopped: usize,
    /// Stopped although there was still work.
    pub stopped_at_work: usize,
    pub decisions: usize,
    pub deciding: Duration,
    pub slowest: Duration,
    /// Seconds in which so many cards had a berth, and in which they worked.
    pub held: f64,
    pub worked: f64,
    /// Requests that wait, as a mean over the first and over the last third of the days.
    pub waiting_first: f64,
    pub waiting_last: f64,
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.withdrawn += other.withdrawn;
        self.stopped += other.stopped;
        self.stopped_at_work += other.stopped_at_work;
        self.decisions += other.decisions;
        self.deciding += other.deciding;
        self.slowest = self.slowest.max(other.slowest);
        self.held += other.held;
        self.worked += other.worked;
        self.waiting_first += other.waiting_first;
        self.waiting_last += other.waiting_last;
    }
}
