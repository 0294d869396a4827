//! Events that are older than the config keeps them: counted by month, and removed. And what was counted.

use super::history::seen_by;
use super::ration::Act;
use super::{Caller, Node};
use crate::ledger::{EventFilter, EventSum};
use anyhow::Result;
use jiff::SignedDuration;
use std::time::Duration;

/// How many transactions one look makes at most, each for up to 1000 events. The next look goes on.
const MOST_BATCHES: u32 = 200;

impl Node {
    /// The sums that the caller may see, and how long events are kept one by one; `None`: for ever.
    pub async fn event_summary(
        &self,
        caller: &Caller,
        filter: EventFilter,
    ) -> Result<(Vec<EventSum>, Option<Duration>)> {
        self.ration(caller, Act::Events)?;
        let filter = seen_by(caller, filter)?;
        let keep = self.settings().config.events.keep();
        Ok((self.ledger(move |ledger| ledger.event_summary(&filter)).await?, keep))
    }

    /// Sums up what is older than the config says. Nothing while the clock was just set, because age is what it says, and
    /// nothing while the disk is full, because releases need the room that is kept.
    pub async fn sum_up_events(&self) -> Result<()> {
        let Some(keep) = self.settings().config.events.keep() else { return Ok(()) };
        if self.ends_are_held() || self.check_room().await.is_err() {
            return Ok(());
        }
        let now = self.now().wall;
        let Ok(before) = now.checked_sub(SignedDuration::try_from(keep)?) else { return Ok(()) };
        let mut all = 0;
        for _ in 0..MOST_BATCHES {
            match self.ledger(move |ledger| ledger.compact_events(before, now)).await? {
                0 => break,
                count => all += count,
            }
        }
        if all > 0 {
            let text = format!(
                "{all} events from before {before:.0} are counted by month, and no longer kept one by one"
            );
            let event = self.event("events.counted", &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorClass, flatten};
    use crate::host::clock::TestClock;
    use crate::profile::EventAge;
    use std::sync::Arc;

    fn kept_for(node: &Node, days: u64) {
        let mut settings = (*node.settings()).clone();
        settings.config.events.keep = Some(EventAge(Duration::from_hours(24 * days)));
        node.set_settings(Arc::new(settings));
    }

    async fn kinds(node: &Node) -> Vec<String> {
        let events = node.events(&Caller::agent(), 0, 100).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }

    #[tokio::test]
    async fn events_are_kept_for_ever_until_the_config_says_how_long() {
        let clock = TestClock::at("2026-01-01T08:00:00Z");
        let (node, _dir) = Node::for_test(clock.clone());
        for kind in ["a", "b"] {
            node.tell(kind, "x").await;
        }
        clock.pass(Duration::from_hours(100 * 24));
        node.tell("c", "x").await;
        node.sum_up_events().await.unwrap();
        assert_eq!(kinds(&node).await, ["a", "b", "c"]);
        kept_for(&node, 90);
        node.sum_up_events().await.unwrap();
        assert_eq!(kinds(&node).await, ["c", "events.counted"]);
        node.sum_up_events().await.unwrap();
        assert_eq!(kinds(&node).await, ["c", "events.counted"], "and nothing is told of nothing");
        let (sums, keep) = node.event_summary(&Caller::agent(), EventFilter::default()).await.unwrap();
        let said: Vec<_> =
            sums.iter().map(|sum| (sum.month.as_str(), sum.kind.as_str(), sum.count)).collect();
        assert_eq!(said, [("2026-01", "a", 1), ("2026-01", "b", 1)]);
        assert_eq!(keep, Some(Duration::from_hours(90 * 24)));
        // A user sees their own alone.
        let alice = Caller { name: "alice".into(), admin: false, user: Some("alice".into()) };
        assert!(node.event_summary(&alice, EventFilter::default()).await.unwrap().0.is_empty());
        let fault = node.event_summary(&alice, EventFilter::of_owner(Some("bob"))).await.unwrap_err();
        assert_eq!(flatten(&fault).class, ErrorClass::Refused);
    }
}
