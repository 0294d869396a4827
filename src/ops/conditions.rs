//! Conditions of live berths: what a look found is written into the ledger, and reported once as an event.

use super::{Caller, Node};
use crate::ledger::NewEvent;
use crate::model::{Berth, CardId, Condition, ConditionCode};
use anyhow::Result;
use jiff::Timestamp;

/// A condition as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) code: ConditionCode,
    pub(super) cards: Vec<CardId>,
    pub(super) detail: Option<String>,
}

impl Found {
    pub(super) fn new(code: ConditionCode, detail: Option<String>) -> Self {
        Self { code, cards: Vec::new(), detail }
    }

    /// Whether the ledger has this condition already. Its text may differ.
    fn is(&self, known: &Condition) -> bool {
        (self.code, &self.cards) == (known.code, &known.cards)
    }
}

/// What has to be written into the ledger: conditions that begin or have other values now, and those that are over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    begun: Vec<Found>,
    over: Vec<Condition>,
    /// Nothing that begins goes on from what is over.
    is_anew: bool,
}

impl Changes {
    /// Compares what was found with what the ledger knows. Only a condition whose code was looked at can be over.
    pub(super) fn of(known: &[Condition], looked_at: &[ConditionCode], found: Vec<Found>) -> Self {
        let is_over = |condition: &&Condition| {
            looked_at.contains(&condition.code) && !found.iter().any(|found| found.code == condition.code)
        };
        let over = known.iter().filter(is_over).cloned().collect();
        let is_new = |found: &Found| !known.iter().any(|known| found.is(known));
        Self { begun: found.into_iter().filter(is_new).collect(), over, is_anew: false }
    }

    pub(super) fn none(&self) -> bool {
        self.begun.is_empty() && self.over.is_empty()
    }

    /// What begins, begins now.
    pub(super) fn anew(self) -> Self {
        Self { is_anew: true, ..self }
    }

    /// A dead berth that is to come back is down for as long as it is dead.
    fn since_when(&self, code: ConditionCode) -> Option<Timestamp> {
        let dead = self.over.iter().find(|over| over.code == ConditionCode::Dead);
        dead.filter(|_| code == ConditionCode::Returning && !self.is_anew).map(|dead| dead.since)
    }

    /// Whether the end of this condition gets an event of its own. It gets none where the berth is down for another
    /// reason now, whose event says so.
    fn is_told(&self, over: &Condition) -> bool {
        !(over.code.is_down() && self.begun.iter().any(|begun| begun.code.is_down()))
    }
}

impl Node {
    /// Writes what was just seen of a berth into the ledger, with an event for its owner and for administrators.
    pub(super) async fn settle(&self, berth: &Berth, changes: Changes) -> Result<()> {
        let id = berth.id;
        let since = self.now().wall;
        for found in changes.begun.clone() {
            let since = changes.since_when(found.code).unwrap_or(since);
            let condition = Condition { code: found.code, since, cards: found.cards, detail: found.detail };
            let event = self.begins(berth, &condition);
            self.ledger(move |ledger| ledger.begin_condition(id, &condition, &event)).await?;
        }
        for condition in &changes.over {
            let text = format!("{}: {}", berth.label(), condition.over());
            let event = self.about(berth, "berth.recovered", &Caller::agent().name, text);
            let (code, event) = (condition.code, changes.is_told(condition).then_some(event));
            self.ledger(move |ledger| ledger.end_condition(id, code, event.as_ref())).await?;
        }
        Ok(())
    }

    pub(super) fn begins(&self, berth: &Berth, condition: &Condition) -> NewEvent {
        let text = format!("{}: {condition}", berth.label());
        tracing::warn!(berth = berth.label(), condition = condition.code.as_str(), "{condition}");
        self.about(berth, condition.code.event(), &Caller::agent().name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConditionCode::{CardAlarm, CardTaken, Dead, Gone, Oom, Paused};

    fn known(code: ConditionCode, cards: &[u32]) -> Condition {
        let cards = cards.iter().copied().map(CardId).collect();
        Condition { code, since: Timestamp::UNIX_EPOCH, cards, detail: None }
    }

    fn codes(changes: &Changes) -> (Vec<ConditionCode>, Vec<ConditionCode>) {
        let begun = changes.begun.iter().map(|found| found.code).collect();
        (begun, changes.over.iter().map(|condition| condition.code).collect())
    }

    #[test]
    fn what_was_not_looked_at_is_not_over() {
        let before = [known(Dead, &[]), known(CardAlarm, &[3]), known(Oom, &[])];
        let changes = Changes::of(&before, &[Gone, Dead, Paused], Vec::new());
        assert_eq!(codes(&changes), (vec![], vec![Dead]));
        assert!(changes.is_told(&changes.over[0]));
    }

    #[test]
    fn the_same_is_told_once_and_other_cards_are_told_again() {
        let found = |cards: &[u32], detail: &str| Found {
            code: CardTaken,
            cards: cards.iter().copied().map(CardId).collect(),
            detail: Some(detail.into()),
        };
        let before = [known(CardTaken, &[3])];
        let changes = |found| Changes::of(&before, &[CardTaken], vec![found]);
        assert!(changes(found(&[3], "other words")).none());
        assert_eq!(codes(&changes(found(&[3, 4], ""))), (vec![CardTaken], vec![]));
    }

    #[test]
    fn a_dead_container_that_goes_does_not_run_again() {
        let changes = Changes::of(&[known(Dead, &[])], &[Gone, Dead, Paused], vec![Found::new(Gone, None)]);
        assert_eq!(codes(&changes), (vec![Gone], vec![Dead]));
        assert!(!changes.is_told(&changes.over[0]));
    }
}
