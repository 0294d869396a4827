//! `[limits]` of a profile: what every user may have at once, where `berth user limit` says nothing else of them.

use super::config::duration_text;
use crate::model::{Size, UserLimit};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Nothing is limited where nothing is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitRules {
    /// Cards of all berths of a user together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cards: Option<u32>,
    /// Berths that have not ended, stopped ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub berths: Option<u32>,
    /// The longest lease at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseLimit>,
    /// The memory limits of all berths of a user together that are not stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseLimit(#[serde(with = "duration_text")] pub Duration);

impl LimitRules {
    pub fn limit(&self) -> UserLimit {
        UserLimit {
            cards: self.cards,
            berths: self.berths,
            lease: self.lease.map(|lease| lease.0.as_secs()),
            memory: self.memory,
        }
    }

    /// Why these values make no sense, in one sentence; `None`: they do.
    pub fn problem(&self) -> Option<String> {
        let is_short = self.lease.is_some_and(|lease| lease.0 < Duration::from_secs(1));
        is_short.then(|| "lease 0s would let nobody have a berth; write 12h, or leave it out".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_none_is_written() {
        let rules: LimitRules = toml::from_str("cards = 4\nlease = \"12h\"\nmemory = \"64GiB\"\n").unwrap();
        let expected =
            UserLimit { cards: Some(4), berths: None, lease: Some(43_200), memory: Some(Size::gib(64)) };
        assert_eq!((rules.limit(), rules.problem()), (expected, None));
        assert_eq!(LimitRules::default().limit(), UserLimit::default());
        assert!(toml::from_str::<LimitRules>("lease = \"soon\"").is_err());
        let none: LimitRules = toml::from_str("lease = \"0s\"").unwrap();
        assert!(none.problem().unwrap().starts_with("lease 0s"));
    }
}
