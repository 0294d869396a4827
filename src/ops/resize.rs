//! Another number of cards, or other cards, for a stopped berth. It counts at the next start, which makes its container anew over the
//! files that it has (`moves`).

use super::choose::{check_known, check_wish};
use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::NewSize;
use crate::model::{Berth, BerthState, CardId, CardWish, Size, card};
use crate::profile::BerthRules;
use anyhow::Result;

impl Node {
    pub async fn resize_berth(&self, caller: &Caller, given: &str, wish: CardWish) -> Result<Berth> {
        self.ration(caller, Act::Rename)?;
        let settings = self.settings();
        check_wish(&wish, settings.profile.devices.cards)?;
        let cards = self.cards_named(&wish).await?;
        let size =
            u32::try_from(wish.count()).map_err(|_| Fault::bug("a number of cards that was checked"))?;
        let (_busy, berth) = self.marked(caller, given).await?;
        let id = berth.id;
        match berth.state {
            BerthState::Stopped if berth.size == size && berth.next_cards == cards => return Ok(berth),
            BerthState::Stopped => {}
            state => return Err(not_stopped(&berth, state, given, &wish).into()),
        }
        let kept = self.kept(&berth).await?;
        let label = berth.label();
        let Some(kept) = kept else {
            return Err(Fault::refused(format!("{label}'s container is gone")).into());
        };
        let is_made_for_them = match &cards {
            Some(cards) => *cards == kept.cards,
            None => kept.cards.len() == wish.count(),
        };
        if !is_made_for_them && !kept.is_movable {
            return Err(Fault::refused(format!(
                "{label} keeps its cards: this engine cannot hand its files to another container"
            ))
            .help("`berth snapshot` makes an image of it, and a request with that image has any size")
            .into());
        }
        let rules = &settings.profile.berth;
        let (memory, cpus) = share(rules, &berth, size);
        let text = format!("{label} has {} from its next start on", said(&wish, cards.as_deref()));
        let event = self.about(&berth, "berth.resized", &caller.name, text);
        let new = NewSize { size, cards, memory, cpus };
        self.ledger(move |ledger| ledger.resize(id, &new, &event)).await
    }

    /// The cards that a wish names, ascending; an error where the node has no such card. `None`: it names none.
    async fn cards_named(&self, wish: &CardWish) -> Result<Option<Vec<CardId>>> {
        let CardWish::Ids(ids) = wish else { return Ok(None) };
        let survey = self.survey(self.settings().config.tools.npu_smi_max_age).await?;
        let mut cards = check_known(&survey, ids)?;
        cards.sort_unstable();
        Ok(Some(cards))
    }
}

fn said(wish: &CardWish, cards: Option<&[CardId]>) -> String {
    match (cards, wish.count()) {
        (Some(cards), _) => card::named(cards),
        (None, 0) => "no card".into(),
        (None, 1) => "1 card".into(),
        (None, count) => format!("{count} cards"),
    }
}

/// As it is typed.
fn option(wish: &CardWish) -> String {
    match wish {
        CardWish::Count(count) => format!("--cards {count}"),
        CardWish::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("--card-ids {}", ids.join(","))
        }
    }
}

fn not_stopped(berth: &Berth, state: BerthState, given: &str, wish: &CardWish) -> Fault {
    let text = format!("{} is {state}; a berth gets another size while it is stopped", berth.label());
    let fault = Fault::refused(text);
    if state != BerthState::Live {
        return fault.help("try again when it is stopped");
    }
    fault.help(format!(
        "this ends its programs and keeps all of its files: berth stop {given}; berth resize {given} {}; \
         berth start {given}",
        option(wish)
    ))
}

/// Its memory and CPUs with so many cards: what goes with them, where it had what went with its cards before; else
/// what was asked for, as far as so many cards may have it.
fn share(rules: &BerthRules, berth: &Berth, size: u32) -> (Option<Size>, Option<f64>) {
    let number = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
    let (before, after) = (number(berth.size), number(size));
    let memory = match berth.memory {
        Some(memory) if memory == rules.memory_of(before) => Some(rules.memory_of(after)),
        // An administrator may have granted more.
        Some(memory) if memory > rules.most_memory_of(before) => Some(memory),
        Some(memory) => Some(memory.min(rules.most_memory_of(after))),
        None => None,
    };
    let cpus = if berth.cpus == rules.cpus_of(before) { rules.cpus_of(after) } else { berth.cpus };
    (memory, cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_said_as_they_were_asked_for() {
        let ids = CardWish::Ids(vec![4, 0]);
        assert_eq!(option(&ids), "--card-ids 4,0");
        assert_eq!(option(&CardWish::Count(2)), "--cards 2");
        assert_eq!(said(&ids, Some(&[CardId(0), CardId(4)])), "cards 0,4");
        assert_eq!(
            [0, 1, 3].map(|count| said(&CardWish::Count(count), None)),
            ["no card", "1 card", "3 cards"]
        );
    }
    use crate::profile::{Profile, shipped_profile};

    #[test]
    fn memory_goes_with_the_cards_unless_it_was_asked_for() {
        let mut rules = toml::from_str::<Profile>(shipped_profile("sim").unwrap()).unwrap().berth;
        (rules.memory_per_card, rules.cpus_per_card, rules.max_memory) = (Size::gib(8), 4.0, None);
        let berth = |size: u32, memory: u64, cpus: f64| -> Berth {
            serde_json::from_value(serde_json::json!({
                "id": 1, "owner": "alice", "name": "dev", "state": "stopped", "cards": [], "size": size,
                "port": 20000, "ssh_user": "u", "image": "i", "image_id": "sha256:1", "container_id": null,
                "memory": memory << 30, "cpus": cpus, "host_key": null, "created_at": "2026-01-01T00:00:00Z",
                "until": null, "ended_at": null, "note": null
            }))
            .unwrap()
        };
        assert_eq!(share(&rules, &berth(1, 8, 4.0), 4), (Some(Size::gib(32)), Some(16.0)));
        assert_eq!(share(&rules, &berth(4, 32, 16.0), 0), (Some(Size::gib(2)), Some(1.0)));
        assert_eq!(share(&rules, &berth(1, 12, 2.5), 4), (Some(Size::gib(12)), Some(2.5)), "as asked for");
        assert_eq!(share(&rules, &berth(4, 40, 16.0), 1).0, Some(Size::gib(16)), "twice what a card gives");
        assert_eq!(share(&rules, &berth(1, 100, 4.0), 2).0, Some(Size::gib(100)), "granted");
    }
}
