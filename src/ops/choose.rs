//! Chooses cards for a request, or refuses and says which cards are free, who holds the others and until when.

use super::Survey;
use crate::accel::Accelerator;
use crate::alloc::{self, NoFit};
use crate::error::{ErrorClass, Fault};
use crate::model::facts::NpuFacts;
use crate::model::{CardId, CardView, CardWish, Holder, Ruling, card};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Whether the request waits, which decides what its refusal advises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It does not wait. The refusal says that it could.
    None,
    /// It waits, or waited.
    Waits,
}

impl Patience {
    fn help(self) -> &'static str {
        match self {
            Self::None => "`--wait 30m` waits for cards; `berth cards` shows who has them",
            Self::Waits => {
                "nobody gave enough of them back in that time; `berth cards` shows who has them, and until when"
            }
        }
    }
}

/// The cards for this wish, or the refusal.
pub(super) fn choose(
    survey: &Survey,
    wish: &CardWish,
    last: &[CardId],
    now: Timestamp,
    patience: Patience,
) -> Result<Vec<CardId>, Fault> {
    if let Some(error) = &survey.npu.error {
        return Err(Fault::host(format!("the cards cannot be given out: {}", error.meaning))
            .help(error.remedy.clone()));
    }
    alloc::assign(&survey.slots, wish, last).map_err(|no_fit| refusal(survey, &no_fit, now, patience))
}

/// An error for a wish that this node can never fulfil, before anything is looked at or waited for.
pub(super) fn check_wish(wish: &CardWish, cards: u32) -> Result<(), Fault> {
    match wish {
        CardWish::Count(count) if *count < 0 || *count > i64::from(cards) => {
            Err(wrong_count(*count, cards as usize))
        }
        CardWish::Ids(ids) if ids.is_empty() => {
            Err(Fault::usage("no card ids were given").help("--card-ids 0,1"))
        }
        CardWish::Ids(ids) => {
            match ids.iter().enumerate().find(|(index, id)| ids.iter().take(*index).any(|x| x == *id)) {
                Some((_, twice)) => Err(Fault::usage(format!("card {twice} is named twice"))),
                None => Ok(()),
            }
        }
        CardWish::Count(_) => Ok(()),
    }
}

/// The cards of these ids. An error where the node has no such card, and where npu-smi does not say which it has.
pub(super) fn check_known(survey: &Survey, ids: &[i64]) -> Result<Vec<CardId>, Fault> {
    if let Some(error) = &survey.npu.error {
        let text = format!("which cards this node has is not known: {}", error.meaning);
        return Err(Fault::host(text).help(error.remedy.clone()));
    }
    let known: Vec<CardId> = survey.cards.iter().map(|card| card.id).collect();
    let card = |id: &i64| known.iter().copied().find(|card| i64::from(card.0) == *id);
    ids.iter().map(|id| card(id).ok_or_else(|| unknown(*id, &known))).collect()
}

fn unknown(asked: i64, known: &[CardId]) -> Fault {
    Fault::usage(format!("there is no card {asked}; this node has {}", card::join(known)))
}

fn wrong_count(asked: i64, cards: usize) -> Fault {
    Fault::usage(format!("{asked} cards cannot be asked for; this node has {cards}"))
        .help(format!("ask for 0 to {cards}; 0 makes a berth without a card"))
}

/// Checks the cards again after their berth was made. An error where one has become sick.
pub(super) fn check_health(
    accel: &dyn Accelerator,
    npu: &NpuFacts,
    cards: &[CardId],
    rulings: &BTreeMap<CardId, Ruling>,
) -> Result<(), Fault> {
    if let Some(error) = &npu.error {
        return Err(Fault::host(format!("the cards cannot be given out: {}", error.meaning))
            .help(error.remedy.clone()));
    }
    for card in cards {
        match npu.devices.iter().find(|device| device.id == card.0) {
            None => {
                return Err(Fault::refused(format!("{} does not list card {card} any more", accel.tool())));
            }
            Some(device) if !device.health.usable() && !rulings.get(card).is_some_and(Ruling::allows) => {
                return Err(Fault::refused(format!(
                    "card {card} cannot be used: its health is {}",
                    device.health
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn refusal(survey: &Survey, no_fit: &NoFit, now: Timestamp, patience: Patience) -> Fault {
    match no_fit {
        NoFit::Count { asked, cards } => wrong_count(*asked, *cards),
        NoFit::NoIds => Fault::usage("no card ids were given").help("--card-ids 0,1"),
        NoFit::Twice(id) => Fault::usage(format!("card {id} is named twice")),
        NoFit::Unknown { asked, known } => unknown(*asked, known),
        NoFit::Taken(ids) => taken(survey, ids, now, patience),
        NoFit::TooFew { asked, free } => too_few(survey, *asked, free, now).help(patience.help()),
    }
}

/// The fault for cards that are not free: class `Refused` for a sick card, `Busy` for a held one, which may become
/// free.
fn taken(survey: &Survey, ids: &[CardId], now: Timestamp, patience: Patience) -> Fault {
    let cards: Vec<&CardView> = ids.iter().filter_map(|id| survey.card(*id)).collect();
    let held = cards.iter().any(|card| !card.holders.is_empty());
    let fault = |class| Fault::new(class, describe(&cards, now));
    // Nobody gives a sick card back.
    if held {
        fault(ErrorClass::Busy).help(patience.help())
    } else {
        fault(ErrorClass::Refused).help("`berth cards` shows which are free")
    }
}

fn too_few(survey: &Survey, asked: usize, free: &[CardId], now: Timestamp) -> Fault {
    let rest: Vec<&CardView> = survey.cards.iter().filter(|card| !free.contains(&card.id)).collect();
    let free = match free {
        [] => "none is free".to_owned(),
        [one] => format!("only card {one} is free"),
        more => format!("only cards {} are free", card::join(more)),
    };
    let asked = if asked == 1 { "1 card is".to_owned() } else { format!("{asked} cards are") };
    Fault::busy(format!("{asked} asked for and {free}: {}", describe(&rest, now)))
}

/// A text such as `card 3 is held by berth alice/train until 18:00 (2h)`, or what is wrong with the card. Cards
/// with the same reason are named together.
fn describe(cards: &[&CardView], now: Timestamp) -> String {
    let mut stories: Vec<(Story, Vec<CardId>)> = Vec::new();
    for card in cards {
        let story = Story::of(card);
        match stories.iter_mut().find(|(known, _)| *known == story) {
            Some((_, ids)) => ids.push(card.id),
            None => stories.push((story, vec![card.id])),
        }
    }
    stories.iter().map(|(story, ids)| story.tell(ids, now)).collect::<Vec<_>>().join("; ")
}

/// The reason why a card is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story<'a> {
    Held(&'a [Holder]),
    Unusable(&'a str),
    /// It was free at the last look.
    Free,
}

impl<'a> Story<'a> {
    fn of(card: &'a CardView) -> Self {
        match (card.holders.as_slice(), card.unusable.as_deref()) {
            ([], Some(why)) => Self::Unusable(why),
            ([], None) => Self::Free,
            (holders, _) => Self::Held(holders),
        }
    }

    fn tell(self, cards: &[CardId], now: Timestamp) -> String {
        let (word, are) = if cards.len() == 1 { ("card", "is") } else { ("cards", "are") };
        let cards = card::join(cards);
        match self {
            Self::Held(holders) => {
                let holders: Vec<String> =
                    holders.iter().map(|holder| describe_holder(holder, now)).collect();
                format!("{word} {cards} {are} held by {}", holders.join(" and "))
            }
            Self::Unusable(why) => format!("{word} {cards} cannot be used: {why}"),
            Self::Free => format!("{word} {cards} cannot be used: it was free a moment ago"),
        }
    }
}

fn describe_holder(holder: &Holder, now: Timestamp) -> String {
    match holder {
        Holder::Berth { until: Some(until), .. } if *until > now => {
            let seconds = u64::try_from(until.as_second() - now.as_second()).unwrap_or(0);
            let minutes = std::time::Duration::from_secs(seconds.div_ceil(60) * 60);
            format!("{holder} until {until:.0} (in {})", humantime::format_duration(minutes))
        }
        Holder::Berth { until: Some(_), .. } => format!("{holder}, whose lease is over"),
        _ => holder.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_that_no_node_fulfils_are_refused_at_once() {
        for count in [-1, 9, i64::MIN] {
            let fault = check_wish(&CardWish::Count(count), 8).unwrap_err();
            assert_eq!(fault.class, ErrorClass::Usage);
            assert_eq!(fault.message, format!("{count} cards cannot be asked for; this node has 8"));
        }
        assert_eq!(
            check_wish(&CardWish::Ids(vec![3, 1, 3]), 8).unwrap_err().message,
            "card 3 is named twice"
        );
        assert!(check_wish(&CardWish::Ids(vec![]), 8).is_err());
        assert!(check_wish(&CardWish::Ids(vec![0, 7]), 8).is_ok());
        assert!(check_wish(&CardWish::Count(0), 8).is_ok());
    }

    /// Only who allows a card knows of its alarm; who blocked it meanwhile does not.
    #[test]
    fn a_sick_card_is_handed_over_only_where_it_is_allowed() {
        use crate::accel::Ascend;
        use crate::model::{CardVerdict, Health};
        let mut sick = crate::ops::cards::tests::npu();
        sick.devices[3].health = Health::Alarm;
        let check = |verdict: Option<CardVerdict>| {
            let ruling = verdict.map(|verdict| Ruling {
                verdict,
                why: None,
                until: None,
                by: "root".into(),
                since: Timestamp::UNIX_EPOCH,
            });
            let rulings = ruling.map(|ruling| (CardId(3), ruling)).into_iter().collect();
            check_health(&Ascend, &sick, &[CardId(3)], &rulings)
        };
        assert!(check(None).is_err() && check(Some(CardVerdict::Block)).is_err());
        assert!(check(Some(CardVerdict::Allow)).is_ok());
    }

    #[test]
    fn a_holder_is_named_with_the_end_of_its_lease() {
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let holder = |until: &str| Holder::Berth {
            owner: "alice".into(),
            name: "train".into(),
            since: now,
            until: Some(until.parse().unwrap()),
        };
        assert_eq!(
            describe_holder(&holder("2026-01-01T12:30:00Z"), now),
            "berth alice/train until 2026-01-01T12:30:00Z (in 2h 30m)"
        );
        assert_eq!(
            describe_holder(&holder("2026-01-01T09:00:00Z"), now),
            "berth alice/train, whose lease is over"
        );
    }
}
