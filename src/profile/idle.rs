//! `[idle]` of a profile: what counts as no work, and for how long. docs/life.md says why these numbers.

use super::config::duration_text;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdleLimits {
    /// A berth that did nothing for this long is idle. Samples are kept for a day: with a longer window no berth is.
    #[serde(serialize_with = "duration_text::serialize", deserialize_with = "window")]
    pub window: Duration,
    /// Between the announcement and the stop of a berth with a process that holds memory of its cards.
    #[serde(with = "duration_text")]
    pub parked_grace: Duration,
    /// AICore load from which on a card works, in percent.
    #[serde(deserialize_with = "percent")]
    pub aicore_percent: u64,
    /// CPU from which on a container works, in percent of one core for each card.
    #[serde(deserialize_with = "percent")]
    pub cpu_percent: u64,
    /// Change of the cards' memory from which on somebody works, in percent of all of it.
    #[serde(deserialize_with = "percent")]
    pub hbm_percent: u64,
    /// Bytes in a minute over SSH, both ways, from which on somebody works.
    #[serde(deserialize_with = "some_bytes")]
    pub ssh_bytes: u64,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_hours(2),
            parked_grace: Duration::from_hours(1),
            aicore_percent: 5,
            cpu_percent: 5,
            hbm_percent: 1,
            ssh_bytes: 2048,
        }
    }
}

/// A window of less says nothing: samples are taken once a second at most.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);
/// How often a sample is taken,
const EVERY: Duration = Duration::from_mins(1);
/// and at least so many in a window, where that is no more than one a second.
const IN_A_WINDOW: u32 = 12;
const MOST_OFTEN: Duration = Duration::from_secs(1);

impl IdleLimits {
    /// How often a sample is taken.
    pub fn every(&self) -> Duration {
        (self.window / IN_A_WINDOW).clamp(MOST_OFTEN, EVERY)
    }
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let window = duration_text::deserialize(deserializer)?;
    if window < SHORTEST_WINDOW {
        return Err(D::Error::custom(
            "a window of less than 10s says nothing; one of 2days asks no idle berth back",
        ));
    }
    Ok(window)
}

/// Zero would be reached by a berth without any work.
fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let percent = u64::deserialize(deserializer)?;
    if (1..=100).contains(&percent) { Ok(percent) } else { Err(D::Error::custom("write 1 to 100 percent")) }
}

fn some_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes > 0 {
        Ok(bytes)
    } else {
        Err(D::Error::custom("0 bytes are reached without any work; write 1 or more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::flatten;
    use crate::host::FakeHost;
    use crate::profile::{Config, load_profile, shipped_profile};

    fn loaded(idle: &str) -> Result<IdleLimits, String> {
        let profile = format!("{}\n[idle]\n{idle}\n", shipped_profile("sim").unwrap());
        let host = FakeHost::default().with_file("/p.toml", &profile);
        let config = Config { profile: "/p.toml".into(), ..Config::default() };
        let loaded = load_profile(&host, &config).map(|profile| profile.idle);
        loaded.map_err(|error| flatten(&error).message)
    }

    #[test]
    fn limits_without_sense_are_refused_with_their_place() {
        assert_eq!(loaded(""), Ok(IdleLimits::default()));
        assert_eq!(loaded("window = \"1h\"").unwrap().window, Duration::from_hours(1));
        for (wrong, said) in [
            ("window = \"0s\"", ":10: a window of less than 10s"),
            ("window = \"soon\"", ":10: `soon` is not a duration"),
            ("aicore-percent = 0", ":18: write 1 to 100 percent"),
            ("hbm-percent = 101", ":15: write 1 to 100 percent"),
            ("ssh-bytes = 0", ":13: 0 bytes are reached without any work"),
            ("windows = \"1h\"", ":1: unknown field `windows`"),
        ] {
            let error = loaded(wrong).unwrap_err();
            let line = shipped_profile("sim").unwrap().lines().count() + 3;
            assert!(error.contains(&format!("/p.toml:{line}{said}")), "{error}");
        }
    }

    #[test]
    fn a_window_has_many_samples() {
        let every =
            |window| IdleLimits { window: Duration::from_secs(window), ..IdleLimits::default() }.every();
        assert_eq!([every(7200), every(86_400)], [EVERY; 2]);
        assert_eq!(every(120), Duration::from_secs(10));
        assert_eq!(every(10), MOST_OFTEN);
    }
}
