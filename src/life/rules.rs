//! The numbers of the policy, and what they are where nobody says otherwise.

use super::Why;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// All of them are the profile's `[lease]`, by the same names, where a profile may set them. The window in which a berth
/// counts as idle is not among them: the caller measures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// A ticket that has waited this long becomes first.
    pub longest_wait: Duration,
    /// So does one that was overtaken this often.
    pub most_overtaken: u32,
    /// Card-hours count half after this time.
    pub half_life: Duration,
    /// A berth counts as held for at least this long, so that nobody takes ten at once.
    pub entry_penalty: Duration,
    /// From the announcement of a stop to the stop.
    pub grace: Duration,
    /// The same for a berth that has a model loaded and does not work.
    pub parked_grace: Duration,
    /// A berth is not asked back to an end before it was live this long.
    pub protected: Duration,
    /// The first warning comes at a quarter of the lease, and no earlier than this before its end.
    pub first_warning: Duration,
    /// The others.
    pub later_warnings: Vec<Duration>,
    /// How long before its end an unattended berth is told to write its checkpoint.
    pub terminate_before: Duration,
    /// Whoever has more cards than this is asked first for the berths beyond it.
    pub soft_cards: usize,
    /// How often an owner may keep idle cards that are asked back, in one lease.
    pub keeps: u32,
    /// How often a lease may be renewed while somebody waits for its cards, and for how long at most.
    pub renewals_while_wanted: u32,
    pub longest_renewal_while_wanted: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            longest_wait: Duration::from_secs(12 * HOUR),
            most_overtaken: 20,
            half_life: Duration::from_secs(72 * HOUR),
            entry_penalty: Duration::from_secs(2 * HOUR),
            grace: Duration::from_secs(15 * MINUTE),
            parked_grace: Duration::from_secs(HOUR),
            protected: Duration::from_secs(30 * MINUTE),
            first_warning: Duration::from_secs(2 * HOUR),
            later_warnings: vec![Duration::from_secs(30 * MINUTE), Duration::from_secs(5 * MINUTE)],
            terminate_before: Duration::from_secs(10 * MINUTE),
            soft_cards: 4,
            keeps: 2,
            renewals_while_wanted: 1,
            longest_renewal_while_wanted: Duration::from_secs(4 * HOUR),
        }
    }
}

impl Rules {
    /// May an owner who kept it so often in this lease keep it once more, although it was asked back as idle?
    pub fn may_keep(&self, keeps: u32) -> bool {
        keeps < self.keeps
    }

    /// From the announcement of a stop for this reason to the stop.
    pub fn grace(&self, why: Why) -> Duration {
        match why {
            Why::Lease | Why::Idle | Why::Unattended => self.grace,
            Why::Parked => self.parked_grace,
        }
    }
}
