//! Days on a node, minute by minute or hour by hour, where people come, work, leave, and forget; the agent does what was decided.

use super::random::Random;
use super::*;
use std::collections::BTreeSet;

struct Walk {
    node: Situation,
    random: Random,
    next: i64,
    /// What was said to whom, as the people heard it.
    heard: BTreeMap<i64, (Timestamp, Timestamp, Why)>,
    stopped: usize,
    started: usize,
}

#[test]
fn nobody_is_stopped_unannounced_and_nobody_waits_for_ever() {
    let (mut started, mut stopped) = (0, 0);
    for seed in 0..40 {
        let random = Random(seed);
        let (heard, node) = (BTreeMap::new(), empty_node());
        let mut walk = Walk { node, random, next: 1, heard, stopped: 0, started: 0 };
        for _ in 0..300 {
            walk.step(seed);
        }
        started += walk.started;
        stopped += walk.stopped;
    }
    assert!(started > 1000 && stopped > 150, "{started} {stopped}");
}

impl Walk {
    fn step(&mut self, seed: u64) {
        self.node.now += minutes(self.random.pick(&[1, 1, 5, 15, 60]));
        self.people();
        self.containers();
        let decided = decide(&self.node);
        for action in &decided {
            self.hear(action, seed);
        }
        self.node = std::mem::replace(&mut self.node, empty_node()).done(&decided);
        let ids: BTreeSet<i64> = self.node.standing.iter().map(|berth| berth.id).collect();
        assert_eq!(ids.len(), self.node.standing.len());
        let held: usize = self.node.standing.iter().map(|berth| berth.cards.len()).sum();
        let cards: BTreeSet<CardId> =
            self.node.standing.iter().flat_map(|berth| berth.cards.clone()).collect();
        assert_eq!(held, cards.len(), "seed {seed}: two on a card: {:#?}", self.node);
        // Leases here end after 8 hours and the grace; whoever is first waits for one of them at most.
        let longest = hours(12 + 4 * 9);
        let waits = self.node.tickets.iter().find(|ticket| ticket.since + longest < self.node.now);
        assert!(waits.is_none(), "seed {seed}: {waits:?} in {:#?}", self.node);
    }

    fn people(&mut self) {
        if self.node.tickets.len() < 6 && self.random.one_in(3) {
            let wish = any(self.random.pick(&[1, 1, 1, 2, 2, 4, 8]));
            let mut new = ticket(self.next, self.random.pick(&["alice", "bob", "carol"]), wish, minutes(0));
            (new.since, new.unattended) = (self.node.now, self.random.one_in(5));
            new.lease = Some(hours(self.random.pick(&[1, 2, 8])));
            self.node.tickets.push(new);
            self.next += 1;
        }
        if self.random.one_in(40) {
            self.node.tickets.pop();
        }
        for berth in &mut self.node.standing {
            if self.random.one_in(30) {
                let parked = self.random.one_in(2);
                berth.idle = Some(Idle { since: self.node.now, parked }).filter(|_| berth.idle.is_none());
            }
        }
        self.node.hold_ends = self.random.one_in(50);
    }

    /// What starts is live, what stops is gone, and some people give their cards back.
    fn containers(&mut self) {
        let now = self.node.now;
        for berth in &mut self.node.standing {
            if berth.phase == Phase::Starting {
                berth.phase = Phase::Live { since: now };
                berth.until = berth.lease.map(|lease| now + lease);
            }
        }
        let mut gone: Vec<i64> = Vec::new();
        for berth in &self.node.standing {
            let stops = matches!(berth.phase, Phase::Stopping { .. });
            if stops || self.random.one_in(60) {
                gone.push(berth.id);
            }
        }
        for id in gone {
            self.node = std::mem::replace(&mut self.node, empty_node()).gone(id);
            self.heard.remove(&id);
        }
    }

    fn hear(&mut self, action: &Action, seed: u64) {
        let now = self.node.now;
        match action {
            Action::Start { .. } => self.started += 1,
            Action::Announce { berth, stops_at, why } => {
                assert!(
                    self.heard.insert(*berth, (now, *stops_at, *why)).is_none(),
                    "seed {seed}: said twice"
                );
            }
            Action::Withdraw { berth } => {
                self.heard.remove(berth);
            }
            Action::Stop { berth, why } => {
                let (at, stops_at, said) = self.heard.remove(berth).expect("nobody said so");
                assert!(
                    said == *why && stops_at <= now && at + self.node.rules.grace(*why) <= now,
                    "seed {seed}"
                );
                self.stopped += 1;
            }
            Action::Overtaken { .. } | Action::Warn { .. } => {}
        }
    }
}
