//! Checks the cards of live berths. The berth's owner is told when a card becomes sick, disappears, or is taken by
//! another program.

use super::Node;
use super::cards::{self, Listed, Snapshot};
use super::conditions::{Changes, Found};
use super::locks::beside;
use super::survey::containers_of;
use crate::accel::Accelerator;
use crate::model::clock::BootTime;
use crate::model::facts::NpuFacts;
use crate::model::{Berth, BerthState, CardId, ConditionCode, Holder, Ruling};
use anyhow::Result;
use std::time::Duration;

/// Once a text of what is wrong has this many bytes, nothing more is added to it.
const LONG_DETAIL: usize = 2 << 10;
/// How old the result of another caller's look may be.
const FRESH: Duration = Duration::from_secs(5);

impl Node {
    /// Resolves when anybody took a card or gave one back. Several such changes resolve it once.
    pub async fn cards_moved(&self) {
        self.pulse.cards_moved.notified().await;
    }

    pub async fn look_at_cards(&self, now: BootTime) -> Result<()> {
        if !self.ledger(crate::ledger::Ledger::standing_berths).await?.iter().any(is_live) {
            return Ok(());
        }
        let first = self.changed_cards(now.before(FRESH)).await?;
        if first.is_empty() {
            return Ok(());
        }
        // Once more: a process may have ended, or a berth begun, between two parts of one look.
        for (berth, changes) in self.changed_cards(now).await? {
            let Some(_busy) = self.busy.enter(berth.id) else { continue };
            let id = berth.id;
            // What was seen is of the berth as it was; one that changed meanwhile is looked at again soon.
            if self.ledger_berth(id).await? == berth {
                self.settle(&berth, changes).await?;
            }
        }
        Ok(())
    }

    async fn changed_cards(&self, since: BootTime) -> Result<Vec<(Berth, Changes)>> {
        let (npu, seen) = tokio::join!(beside(self.npu(since)), beside(self.sight(since)));
        let (npu, seen) = (npu?, seen?);
        let facts = npu.clone();
        let listed = tokio::task::spawn_blocking(move || containers_of(&facts)).await?;
        let looked_at = looked_at(&npu, &seen);
        let live = seen.berths.iter().filter(|berth| is_live(berth));
        let changes = live.map(|berth| {
            let found = of_cards(self.accel(), berth, &npu, &seen, &listed, &looked_at);
            (berth.clone(), Changes::of(&berth.conditions, &looked_at, found))
        });
        Ok(changes.filter(|(_, changes)| !changes.none()).collect())
    }
}

fn is_live(berth: &Berth) -> bool {
    berth.state == BerthState::Live
}

/// The codes that this look can judge. When a tool failed, its codes are left as they are.
fn looked_at(npu: &NpuFacts, seen: &Snapshot) -> Vec<ConditionCode> {
    let mut codes = Vec::new();
    if npu.error.is_none() {
        codes.extend([ConditionCode::CardLost, ConditionCode::CardAlarm]);
        if seen.not_looked.is_none() {
            codes.push(ConditionCode::CardTaken);
        }
    }
    codes
}

/// What is wrong with the cards of a berth: one condition for each code, with all cards that have it.
fn of_cards(
    accel: &dyn Accelerator,
    berth: &Berth,
    npu: &NpuFacts,
    seen: &Snapshot,
    listed: &Listed,
    looked_at: &[ConditionCode],
) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for card in &berth.cards {
        for (code, detail) in of_card(accel, *card, berth, npu, seen, listed) {
            match found.iter_mut().find(|known| known.code == code) {
                Some(known) => {
                    if known.cards.last() != Some(card) {
                        known.cards.push(*card);
                    }
                    let details = known.detail.get_or_insert_default();
                    if details.len() < LONG_DETAIL && !details.contains(&detail) {
                        details.push_str(", ");
                        details.push_str(&detail);
                    }
                }
                None => found.push(Found { code, cards: vec![*card], detail: Some(detail) }),
            }
        }
    }
    found.retain(|found| looked_at.contains(&found.code));
    found
}

fn of_card(
    accel: &dyn Accelerator,
    card: CardId,
    berth: &Berth,
    npu: &NpuFacts,
    seen: &Snapshot,
    listed: &Listed,
) -> Vec<(ConditionCode, String)> {
    let device = npu.devices.iter().find(|device| device.id == card.0);
    let mut found = Vec::new();
    match device {
        None => found.push((ConditionCode::CardLost, cards::not_listed(accel))),
        Some(_) if !seen.nodes.contains_key(&card) => {
            found.push((ConditionCode::CardLost, cards::no_node(accel, card)));
        }
        // What is allowed is in force only while an administrator knows of the alarm.
        Some(device) if !device.health.usable() && !seen.rulings.get(&card).is_some_and(Ruling::allows) => {
            found.push((ConditionCode::CardAlarm, format!("its health is {}", device.health)));
        }
        Some(_) => {}
    }
    let others = cards::holders(card, device, npu, seen, listed).into_iter();
    // Who could not be looked at may have it, and nobody says that they do.
    let others = others.filter(|holder| !is_of(holder, berth) && holder.is_sure());
    found.extend(others.map(|holder| (ConditionCode::CardTaken, holder.to_string())));
    found
}

fn is_of(holder: &Holder, berth: &Berth) -> bool {
    matches!(holder, Holder::Berth { owner, name, .. } if (owner, name) == (&berth.owner, &berth.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Ascend;
    use crate::model::Health;
    use crate::ops::cards::tests::{berth, npu, open, seen};
    use ConditionCode::{CardAlarm, CardLost, CardTaken};

    fn found(npu: &NpuFacts, seen: &Snapshot) -> Vec<(ConditionCode, Vec<u32>)> {
        let found = of_cards(&Ascend, &berth(&[2, 3]), npu, seen, &Listed::new(), &looked_at(npu, seen));
        let ids = |cards: &[CardId]| cards.iter().map(|card| card.0).collect();
        found.iter().map(|found| (found.code, ids(&found.cards))).collect()
    }

    #[test]
    fn cards_that_are_well_are_nothing_to_tell() {
        let own = Snapshot {
            berths: vec![berth(&[2, 3])],
            // A process of the berth itself.
            open: vec![open(3, 70, Some("c1"))],
            ..seen()
        };
        assert_eq!(found(&npu(), &own), []);
    }

    #[test]
    fn what_happens_to_cards_is_told_with_all_of_them() {
        let mut sick = npu();
        sick.devices[2].health = Health::Alarm;
        sick.devices[3].health = Health::Critical;
        // Somebody else's card.
        sick.devices[5].health = Health::Alarm;
        assert_eq!(found(&sick, &seen()), [(CardAlarm, vec![2, 3])]);
        sick.devices.remove(2);
        let mut gone = seen();
        gone.nodes.remove(&CardId(3));
        assert_eq!(found(&sick, &gone), [(CardLost, vec![2, 3])]);
        let taken = Snapshot { berths: vec![berth(&[2, 3])], open: vec![open(3, 70, None)], ..seen() };
        assert_eq!(found(&npu(), &taken), [(CardTaken, vec![3])]);
    }

    #[test]
    fn thousands_of_processes_on_ones_cards_are_a_short_text() {
        let many = (0..5000).flat_map(|pid| [open(2, 1000 + pid, None), open(3, 1000 + pid, None)]);
        let taken = Snapshot { berths: vec![berth(&[2, 3])], open: many.collect(), ..seen() };
        assert_eq!(found(&npu(), &taken), [(CardTaken, vec![2, 3])]);
        let found = of_cards(&Ascend, &berth(&[2, 3]), &npu(), &taken, &Listed::new(), &[CardTaken]);
        let detail = found[0].detail.clone().unwrap();
        assert!(detail.ends_with(", 4984 more") && detail.len() < LONG_DETAIL, "{detail}");
    }

    #[test]
    fn what_could_not_be_looked_at_says_nothing() {
        let mut blind = npu();
        blind.devices.clear();
        blind.error = Some(crate::model::facts::NpuError {
            trouble: crate::model::facts::NpuTrouble::Other,
            code: None,
            meaning: "it hangs".into(),
            remedy: String::new(),
        });
        assert_eq!((looked_at(&blind, &seen()), found(&blind, &seen())), (vec![], vec![]));
        let taken = Snapshot { open: vec![open(3, 70, None)], not_looked: Some("no /proc".into()), ..seen() };
        assert_eq!(found(&npu(), &taken), []);
    }
}
