//! What is measured of a berth's work, and what is said of a berth that does none.

use super::clock::BootTime;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One look at the work of a berth. A look that did not see all of this is no sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub at: BootTime,
    /// The highest AICore load among its cards, in percent.
    pub aicore: u64,
    /// Memory of its cards, together.
    pub hbm_mib: u64,
    pub hbm_total_mib: u64,
    /// A process holds memory of one of its cards.
    pub held: bool,
    /// CPU cores that its container used in the mean, since the look before.
    pub cores: f64,
    /// The most that went over SSH in a minute, both ways, since the look before.
    pub bytes: u64,
    /// Somebody typed at a terminal since then.
    pub typed: bool,
}

/// What samples of some time say together: the highest of each value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The highest AICore load of a card, in percent.
    pub aicore_percent: u64,
    /// Memory of the cards at the last look.
    pub hbm_mib: u64,
    /// The difference between the most and the least of it.
    pub hbm_change_mib: u64,
    /// CPU cores.
    pub cpu_cores: f64,
    /// Bytes over SSH in a minute, both ways.
    pub ssh_bytes: u64,
    /// How many samples there are in the window, and how many there should be.
    pub samples: usize,
    pub expected: usize,
}

/// A live berth that does nothing, as its owner and administrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdleView {
    pub code: IdleCode,
    pub since: Timestamp,
    pub evidence: Evidence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleCode {
    /// Nobody works in it.
    Idle,
    /// Neither, and a process holds memory of its cards.
    Parked,
}
