//! A node that does what `life::decide` says, and the people on it, from one event to the next.

use crate::stats::{Told, Wait, number};
use crate::traffic::Wish;
use berth::alloc::Slot;
use berth::life::{Action, Asked, Idle, Phase, Rules, Situation, Standing, Ticket, Why, decide, usage};
use berth::model::{CardId, CardWish};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::slice::Iter;
use std::time::{Duration, Instant};

pub struct Node<'a> {
    situation: Situation,
    /// Seconds from the beginning.
    now: u64,
    days: u64,
    /// A berth without work for so long is idle; never, where this is not said.
    idle_after: Option<u64>,
    coming: Peekable<Iter<'a, Wish>>,
    /// Those who wait and those who have a berth, by the number of both.
    wishes: BTreeMap<i64, &'a Wish>,
    /// When the work of a berth is done.
    done_at: BTreeMap<i64, u64>,
    waits: Vec<Wait>,
    told: Told,
}

/// Waits of all who came in those days, and what had to be said for it.
pub fn play(wishes: &[Wish], days: u64, idle_after: Option<u64>) -> (Vec<Wait>, Told) {
    let mut node = Node::new(wishes, days, idle_after);
    while let Some(next) = node.next() {
        node.go_to(next);
        node.settle();
    }
    assert!(node.situation.tickets.is_empty(), "somebody waits, and nothing is going to happen");
    (node.waits, node.told)
}

fn time(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or_default()
}

impl<'a> Node<'a> {
    fn new(wishes: &'a [Wish], days: u64, idle_after: Option<u64>) -> Self {
        let slots = (0..8).map(|id| Slot { id: CardId(id), free: true, link: 0, numa: id / 4 }).collect();
        let situation = Situation {
            now: time(0),
            slots,
            standing: Vec::new(),
            tickets: Vec::new(),
            used: BTreeMap::new(),
            reservations: Vec::new(),
            rules: Rules::default(),
            hold_ends: false,
        };
        Self {
            situation,
            now: 0,
            days,
            idle_after,
            coming: wishes.iter().peekable(),
            wishes: BTreeMap::new(),
            done_at: BTreeMap::new(),
            waits: Vec::new(),
            told: Told::default(),
        }
    }

    /// When something happens again; nothing once nobody waits or comes.
    fn next(&mut self) -> Option<u64> {
        let comes = self.coming.peek().map(|wish| wish.comes);
        if comes.is_none() && self.situation.tickets.is_empty() {
            return None;
        }
        let rules = &self.situation.rules;
        let known = self.situation.standing.iter().flat_map(|berth| {
            let Phase::Live { since } = berth.phase else { return [None; 6] };
            let done = self.done_at.get(&berth.id).copied();
            let idle = done.zip(self.idle_after).map(|(done, after)| done + after);
            let stops_at = berth.asked.map(|asked| asked.stops_at);
            let protected = seconds(since + rules.protected);
            let may_be_asked = protected.saturating_sub(rules.grace.as_secs());
            [berth.until.map(seconds), stops_at.map(seconds), done, idle, Some(protected), Some(may_be_asked)]
        });
        let due = self.situation.tickets.iter().map(|ticket| seconds(ticket.since + rules.longest_wait));
        let later = known.flatten().chain(due).filter(|time| *time > self.now);
        later.chain(comes).min()
    }

    fn go_to(&mut self, next: u64) {
        self.count(next);
        let age = Duration::from_secs(next - self.now);
        for used in self.situation.used.values_mut() {
            *used = usage::decayed(*used, age, self.situation.rules.half_life);
        }
        self.now = next;
        self.situation.now = time(next);
        let done = self.done_at.iter().filter(|(id, done)| **done <= next && self.gives_back(**id));
        for id in done.map(|(id, _)| *id).collect::<Vec<i64>>() {
            self.end(id);
        }
        for berth in &mut self.situation.standing {
            let idle = self
                .done_at
                .get(&berth.id)
                .zip(self.idle_after)
                .filter(|(done, after)| *done + after <= next);
            berth.idle = idle.map(|(done, _)| Idle { since: time(*done), parked: false });
        }
        while let Some(wish) = self.coming.next_if(|wish| wish.comes <= next) {
            self.wishes.insert(wish.id, wish);
            self.situation.tickets.push(ticket(wish));
        }
    }

    fn gives_back(&self, id: i64) -> bool {
        self.wishes.get(&id).is_some_and(|wish| wish.gives_back)
    }

    fn count(&mut self, next: u64) {
        let third = self.days * 86_400 / 3;
        let within = |from: u64, to: u64| number_of(next.min(to).saturating_sub(self.now.max(from)));
        let waiting = number(self.situation.tickets.len());
        let third_seconds = number_of(third);
        self.told.waiting_first += waiting * within(0, third) / third_seconds;
        self.told.waiting_last += waiting * within(2 * third, 3 * third) / third_seconds;
        for berth in &self.situation.standing {
            let cards = number(berth.cards.len());
            let done = self.done_at.get(&berth.id).copied().unwrap_or_default();
            self.told.held += cards * within(0, 3 * third);
            self.told.worked += cards * number_of(next.min(done).min(3 * third).saturating_sub(self.now));
        }
    }

    /// Decides and does, until nothing more is to be done.
    fn settle(&mut self) {
        loop {
            let begun = Instant::now();
            let actions = decide(&self.situation);
            let took = begun.elapsed();
            self.told.decisions += 1;
            self.told.deciding += took;
            self.told.slowest = self.told.slowest.max(took);
            for action in &actions {
                self.act(action);
            }
            if !actions.iter().any(|action| matches!(action, Action::Start { .. } | Action::Stop { .. })) {
                return;
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Start { ticket, cards } => self.start(*ticket, cards),
            Action::Stop { berth, why } => {
                let asked = self.berth(*berth).and_then(|berth| berth.asked);
                let grace = self.situation.rules.grace(*why);
                assert!(asked.is_some_and(|asked| asked.at + grace <= self.situation.now), "not announced");
                self.told.stopped += 1;
                let works = self.done_at.get(berth).is_some_and(|done| *done > self.now);
                self.told.stopped_at_work += usize::from(works);
                self.end(*berth);
            }
            Action::Overtaken { ticket } => {
                for waiting in self.situation.tickets.iter_mut().filter(|waiting| waiting.id == *ticket) {
                    waiting.overtaken += 1;
                }
            }
            Action::Announce { berth, stops_at, why } => {
                self.told.asked += usize::from(*why != Why::Unattended);
                let at = self.situation.now;
                self.say(*berth, |berth| berth.asked = Some(Asked { at, stops_at: *stops_at, why: *why }));
            }
            Action::Withdraw { berth } => {
                self.told.withdrawn += 1;
                self.say(*berth, |berth| berth.asked = None);
            }
            Action::Warn { berth, left, .. } => self.say(*berth, |berth| berth.told_left = Some(*left)),
        }
    }

    fn berth(&mut self, id: i64) -> Option<&mut Standing> {
        self.situation.standing.iter_mut().find(|berth| berth.id == id)
    }

    fn say(&mut self, id: i64, change: impl FnOnce(&mut Standing)) {
        if let Some(berth) = self.berth(id) {
            change(berth);
        }
    }

    fn start(&mut self, id: i64, cards: &[CardId]) {
        let Some(wish) = self.wishes.get(&id).copied() else { return };
        self.situation.tickets.retain(|ticket| ticket.id != id);
        assert_eq!(cards.len(), wish.cards, "not what was wished");
        for slot in self.situation.slots.iter_mut().filter(|slot| cards.contains(&slot.id)) {
            assert!(slot.free, "two on a card");
            slot.free = false;
        }
        self.waits.push(Wait::of(wish, self.now));
        self.done_at.insert(id, self.now + wish.work);
        self.situation.standing.push(standing(wish, self.situation.now, cards));
    }

    fn end(&mut self, id: i64) {
        self.done_at.remove(&id);
        let ended = self.situation.standing.extract_if(.., |berth| berth.id == id);
        for berth in ended.collect::<Vec<Standing>>() {
            for slot in self.situation.slots.iter_mut().filter(|slot| berth.cards.contains(&slot.id)) {
                slot.free = true;
            }
            let Phase::Live { since } = berth.phase else { continue };
            let time = Duration::from_secs(self.now - seconds(since));
            let held = usage::held(berth.cards.len(), time, self.situation.rules.half_life);
            *self.situation.used.entry(berth.owner).or_default() += held;
        }
    }
}

fn ticket(wish: &Wish) -> Ticket {
    Ticket {
        id: wish.id,
        owner: wish.user.clone(),
        wish: CardWish::Count(i64::try_from(wish.cards).unwrap_or(i64::MAX)),
        lease: Some(Duration::from_secs(wish.lease)),
        unattended: false,
        since: time(wish.comes),
        overtaken: 0,
        last: Vec::new(),
    }
}

fn standing(wish: &Wish, since: Timestamp, cards: &[CardId]) -> Standing {
    let lease = Duration::from_secs(wish.lease);
    Standing {
        id: wish.id,
        owner: wish.user.clone(),
        cards: cards.to_vec(),
        phase: Phase::Live { since },
        lease: Some(lease),
        until: Some(since + lease),
        unattended: false,
        asked: None,
        told_left: None,
        locked: false,
        idle: None,
        keeps: 0,
        renewals: 0,
    }
}

/// Seconds as a number with a point.
fn number_of(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64()
}
