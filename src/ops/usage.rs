//! `berth usage`: how long cards were held, worked, and were idle while others waited.
//!
//! Held time comes from the ledger's holdings and is exact. The others are counted from samples, and written every few
//! minutes: an agent that is killed loses that much of them.

use super::Node;
use crate::error::Fault;
use crate::ledger::{Held, UsageKey};
use crate::life::time::between;
use anyhow::Result;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// No answer goes further back.
const LONGEST: Duration = Duration::from_hours(366 * 24);
/// What is counted where nobody says since when.
const DEFAULT: Duration = Duration::from_hours(7 * 24);

/// By what it is summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageBy {
    #[default]
    User,
    Day,
    Image,
    Card,
}

/// `GET /v1/usage`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// Seconds back from now; seven days where it is not said.
    pub since: Option<u64>,
    pub by: UsageBy,
    /// Only this user's.
    pub user: Option<String>,
}

/// Card-seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The user, the day as `2026-12-01`, the image, or the card.
    pub key: String,
    pub held: u64,
    pub used: u64,
    /// Idle while somebody waited for cards.
    pub idle_wanted: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The beginning of a day on the node's calendar.
    pub since: Timestamp,
    pub until: Timestamp,
    pub by: UsageBy,
    pub rows: Vec<UsageRow>,
}

impl Node {
    /// Writes what was counted since the last time.
    pub async fn write_usage(&self) -> Result<()> {
        let spent = self.samples.spent();
        if spent.is_empty() {
            return Ok(());
        }
        let rows = spent.rows();
        let written = self.ledger(move |ledger| ledger.add_usage(&rows)).await;
        if written.is_err() {
            self.samples.spend_again(spent);
        }
        written
    }

    /// Every user may see who used how much, as everybody sees who waits.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Usage> {
        let asked = query.since.map_or(DEFAULT, Duration::from_secs);
        if asked > LONGEST {
            return Err(Fault::usage("usage is counted for 366 days back at most").into());
        }
        self.write_usage().await?;
        let (now, zone) = (self.now().wall, TimeZone::system());
        let since = day_of(now.checked_sub(SignedDuration::try_from(asked)?)?, &zone)?;
        let first = since.to_zoned(zone.clone()).date().to_string();
        let (held, counted) = self
            .ledger(move |ledger| Ok((ledger.holdings_after(since)?, ledger.usage_since(&first)?)))
            .await?;
        let mut sums = Sums { by: query.by, user: query.user.as_deref(), by_key: BTreeMap::new() };
        for held in held {
            sums.hold(&held, since, now, &zone)?;
        }
        for (key, used, idle_wanted) in counted {
            sums.add(&key, 0, used, idle_wanted);
        }
        Ok(Usage { since, until: now, by: query.by, rows: sums.rows() })
    }
}

/// The beginning of the day.
fn day_of(at: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    Ok(at.to_zoned(zone.clone()).start_of_day()?.timestamp())
}

struct Sums<'a> {
    by: UsageBy,
    user: Option<&'a str>,
    /// Milliseconds: held, used, idle while wanted.
    by_key: BTreeMap<Key, [u64; 3]>,
}

/// In the order in which it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Card(u32),
    Text(String),
}

impl Sums<'_> {
    fn add(&mut self, of: &UsageKey, held: u64, used: u64, idle_wanted: u64) {
        if self.user.is_some_and(|user| user != of.owner) {
            return;
        }
        let key = match self.by {
            UsageBy::User => Key::Text(of.owner.clone()),
            UsageBy::Day => Key::Text(of.day.clone()),
            UsageBy::Image => Key::Text(of.image.clone()),
            UsageBy::Card => Key::Card(of.card.0),
        };
        let sums = self.by_key.entry(key).or_default();
        for (sum, more) in sums.iter_mut().zip([held, used, idle_wanted]) {
            *sum = sum.saturating_add(more);
        }
    }

    /// A time that a card was held, day by day.
    fn hold(&mut self, held: &Held, since: Timestamp, now: Timestamp, zone: &TimeZone) -> Result<()> {
        let end = held.until.unwrap_or(now).min(now);
        let mut from = held.since.max(since);
        while from < end {
            let day = from.to_zoned(zone.clone());
            let next = day.start_of_day()?.checked_add(Span::new().days(1))?.timestamp();
            let until = next.min(end);
            let key = UsageKey {
                day: day.date().to_string(),
                owner: held.owner.clone(),
                image: held.image.clone(),
                card: held.card,
            };
            self.add(&key, millis(between(from, until)), 0, 0);
            from = until;
        }
        Ok(())
    }

    fn rows(self) -> Vec<UsageRow> {
        let row = |(key, [held, used, idle_wanted]): (Key, [u64; 3])| UsageRow {
            key: match key {
                Key::Card(card) => card.to_string(),
                Key::Text(text) => text,
            },
            held: held / 1000,
            used: used / 1000,
            idle_wanted: idle_wanted / 1000,
        };
        self.by_key.into_iter().map(row).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CardId;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held(card: u32, since: &str, until: Option<&str>) -> Held {
        Held {
            owner: if card < 4 { "alice" } else { "bob" }.into(),
            image: "base".into(),
            card: CardId(card),
            since: at(since),
            until: until.map(at),
        }
    }

    fn summed(by: UsageBy, user: Option<&str>) -> Vec<(String, u64)> {
        let mut sums = Sums { by, user, by_key: BTreeMap::new() };
        let now = at("2026-12-03T12:00:00Z");
        for held in [
            held(0, "2026-12-01T20:00:00Z", Some("2026-12-02T02:00:00Z")),
            held(10, "2026-12-03T11:00:00Z", None),
            // Before the time that is asked about, and into it.
            held(2, "2026-11-20T00:00:00Z", Some("2026-12-01T01:00:00Z")),
        ] {
            sums.hold(&held, at("2026-12-01T00:00:00Z"), now, &TimeZone::UTC).unwrap();
        }
        sums.rows().into_iter().map(|row| (row.key, row.held / 3600)).collect()
    }

    fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
        rows.iter().map(|(key, hours)| ((*key).to_owned(), *hours)).collect()
    }

    #[test]
    fn time_is_summed_by_user_day_image_and_card() {
        assert_eq!(summed(UsageBy::User, None), named(&[("alice", 7), ("bob", 1)]));
        let days = [("2026-12-01", 5), ("2026-12-02", 2), ("2026-12-03", 1)];
        assert_eq!(summed(UsageBy::Day, None), named(&days));
        assert_eq!(summed(UsageBy::Image, None), named(&[("base", 8)]));
        assert_eq!(summed(UsageBy::Card, None), named(&[("0", 6), ("2", 1), ("10", 1)]));
        assert_eq!(summed(UsageBy::Card, Some("bob")), named(&[("10", 1)]));
    }
}
