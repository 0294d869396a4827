//! What holds in every situation.

use super::random::situation;
use super::*;
use std::collections::BTreeSet;
use std::ops::Range;

/// In four parts, since tests run beside each other.
#[test]
fn nobody_is_harmed_in_any_situation_1() {
    check(0..5_000);
}

#[test]
fn nobody_is_harmed_in_any_situation_2() {
    check(5_000..10_000);
}

#[test]
fn nobody_is_harmed_in_any_situation_3() {
    check(10_000..15_000);
}

#[test]
fn nobody_is_harmed_in_any_situation_4() {
    check(15_000..20_000);
}

/// A situation for each seed.
fn check(seeds: Range<u64>) {
    let mut seen = Seen::default();
    for seed in seeds {
        let situation = situation(seed);
        let actions = decide(&situation);
        let context = || format!("seed {seed}\n{situation:#?}\n{actions:#?}");
        check_starts(&situation, &actions, &context);
        check_ends(&situation, &actions, &context);
        check_first(&situation, &actions, &context);
        let again = decide(&situation.clone().done(&actions));
        assert_eq!(again, [], "decided again: {}", context());
        seen.count(&situation, &actions);
    }
    seen.check();
}

fn check_starts(situation: &Situation, actions: &[Action], context: &dyn Fn() -> String) {
    let mut taken: BTreeSet<CardId> =
        situation.standing.iter().flat_map(|berth| berth.cards.clone()).collect();
    let mut left: Vec<&Ticket> = situation.tickets.iter().collect();
    for action in actions {
        let Action::Start { ticket, cards } = action else { continue };
        let index = left.iter().position(|waiting| waiting.id == *ticket).unwrap();
        let started = left.remove(index);
        for card in cards {
            assert!(taken.insert(*card), "two on card {card:?}: {}", context());
            assert!(situation.slots.iter().any(|slot| slot.id == *card && slot.free), "{}", context());
        }
        match &started.wish {
            CardWish::Count(count) => assert_eq!(i64::try_from(cards.len()), Ok(*count), "{}", context()),
            CardWish::Ids(ids) => {
                let wished: BTreeSet<i64> = ids.iter().copied().collect();
                let got: BTreeSet<i64> = cards.iter().map(|card| i64::from(card.0)).collect();
                assert_eq!(wished, got, "{}", context());
            }
        }
    }
    // Each of those who stay was overtaken by each later one that started.
    for ticket in &situation.tickets {
        let counted =
            actions.iter().filter(|action| **action == Action::Overtaken { ticket: ticket.id }).count();
        let overtaking = overtaking(situation, ticket, actions);
        assert_eq!(counted, overtaking, "ticket {}: {}", ticket.id, context());
    }
}

/// How many later ones started before this one did.
fn overtaking(situation: &Situation, ticket: &Ticket, actions: &[Action]) -> usize {
    let starts = actions.iter().filter_map(|action| match action {
        Action::Start { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let before = starts.take_while(|started| *started != ticket.id);
    let age =
        |id: i64| situation.tickets.iter().find(|other| other.id == id).map(|other| (other.since, other.id));
    before.filter(|started| age(*started) > Some((ticket.since, ticket.id))).count()
}

fn check_ends(situation: &Situation, actions: &[Action], context: &dyn Fn() -> String) {
    let now = situation.now;
    let berth = |id: &i64| situation.standing.iter().find(|berth| berth.id == *id).unwrap();
    let mut asked = 0;
    for action in actions {
        match action {
            Action::Stop { berth: id, why } => {
                let asked = berth(id).asked.unwrap_or_else(|| panic!("not announced: {}", context()));
                assert!(
                    asked.stops_at <= now && asked.at + situation.rules.grace(*why) <= now,
                    "{}",
                    context()
                );
                assert_eq!(asked.why, *why);
                check_may_end(berth(id), *why, now, now, context);
            }
            Action::Announce { berth: id, stops_at, why } => {
                assert!(*stops_at >= now + situation.rules.grace(*why), "{}", context());
                check_may_end(berth(id), *why, now, *stops_at, context);
                asked += usize::from(*why != Why::Unattended);
            }
            _ => {}
        }
    }
    let is_end = |action: &Action| {
        matches!(action, Action::Warn { .. } | Action::Announce { .. } | Action::Stop { .. })
    };
    assert!(!situation.hold_ends || !actions.iter().any(is_end), "{}", context());
    let reserved: usize = situation.reservations.iter().map(|reserved| reserved.cards).sum();
    let wanted: usize = situation.tickets.iter().map(|ticket| ticket.wish.count()).sum();
    assert!(asked <= reserved + wanted, "more are asked than needed: {}", context());
}

fn check_may_end(
    berth: &Standing,
    why: Why,
    now: Timestamp,
    stops_at: Timestamp,
    context: &dyn Fn() -> String,
) {
    let Phase::Live { since } = berth.phase else { panic!("not live: {}", context()) };
    assert!(!berth.locked, "locked: {}", context());
    assert!(why == Why::Unattended || stops_at >= since + Rules::default().protected, "new: {}", context());
    let is_over = berth.until.is_some_and(|until| until <= now);
    match why {
        Why::Lease => assert!(is_over && !berth.unattended, "{}", context()),
        Why::Idle | Why::Parked => assert!(berth.idle.is_some() && !berth.unattended, "{}", context()),
        Why::Unattended => {
            assert!(berth.unattended && berth.until.is_some_and(|until| until <= stops_at), "{}", context());
        }
    }
}

/// When so many cards have come back, if everybody stays as long as leases allow.
fn earliest_by_lease(situation: &Situation, wish: &CardWish) -> Option<Timestamp> {
    let free_at = |slot: &Slot| match situation.standing.iter().find(|berth| berth.cards.contains(&slot.id)) {
        Some(berth) => berth.end_by_lease(situation.now, &situation.rules),
        None if slot.free => situation.now,
        None => Timestamp::MAX,
    };
    let mut times: Vec<Timestamp> = match wish {
        CardWish::Count(_) => situation.slots.iter().map(free_at).collect(),
        CardWish::Ids(ids) => {
            let is_wished = |slot: &&Slot| ids.contains(&i64::from(slot.id.0));
            situation.slots.iter().filter(is_wished).map(free_at).collect()
        }
    };
    times.sort_unstable();
    times.get(wish.count().checked_sub(1)?).copied().filter(|time| *time != Timestamp::MAX)
}

/// As `places` says it, without the times.
fn first(situation: &Situation) -> Option<i64> {
    let reserved: Vec<_> = reserve::holds(situation).into_iter().map(|(_, hold)| hold).collect();
    hold::first(situation, &order::row(situation), &reserved).map(|(ticket, _)| ticket.id)
}

/// The first ticket can start as early as if nobody had started now.
fn check_first(situation: &Situation, actions: &[Action], context: &dyn Fn() -> String) {
    let Some(first) = first(situation) else { return };
    let ticket = situation.tickets.iter().find(|ticket| ticket.id == first).unwrap();
    let after = situation.clone().done(actions);
    // An older one that was overtaken once too often by these starts is first then.
    let starts = actions.iter().filter(|action| matches!(action, Action::Start { .. })).count();
    let is_older = |other: &&Ticket| (other.since, other.id) < (ticket.since, ticket.id);
    let becomes_due = |other: &&Ticket| {
        let overtaken = usize::try_from(other.overtaken).unwrap();
        overtaken < 20 && overtaken + starts >= 20
    };
    if situation.tickets.iter().filter(is_older).any(|other| becomes_due(&other)) {
        return;
    }
    if !after.tickets.iter().any(|waiting| waiting.id == first) || !situation.reservations.is_empty() {
        return;
    }
    let is_start = |action: &&Action| matches!(action, Action::Start { .. } | Action::Overtaken { .. });
    let others: Vec<Action> = actions.iter().filter(|action| !is_start(action)).cloned().collect();
    let without = earliest_by_lease(&situation.clone().done(&others), &ticket.wish);
    let with = earliest_by_lease(&after, &ticket.wish);
    assert!(without.is_none() || with.is_some() && with <= without, "{with:?} {without:?} {}", context());
}

/// That the generator reaches what is checked.
#[derive(Debug, Default)]
struct Seen {
    starts: usize,
    overtaken: usize,
    withdrawn: usize,
    warned: usize,
    announced: [usize; 4],
    stopped: [usize; 4],
    /// The first waits, and somebody else starts.
    beside_first: usize,
}

impl Seen {
    fn count(&mut self, situation: &Situation, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Start { .. } => self.starts += 1,
                Action::Overtaken { .. } => self.overtaken += 1,
                Action::Withdraw { .. } => self.withdrawn += 1,
                Action::Warn { .. } => self.warned += 1,
                Action::Announce { why, .. } => self.announced[*why as usize] += 1,
                Action::Stop { why, .. } => self.stopped[*why as usize] += 1,
            }
        }
        let started =
            |id: i64| actions.iter().any(|a| matches!(a, Action::Start { ticket, .. } if *ticket == id));
        let waits = first(situation).is_some_and(|first| !started(first));
        self.beside_first += usize::from(waits && actions.iter().any(|a| matches!(a, Action::Start { .. })));
    }

    fn check(&self) {
        let least = [self.starts, self.overtaken, self.withdrawn, self.warned, self.beside_first];
        let all = least.iter().chain(&self.announced).chain(&self.stopped);
        assert!(all.min() > Some(&2), "{self:?}");
    }
}
