//! Another number of cards for a stopped berth. It counts at the next start, which makes its container anew over the
//! files that it has (`moves`).

use super::choose::check_wish;
use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::model::{Berth, BerthState, CardWish, Size};
use crate::profile::BerthRules;
use anyhow::Result;

impl Node {
    pub async fn resize_berth(&self, caller: &Caller, given: &str, cards: i64) -> Result<Berth> {
        self.ration(caller, Act::Rename)?;
        let settings = self.settings();
        check_wish(&CardWish::Count(cards), settings.profile.devices.cards)?;
        let size = u32::try_from(cards).map_err(|_| Fault::bug("a number of cards that was checked"))?;
        let (_busy, berth) = self.marked(caller, given).await?;
        let id = berth.id;
        match berth.state {
            BerthState::Stopped if berth.size == size => return Ok(berth),
            BerthState::Stopped => {}
            state => return Err(not_stopped(&berth, state, given, cards).into()),
        }
        let kept = self.kept(&berth).await?;
        let label = berth.label();
        let Some(kept) = kept else {
            return Err(Fault::refused(format!("{label}'s container is gone")).into());
        };
        if !kept.is_movable {
            return Err(Fault::refused(format!(
                "{label} keeps its size: this engine cannot hand its files to another container"
            ))
            .help("`berth snapshot` makes an image of it, and a request with that image has any size")
            .into());
        }
        let rules = &settings.profile.berth;
        let (memory, cpus) = share(rules, &berth, size);
        let text = format!("{label} has {} from its next start on", of_cards(size));
        let event = self.about(&berth, "berth.resized", &caller.name, text);
        self.ledger(move |ledger| ledger.resize(id, size, memory, cpus, &event)).await
    }
}

fn of_cards(size: u32) -> String {
    match size {
        0 => "no card".into(),
        1 => "1 card".into(),
        _ => format!("{size} cards"),
    }
}

fn not_stopped(berth: &Berth, state: BerthState, given: &str, cards: i64) -> Fault {
    let text = format!("{} is {state}; a berth gets another size while it is stopped", berth.label());
    let fault = Fault::refused(text);
    if state != BerthState::Live {
        return fault.help("try again when it is stopped");
    }
    fault.help(format!(
        "this ends its programs and keeps all of its files: berth stop {given}; berth resize {given} --cards {cards}; \
         berth start {given}"
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
