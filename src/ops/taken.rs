//! Events about others than berths that take cards and give them back. Each change is an event of its own while
//! there are few. Further ones are only counted, because anybody who may start containers can start any number of
//! them, and events are kept for ever.

use super::{Caller, Node};
use crate::model::clock::BootTime;
use crate::model::rate::Rate;
use crate::model::{CardId, Holder, card};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many changes of one look become events of their own.
const MOST_AT_ONCE: usize = 16;
/// How many events are allowed at once, and how long until one more is.
const BURST: u32 = 64;
const REFILL: Duration = Duration::from_secs(30);

/// The identity of a holder, whichever of its processes was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Who {
    Container(String),
    Cgroup(String),
}

impl Who {
    pub(super) fn of(holder: &Holder) -> Option<Self> {
        match holder {
            Holder::Container { id, .. } => Some(Self::Container(id.clone())),
            Holder::Cgroup { path, .. } => Some(Self::Cgroup(path.clone())),
            _ => None,
        }
    }
}

/// The holders that were seen last, and the changes that were only counted.
#[derive(Debug)]
pub struct Taken {
    known: BTreeMap<(CardId, Who), Holder>,
    rate: Rate<BootTime>,
    untold: Untold,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Untold {
    taken: usize,
    given_back: usize,
    cards: BTreeSet<CardId>,
}

/// What one look changed.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    /// Kind and text.
    events: Vec<(&'static str, String)>,
    freed: bool,
    changed: bool,
}

impl Default for Taken {
    fn default() -> Self {
        // Nothing was told since the machine was started.
        let rate = Rate::new(BURST, REFILL, BootTime::default());
        Self { known: BTreeMap::new(), rate, untold: Untold::default() }
    }
}

impl Taken {
    fn look(&mut self, held: &[(CardId, Holder)], now: BootTime) -> News {
        // Who may have one is another process at each look, and nobody says that they do.
        let sure = held.iter().filter(|(_, holder)| holder.is_sure());
        let seen: BTreeMap<(CardId, Who), Holder> =
            sure.filter_map(|(card, holder)| Some(((*card, Who::of(holder)?), holder.clone()))).collect();
        let known = std::mem::take(&mut self.known);
        let is_new = |who: &(CardId, Who), holder: &Holder| {
            // The kernel may know a container before its engine says what it is called.
            known.get(who).is_none_or(|before| !is_named(before) && is_named(holder))
        };
        let new = seen.iter().filter(|(who, holder)| is_new(who, holder));
        let gone: Vec<_> = known.iter().filter(|(who, _)| !seen.contains_key(who)).collect();
        let mut news = News { freed: !gone.is_empty(), ..News::default() };
        let mut changes = 0_usize;
        let new = new.map(|((card, _), holder)| (*card, true, format!("card {card} is held by {holder}")));
        let gone = gone
            .into_iter()
            .map(|((card, _), holder)| (*card, false, format!("card {card} is no longer held by {holder}")));
        for (card, is_new, text) in new.chain(gone) {
            changes += 1;
            if changes <= MOST_AT_ONCE && self.untold == Untold::default() && self.rate.take(now) {
                news.events.push((if is_new { "card.taken" } else { "card.given-back" }, text));
            } else {
                self.untold.add(card, is_new);
            }
        }
        if self.untold != Untold::default() && self.rate.take(now) {
            news.events.push(std::mem::take(&mut self.untold).event());
        }
        news.changed = changes > 0;
        self.known = seen;
        news
    }
}

fn is_named(holder: &Holder) -> bool {
    !matches!(holder, Holder::Container { name, .. } if name.is_empty())
}

impl Untold {
    fn add(&mut self, card: CardId, is_new: bool) {
        self.cards.insert(card);
        let count = if is_new { &mut self.taken } else { &mut self.given_back };
        *count = count.saturating_add(1);
    }

    fn event(self) -> (&'static str, String) {
        let Self { taken, given_back, cards } = self;
        let cards = card::named(&cards.into_iter().collect::<Vec<_>>());
        let kind = if taken > 0 { "card.taken" } else { "card.given-back" };
        (
            kind,
            format!(
                "more holders than are told one by one: {cards} taken {taken} times, given back {given_back} times"
            ),
        )
    }
}

impl Node {
    /// Reports what changed since the last look.
    pub(super) async fn report_holders(&self, taken: &mut Taken, held: &[(CardId, Holder)]) -> Result<()> {
        let news = taken.look(held, self.now().boot);
        for (kind, text) in news.events {
            let event = self.event(kind, &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        if news.freed {
            self.tell_freed();
        }
        if news.changed {
            self.pulse.cards_moved.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::holder::ContainerReason;

    fn container(number: u32) -> Holder {
        let (name, image) = (format!("n{number}"), "i".to_owned());
        Holder::Container { id: format!("{number:064x}"), name, image, reason: ContainerReason::Device }
    }

    #[test]
    fn each_is_told_once_whichever_process_is_seen() {
        let now = BootTime::default();
        let mut taken = Taken::default();
        let cgroup =
            |pid| Holder::Cgroup { path: "/x".into(), pid: Some(pid), reason: ContainerReason::DeviceRule };
        let news = taken.look(&[(CardId(3), container(1)), (CardId(4), cgroup(7))], now);
        let texts = [
            "card 3 is held by container n1 (i, has its device)",
            "card 4 is held by cgroup /x (process 7, may open its device, by its device cgroup)",
        ];
        assert_eq!(news.events, texts.map(|text| ("card.taken", text.to_owned())));
        assert!(news.changed && !news.freed);
        let unsure = Holder::More { count: 7, sure: false };
        assert_eq!(
            taken.look(&[(CardId(3), container(1)), (CardId(4), cgroup(8)), (CardId(5), unsure)], now),
            News::default()
        );
        let news = taken.look(&[(CardId(3), container(1))], now);
        assert!(news.changed && news.freed);
        assert_eq!(news.events[0].0, "card.given-back");
        assert!(news.events[0].1.starts_with("card 4 is no longer held by cgroup /x"), "{news:?}");
    }

    #[test]
    fn a_container_is_told_again_with_its_name() {
        let now = BootTime::default();
        let mut taken = Taken::default();
        let mut unnamed = container(1);
        if let Holder::Container { name, image, .. } = &mut unnamed {
            name.clear();
            image.clear();
        }
        assert_eq!(taken.look(&[(CardId(3), unnamed)], now).events.len(), 1);
        for told in [1, 0] {
            assert_eq!(taken.look(&[(CardId(3), container(1))], now).events.len(), told);
        }
    }

    #[test]
    fn a_thousand_containers_are_a_few_events() {
        let now = BootTime::default();
        let mut taken = Taken::default();
        let all: Vec<_> = (0..1000).map(|number| (CardId(number % 2), container(number))).collect();
        let news = taken.look(&all, now);
        assert_eq!(news.events.len(), MOST_AT_ONCE + 1);
        let (kind, text) = news.events.last().unwrap();
        assert_eq!(
            (*kind, text.as_str()),
            (
                "card.taken",
                "more holders than are told one by one: cards 0,1 taken 984 times, given back 0 times"
            )
        );
    }

    #[test]
    fn who_starts_and_stops_them_all_the_time_is_two_a_minute() {
        let start = BootTime::default();
        let (mut taken, mut events, mut last) = (Taken::default(), 0, None);
        for look in 0..3_600_u32 {
            let held: Vec<_> = (0..20).map(|number| (CardId(0), container(look * 20 + number))).collect();
            let news = taken.look(&held, start + Duration::from_secs(look.into()));
            events += news.events.len();
            last = news.events.into_iter().next_back().or(last);
        }
        assert!(events <= 64 + 3_600 / 30, "{events}");
        // Nobody is left out of the counts.
        let (_, text) = last.unwrap();
        assert!(text.ends_with("card 0 taken 600 times, given back 600 times"), "{text}");
    }
}
