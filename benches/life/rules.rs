//! The rules that `decide` is compared with. Nobody is asked back in them: a berth ends when its work is done.

use crate::stats::Wait;
use crate::traffic::{Random, Wish};

const CARDS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody who waits tries again at every end: who comes first is chance.
    Race,
    /// First come, first served, past the first one only who does not delay it by what leases say.
    Easy,
}

struct Running {
    cards: usize,
    ends: u64,
    until: u64,
}

pub fn play(rule: Rule, wishes: &[Wish], seed: u64) -> Vec<Wait> {
    let mut random = Random(seed);
    let mut coming = wishes.iter().peekable();
    let mut waiting: Vec<&Wish> = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let mut waits = Vec::new();
    loop {
        let next_end = running.iter().map(|berth| berth.ends).min();
        let next = coming.peek().map(|wish| wish.comes);
        let Some(now) = next_end.into_iter().chain(next).min() else { return waits };
        running.retain(|berth| berth.ends > now);
        while let Some(wish) = coming.next_if(|wish| wish.comes <= now) {
            waiting.push(wish);
        }
        if rule == Rule::Race {
            shuffle(&mut waiting, &mut random);
        }
        while let Some(index) = startable(rule, now, &waiting, &running) {
            let wish = waiting.remove(index);
            running.push(Running { cards: wish.cards, ends: now + wish.work, until: now + wish.lease });
            waits.push(Wait::of(wish, now));
        }
    }
}

fn startable(rule: Rule, now: u64, waiting: &[&Wish], running: &[Running]) -> Option<usize> {
    let free = CARDS - running.iter().map(|berth| berth.cards).sum::<usize>();
    let head = waiting.first()?;
    if rule == Rule::Race || head.cards <= free {
        return waiting.iter().position(|wish| wish.cards <= free);
    }
    let (shadow, spare) = shadow(head, free, running);
    waiting.iter().position(|wish| wish.cards <= free && (now + wish.lease <= shadow || wish.cards <= spare))
}

/// When the head can start by what leases say, and how many cards it leaves over then.
fn shadow(head: &Wish, mut free: usize, running: &[Running]) -> (u64, usize) {
    let mut ends: Vec<(u64, usize)> = running.iter().map(|berth| (berth.until, berth.cards)).collect();
    ends.sort_unstable();
    for (until, cards) in ends {
        free += cards;
        if free >= head.cards {
            return (until, free - head.cards);
        }
    }
    (u64::MAX, 0)
}

fn shuffle(waiting: &mut [&Wish], random: &mut Random) {
    for index in (1..waiting.len()).rev() {
        let other = random.below(u64::try_from(index).unwrap_or_default() + 1);
        waiting.swap(index, usize::try_from(other).unwrap_or_default());
    }
}
