//! `[lease]` of a profile: what happens to leases that end, and how long a stopped berth is kept. docs/life.md says why
//! these numbers.

use super::KeepFree;
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
    pub longest_renewal_while_wanted: Duration,
    /// How long a stopped berth's container is kept.
    #[serde(with = "duration_text")]
    pub keep_stopped: Duration,
    /// How much of the disk with the containers stays free. Below it, stopped berths are released sooner.
    pub keep_free: KeepFree,
    /// Between the announcement that a stopped berth is released sooner and its release.
    #[serde(with = "duration_text")]
    pub release_notice: Duration,
    /// After this time, no later request is served before a waiting one.
    #[serde(with = "duration_text")]
    pub longest_wait: Duration,
    /// How many may be served before a request that came first.
    pub most_overtaken: u32,
    /// Within which time somebody has to log in to a berth that waited without a connection.
    #[serde(with = "duration_text")]
    pub confirm: Duration,
    /// In which time the card-hours of the past count half.
    #[serde(with = "duration_text")]
    pub half_life: Duration,
}

impl Default for LeaseRules {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(15),
            first_warning: Duration::from_hours(2),
            protected: Duration::from_mins(30),
            stop_time: Duration::from_mins(1),
            longest_renewal_while_wanted: Duration::from_hours(4),
            keep_stopped: Duration::from_hours(7 * 24),
            keep_free: KeepFree::Percent(5),
            release_notice: Duration::from_hours(24),
            longest_wait: Duration::from_hours(12),
            most_overtaken: 20,
            confirm: Duration::from_mins(15),
            half_life: Duration::from_hours(3 * 24),
        }
    }
}

/// A stop may hold nothing else up for longer.
const LONGEST_STOP: Duration = Duration::from_mins(10);

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
        if self.release_notice < self.grace {
            return Some(format!(
                "release-notice {} is shorter than grace {}: a release cannot be taken back, so write at least as much; 24h is the \
                 default",
                said(self.release_notice),
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
        assert!(
            wrong(LeaseRules { stop_time: Duration::from_hours(1), ..defaults() })
                .starts_with("stop-time 1h")
        );
        let short = LeaseRules { keep_stopped: Duration::from_mins(1), ..defaults() };
        assert!(wrong(short).starts_with("keep-stopped 1m is shorter than grace 15m"));
        let sudden = LeaseRules { release_notice: Duration::from_mins(1), ..defaults() };
        assert!(wrong(sudden).starts_with("release-notice 1m is shorter than grace 15m"));
    }

    #[test]
    fn what_stays_free_is_refused_with_its_place() {
        let read =
            |text: &str| crate::profile::parse_toml::<LeaseRules>(std::path::Path::new("/p.toml"), text);
        let keep_free = |text: &str| read(text).map(|rules| rules.keep_free);
        assert_eq!(keep_free("").unwrap(), KeepFree::Percent(5));
        assert_eq!(keep_free("keep-free = \"20GiB\"").unwrap(), KeepFree::Bytes(crate::model::Size::gib(20)));
        for (wrong, said) in [
            (
                "grace = \"1m\"\nkeep-free = \"80%\"\n",
                "/p.toml:2:13: `80%` is no part of a disk; write 0% to 50%",
            ),
            ("keep-free = \"much\"\n", "/p.toml:1:13: `much` is no part of a disk"),
            ("keep-free = -1\n", "/p.toml:1:13: "),
            ("keep-fre = \"5%\"\n", "/p.toml:1:1: unknown field `keep-fre`"),
        ] {
            let fault = crate::error::flatten(&read(wrong).unwrap_err());
            assert!(fault.message.starts_with(said), "{}", fault.message);
        }
    }
}
