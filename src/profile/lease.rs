//! `[lease]` of a profile: what happens to leases that end, and how long a stopped berth is kept. docs/life.md says why
//! these numbers.

use super::config::duration_text;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LeaseRules {
    /// Between the announcement that a berth will be stopped and the stop.
    #[serde(with = "duration_text")]
    pub grace: Duration,
    /// How long before the end of its lease a berth that nobody waits for is told; of a shorter lease, a quarter.
    #[serde(with = "duration_text")]
    pub first_warning: Duration,
    /// For this time after its making or start, a berth is not asked to give its cards back.
    #[serde(with = "duration_text")]
    pub protected: Duration,
    /// What processes get between SIGTERM and SIGKILL when a lease ends.
    #[serde(with = "duration_text")]
    pub stop_time: Duration,
    /// The longest renewal while somebody waits for cards, once in a lease.
    #[serde(with = "duration_text")]
    pub renewal_under_demand: Duration,
    /// How long a stopped berth's container is kept.
    #[serde(with = "duration_text")]
    pub keep_stopped: Duration,
    /// After this time, no later request is served before a waiting one.
    #[serde(with = "duration_text")]
    pub overtaking: Duration,
    /// How many later requests may be served before an earlier one.
    pub overtaken: u32,
    /// The half-life of past card-hours: after this time they count half.
    #[serde(with = "duration_text")]
    pub half_life: Duration,
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

impl Default for LeaseRules {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(15 * 60),
            first_warning: hours(2),
            protected: Duration::from_secs(30 * 60),
            stop_time: Duration::from_secs(60),
            renewal_under_demand: hours(4),
            keep_stopped: hours(7 * 24),
            overtaking: hours(12),
            overtaken: 20,
            half_life: hours(3 * 24),
        }
    }
}

/// A stop may hold nothing else up for longer.
const LONGEST_STOP: Duration = Duration::from_secs(600);

impl LeaseRules {
    /// Why these values contradict each other, in one sentence; `None`: they do not.
    pub fn problem(&self) -> Option<String> {
        let said = |time: Duration| humantime::format_duration(time).to_string();
        if self.half_life.is_zero() {
            return Some("half-life 0s would forget every use at once; write 3days".into());
        }
        if self.stop_time > LONGEST_STOP {
            return Some(format!(
                "stop-time {} is too long; write at most {}",
                said(self.stop_time),
                said(LONGEST_STOP)
            ));
        }
        if self.keep_stopped < self.grace {
            return Some(format!(
                "keep-stopped {} is shorter than grace {}: a stopped berth would be gone sooner than its stop was announced",
                said(self.keep_stopped),
                said(self.grace)
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_contradict_each_other_are_named() {
        assert_eq!(LeaseRules::default().problem(), None);
        let wrong = |rules: LeaseRules| rules.problem().unwrap();
        let defaults = LeaseRules::default;
        assert!(wrong(LeaseRules { half_life: Duration::ZERO, ..defaults() }).starts_with("half-life 0s"));
        assert!(wrong(LeaseRules { stop_time: hours(1), ..defaults() }).starts_with("stop-time 1h"));
        let short = LeaseRules { keep_stopped: Duration::from_secs(60), ..defaults() };
        assert!(wrong(short).starts_with("keep-stopped 1m is shorter than grace 15m"));
    }
}
