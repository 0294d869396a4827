//! What cards did, counted in memory until it is written to the ledger.

use crate::ledger::UsageKey;
use crate::model::{Berth, CardId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time since the last write, by day, owner, image and card.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spent(BTreeMap<UsageKey, Times>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    used: Duration,
    idle_wanted: Duration,
}

impl Spent {
    /// Counts a time that ended at `wall`: each of a berth's cards that works, and all of them where it is idle while
    /// others wait.
    pub(super) fn add(
        &mut self,
        berth: &Berth,
        wall: Timestamp,
        time: Duration,
        is_idle_wanted: bool,
        works: impl Fn(CardId) -> bool,
    ) {
        let day = wall.to_zoned(TimeZone::system()).date().to_string();
        for card in &berth.cards {
            let used = if works(*card) { time } else { Duration::ZERO };
            let idle_wanted = if is_idle_wanted { time } else { Duration::ZERO };
            if used.is_zero() && idle_wanted.is_zero() {
                continue;
            }
            let key = UsageKey {
                day: day.clone(),
                owner: berth.owner.clone(),
                image: berth.image.clone(),
                card: *card,
            };
            self.count(key, Times { used, idle_wanted });
        }
    }

    fn count(&mut self, key: UsageKey, times: Times) {
        let sum = self.0.entry(key).or_default();
        sum.used = sum.used.saturating_add(times.used);
        sum.idle_wanted = sum.idle_wanted.saturating_add(times.idle_wanted);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, times) in other.0 {
            self.count(key, times);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Milliseconds that cards were used, and that they were idle while others waited.
    pub(super) fn rows(&self) -> Vec<(UsageKey, u64, u64)> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0
            .iter()
            .map(|(key, times)| (key.clone(), millis(times.used), millis(times.idle_wanted)))
            .collect()
    }
}
