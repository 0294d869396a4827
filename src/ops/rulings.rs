//! Administrators' rulings on cards: a card in Alarm may be given out, or a healthy card may not.

use super::{Caller, Node};
use crate::error::Fault;
use crate::model::{CardId, CardVerdict, Ruling};
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const LONGEST_WHY: usize = 200;

/// The ruling that an administrator asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRuling {
    pub verdict: CardVerdict,
    #[serde(default)]
    pub why: Option<String>,
    /// Seconds from now. Without it, the ruling holds until it is cleared.
    #[serde(default)]
    pub seconds: Option<u64>,
}

impl Node {
    /// The rulings in force now.
    pub(super) async fn rulings(&self) -> Result<BTreeMap<CardId, Ruling>> {
        let now = self.now().wall;
        self.ledger(move |ledger| ledger.rulings(now)).await
    }

    pub async fn rule_card(&self, caller: &Caller, card: u32, new: NewRuling) -> Result<Ruling> {
        caller.require_admin("deciding which cards are given out")?;
        self.check_card(card)?;
        let ruling = ruling(new, &caller.name, self.now().wall)?;
        let kind = match ruling.verdict {
            CardVerdict::Allow => "card.allowed",
            CardVerdict::Block => "card.blocked",
        };
        let event = self.event(kind, &caller.name, format!("card {card} is {ruling}"));
        let (id, kept) = (CardId(card), ruling.clone());
        self.ledger(move |ledger| ledger.rule(id, &kept, &event)).await?;
        self.cards_may_be_free();
        Ok(ruling)
    }

    pub async fn clear_card(&self, caller: &Caller, card: u32) -> Result<()> {
        caller.require_admin("deciding which cards are given out")?;
        self.check_card(card)?;
        let id = CardId(card);
        let Some(ruling) = self.rulings().await?.remove(&id) else {
            return Err(Fault::refused(format!("card {card} is neither allowed nor blocked"))
                .help("`berth cards` shows what is decided about cards")
                .into());
        };
        let text = format!("card {card} is no longer {ruling}");
        let event = self.event("card.cleared", &caller.name, text);
        self.ledger(move |ledger| ledger.clear_ruling(id, &event)).await?;
        self.cards_may_be_free();
        Ok(())
    }

    /// Removes rulings whose time is over, and reports each once.
    pub async fn end_rulings(&self) -> Result<()> {
        let now = self.now().wall;
        for (card, ruling) in self.ledger(move |ledger| ledger.rulings_over(now)).await? {
            let text = format!("card {card} is no longer {ruling}: that time is over");
            let event = self.event("card.cleared", &Caller::agent().name, text);
            if self.ledger(move |ledger| ledger.end_ruling(card, now, &event)).await? {
                // Whoever waits may have it now, or hears that it is in Alarm.
                self.cards_may_be_free();
            }
        }
        Ok(())
    }

    fn cards_may_be_free(&self) {
        self.tell_freed();
        self.pulse.cards_moved.notify_one();
    }

    fn check_card(&self, card: u32) -> Result<(), Fault> {
        let cards = self.settings().profile.devices.cards;
        if card < cards {
            return Ok(());
        }
        Err(Fault::usage(format!("there is no card {card}; this node has {cards}, from 0 on")))
    }
}

fn ruling(new: NewRuling, by: &str, now: Timestamp) -> Result<Ruling, Fault> {
    let why = new.why.map(|why| why.trim().to_owned()).filter(|why| !why.is_empty());
    if why.as_ref().is_some_and(|why| why.chars().count() > LONGEST_WHY || why.chars().any(char::is_control))
    {
        return Err(Fault::usage(format!("the reason is one line of at most {LONGEST_WHY} characters")));
    }
    match (new.verdict, &why, new.seconds) {
        (CardVerdict::Allow, _, None) => {
            return Err(Fault::usage("a card in Alarm is not allowed without an end").help("--until 2days"));
        }
        (CardVerdict::Block, None, _) => {
            return Err(Fault::usage("say why the card is blocked: others will ask").help("--why TEXT"));
        }
        _ => {}
    }
    let end = |seconds: u64| {
        let time = SignedDuration::try_from(Duration::from_secs(seconds)).ok().filter(|_| seconds > 0)?;
        now.checked_add(time).ok()
    };
    let until = match new.seconds {
        None => None,
        Some(seconds) => Some(
            end(seconds)
                .ok_or_else(|| Fault::usage("that time is over at once, or never").help("--until 2days"))?,
        ),
    };
    Ok(Ruling { verdict: new.verdict, why, until, by: by.to_owned(), since: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_allowed_for_a_time_and_a_block_has_a_reason() {
        let now = Timestamp::UNIX_EPOCH;
        let try_it = |verdict, why: Option<&str>, seconds| {
            ruling(NewRuling { verdict, why: why.map(str::to_owned), seconds }, "root", now)
        };
        let allowed = try_it(CardVerdict::Allow, None, Some(60)).unwrap();
        assert_eq!(allowed.to_string(), "allowed by root until 1970-01-01T00:01:00Z");
        assert_eq!(
            try_it(CardVerdict::Block, Some(" loud fan "), None).unwrap().to_string(),
            "blocked by root: loud fan"
        );
        for (verdict, why, seconds) in [
            (CardVerdict::Allow, None, None),
            (CardVerdict::Allow, None, Some(0)),
            (CardVerdict::Allow, None, Some(u64::MAX)),
            (CardVerdict::Block, None, None),
            (CardVerdict::Block, Some("  "), None),
            (CardVerdict::Block, Some("a\u{1b}[31m"), None),
            (CardVerdict::Block, Some("x".repeat(201).as_str()), None),
        ] {
            assert!(try_it(verdict, why, seconds).is_err(), "{verdict:?} {why:?} {seconds:?}");
        }
    }
}
