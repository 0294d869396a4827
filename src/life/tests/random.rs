//! Situations that somebody unkind would think of, each from its seed.

use super::*;

/// Splitmix64: small, and the same everywhere.
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()].clone()
    }
}

const OWNERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

pub(super) fn situation(seed: u64) -> Situation {
    let random = &mut Random(seed);
    let mut situation = node(random);
    let mut cards: Vec<CardId> = situation.slots.iter().map(|slot| slot.id).collect();
    let mut id = 0;
    while !cards.is_empty() && !random.one_in(4) {
        let count = 1 + usize::try_from(random.below(cards.len() as u64)).unwrap();
        let taken = cards.split_off(cards.len() - count.min(4));
        id += 1;
        if random.one_in(6) {
            continue;
        }
        situation = situation.with([standing(random, id, taken)]);
    }
    for slot in &mut situation.slots {
        // Somebody else has it, or it is sick.
        slot.free &= !random.one_in(12);
    }
    for id in 0..i64::try_from(random.below(7)).unwrap() {
        situation.tickets.push(waiting(random, id));
    }
    situation
}

fn node(random: &mut Random) -> Situation {
    let mut situation = Situation { rules: Rules::default(), ..empty_node() };
    let size = random.pick(&[1, 2, 4, 7, 8, 8, 8, 8, 10]);
    let group = random.pick(&[1, 2, 4, 8]);
    situation.slots =
        (0..size).map(|id| Slot { id: CardId(id), free: true, link: id / group, numa: id % 2 }).collect();
    for owner in OWNERS {
        if random.one_in(2) {
            situation
                .used
                .insert(owner.to_owned(), f64::from(u32::try_from(random.below(400)).unwrap()) / 8.0);
        }
    }
    while random.one_in(5) {
        let from = noon() + minutes(random.below(400)) - minutes(120);
        let until = from + minutes(1 + random.below(300));
        let cards = usize::try_from(1 + random.below(9)).unwrap();
        situation.reservations.push(Reserved { owner: random.pick(&OWNERS).to_owned(), from, until, cards });
    }
    situation.hold_ends = random.one_in(8);
    situation
}

fn lease(random: &mut Random) -> Option<Duration> {
    (!random.one_in(15)).then(|| minutes(random.pick(&[3, 20, 60, 120, 240, 480, 480, 1440, 2880])))
}

fn standing(random: &mut Random, id: i64, cards: Vec<CardId>) -> Standing {
    let since = noon() - minutes(random.pick(&[0, 5, 20, 45, 100, 400, 470, 480, 490, 900, 2000]));
    let lease = lease(random);
    let renewed = minutes(random.pick(&[0, 0, 0, 240]));
    let parked = random.one_in(2);
    let mut berth = Standing {
        id,
        owner: random.pick(&OWNERS).to_owned(),
        cards,
        phase: match random.below(12) {
            0 => Phase::Starting,
            1 => Phase::Stopping { since },
            _ => Phase::Live { since },
        },
        lease,
        until: lease.map(|lease| since + lease + renewed),
        unattended: random.one_in(7),
        asked: None,
        told_left: random.one_in(2).then(|| minutes(random.pick(&[4, 9, 29, 110]))),
        locked: random.one_in(10),
        idle: random.one_in(2).then(|| Idle { since: noon() - minutes(150), parked }),
        keeps: u32::try_from(random.below(3)).unwrap(),
        renewals: u32::try_from(random.below(2)).unwrap(),
    };
    berth.asked = random.one_in(3).then(|| asked(random, &berth));
    berth
}

/// As an earlier decision announced it; the berth may have changed since then.
fn asked(random: &mut Random, berth: &Standing) -> Asked {
    let changed = random.pick(&[Why::Lease, Why::Idle, Why::Parked, Why::Unattended]);
    let why = match berth.reason(noon()) {
        Some(why) if !random.one_in(4) => why,
        None if berth.unattended => Why::Unattended,
        _ => changed,
    };
    let at = noon() - minutes(random.pick(&[0, 1, 14, 15, 16, 59, 60, 61, 90, 200]));
    Asked { at, stops_at: at + Rules::default().grace(why) + minutes(random.pick(&[0, 0, 0, 7])), why }
}

fn waiting(random: &mut Random, id: i64) -> Ticket {
    let wish = match random.below(4) {
        0 => CardWish::Ids(ids(random)),
        _ => any(random.pick(&[1, 1, 2, 2, 4, 8, 0, 12])),
    };
    let waited = minutes(random.pick(&[0, 1, 30, 200, 700, 719, 720, 800, 2000]));
    let mut ticket = ticket(id, random.pick(&OWNERS), wish, waited);
    (ticket.lease, ticket.unattended) = (lease(random), random.one_in(5));
    ticket.overtaken = u32::try_from(random.pick(&[0, 0, 3, 18, 19, 20, 25])).unwrap();
    ticket.last = random.pick(&[vec![], cards([0]), cards([5, 6])]);
    ticket
}

fn ids(random: &mut Random) -> Vec<i64> {
    let mut ids: Vec<i64> = Vec::new();
    for id in 0..random.pick(&[8, 8, 8, 11]) {
        if random.one_in(5) {
            ids.push(id);
        }
        if random.one_in(60) {
            ids.push(0);
        }
    }
    ids
}
