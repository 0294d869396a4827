//! `[limits]` of a profile: what every user may have at once, where `berth user limit` says nothing else of them; and
//! `[limits.group.NAME]`, what the members of a group of the node may have.

use super::config::duration_text;
use crate::model::{ProfileLimits, Size, UserLimit};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The directory service is asked about each of them, for each user.
const MOST_GROUPS: usize = 32;

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
    /// By the name of a group of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, GroupLimits>,
}

/// The same, for the members of one group. What is not written is not said of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GroupLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cards: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub berths: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseLimit(
    #[serde(serialize_with = "duration_text::serialize", deserialize_with = "some_time")] pub Duration,
);

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let lease = duration_text::deserialize(deserializer)?;
    if lease < Duration::from_secs(1) {
        return Err(D::Error::custom("lease 0s would let nobody have a berth; write 12h, or leave it out"));
    }
    Ok(lease)
}

impl GroupLimits {
    fn limit(&self) -> UserLimit {
        UserLimit {
            cards: self.cards,
            berths: self.berths,
            lease: self.lease.map(|lease| lease.0.as_secs()),
            memory: self.memory,
        }
    }

    fn problem(&self, name: &str) -> Option<&'static str> {
        // It is shown in reports; a directory service may have nearly any name.
        if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_control() || c == ':') {
            return Some("no group is called so");
        }
        if self.limit() == UserLimit::default() {
            return Some("no limit is said of it; write cards, berths, lease or memory");
        }
        contradiction(&self.limit())
    }
}

/// Of two limits one makes the other mean nothing.
fn contradiction(limit: &UserLimit) -> Option<&'static str> {
    let has_cards = limit.cards.is_some_and(|cards| cards > 0);
    if limit.berths == Some(0) && has_cards {
        return Some("berths = 0 contradicts cards, which are in a berth; leave one of them out");
    }
    if limit.memory == Some(Size(0)) && (has_cards || limit.berths.is_some_and(|berths| berths > 0)) {
        return Some(
            "memory = 0 contradicts cards and berths: every berth has memory; leave one of them out",
        );
    }
    None
}

impl LimitRules {
    pub fn limit(&self) -> UserLimit {
        UserLimit {
            cards: self.cards,
            berths: self.berths,
            lease: self.lease.map(|lease| lease.0.as_secs()),
            memory: self.memory,
        }
    }

    /// What is said of a user in these groups.
    pub fn of(&self, groups: &[String]) -> ProfileLimits {
        let limit = |group: &String| Some((group.clone(), self.group.get(group)?.limit()));
        ProfileLimits { groups: groups.iter().filter_map(limit).collect(), defaults: self.limit() }
    }

    /// Why these values make no sense: the table, and one sentence; `None`: they do.
    pub fn problem(&self) -> Option<(String, String)> {
        let groups = self.group.len();
        if groups > MOST_GROUPS {
            let text = format!("{groups} groups are too many: at most {MOST_GROUPS} may have limits");
            return Some(("limits".into(), text));
        }
        if let Some(text) = contradiction(&self.limit()) {
            return Some(("limits".into(), text.into()));
        }
        let of_group = |(name, limits): (&String, &GroupLimits)| {
            Some((format!("limits.group.{name}"), limits.problem(name)?.to_owned()))
        };
        self.group.iter().find_map(of_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::flatten;
    use crate::host::FakeHost;
    use crate::profile::{Config, load_profile, shipped_profile};

    #[test]
    fn limits_are_read_and_none_is_written() {
        let rules: LimitRules = toml::from_str("cards = 4\nlease = \"12h\"\nmemory = \"64GiB\"\n").unwrap();
        let expected =
            UserLimit { cards: Some(4), berths: None, lease: Some(43_200), memory: Some(Size::gib(64)) };
        assert_eq!((rules.limit(), rules.problem()), (expected, None));
        assert_eq!(LimitRules::default().limit(), UserLimit::default());
        assert!(toml::from_str::<LimitRules>("lease = \"soon\"").is_err());
    }

    fn loaded(limits: &str) -> Result<LimitRules, String> {
        let profile = format!("{}\n[limits]\n{limits}\n", shipped_profile("sim").unwrap());
        let host = FakeHost::default().with_file("/p.toml", &profile);
        let config = Config { profile: "/p.toml".into(), ..Config::default() };
        load_profile(&host, &config).map(|profile| profile.limits).map_err(|error| flatten(&error).message)
    }

    #[test]
    fn groups_have_limits_of_their_own() {
        let text =
            "cards = 2\n[limits.group.staff]\ncards = 8\n[limits.group.\"domain users\"]\nlease = \"4h\"";
        let rules = loaded(text).unwrap();
        let of = rules.of(&["staff".into(), "others".into()]);
        assert_eq!(of.defaults.cards, Some(2));
        let eight = UserLimit { cards: Some(8), ..UserLimit::default() };
        assert_eq!(of.groups, [("staff".to_owned(), eight)]);
        assert_eq!(rules.group["domain users"].limit().lease, Some(4 * 3600));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        // The line after `[limits]`.
        let first = shipped_profile("sim").unwrap().lines().count() + 3;
        for (wrong, line, said) in [
            ("[limits.group.a]\ncrads = 1", 1, "1: unknown field `crads`"),
            ("[limits.group.a]\nlease = \"0s\"", 1, "9: lease 0s would let nobody"),
            ("lease = \"0s\"", 0, "9: lease 0s would let nobody"),
            ("[limits.group.a]\ncards = -1", 1, "9: "),
            ("[limits.group.a]", 0, "1: [limits.group.a] no limit is said of it"),
            (
                "[limits.group.a] # x\nberths = 0\ncards = 2",
                0,
                "1: [limits.group.a] berths = 0 contradicts cards",
            ),
            (
                "[limits.group.a]\ncards = 1\n[ limits.group.\"x:y\" ]\ncards = 2",
                2,
                "1: [limits.group.x:y] no group",
            ),
            ("memory = 0\nberths = 1", -1, "1: [limits] memory = 0 contradicts"),
        ] {
            let error = loaded(wrong).unwrap_err();
            let place = format!("/p.toml:{}:{said}", i64::try_from(first).unwrap() + line);
            assert!(error.starts_with(&place), "{wrong}: {error}, not {place}");
        }
        let many: Vec<String> =
            (0..33).map(|group| format!("[limits.group.g{group}]\ncards = 1\n")).collect();
        assert!(loaded(&many.concat()).unwrap_err().contains("33 groups are too many"));
    }
}
