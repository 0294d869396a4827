//! Which cards a request gets. Pure: no host, no clock, no randomness.
//!
//! A server has at most 16 cards, so every choice is compared and the best one taken (cards that are alike count as
//! one choice). What "best" means is one comparison, [`Score`]; it is not spread over a search.

pub mod cpus;

use crate::model::{CardId, CardWish};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The largest Ascend server has 16 devices (A3: 8 NPUs of two dies).
pub const MOST_CARDS: usize = 16;

/// A card as the allocator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub id: CardId,
    /// Healthy, and held by nobody.
    pub free: bool,
    /// Cards with the same number reach each other over direct links.
    pub link: u32,
    /// Cards with the same number are attached to the same NUMA node.
    pub numa: u32,
}

/// Why there is no assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoFit {
    /// Fewer than one, or more than the node has.
    Count {
        asked: i64,
        cards: usize,
    },
    /// The list of ids is empty.
    NoIds,
    Twice(i64),
    Unknown {
        asked: i64,
        known: Vec<CardId>,
    },
    /// These cards were asked for by id and are not free.
    Taken(Vec<CardId>),
    TooFew {
        asked: usize,
        free: Vec<CardId>,
    },
}

/// Cards for a wish, ascending. `last` are the cards that the user had before.
pub fn assign(slots: &[Slot], wish: &CardWish, last: &[CardId]) -> Result<Vec<CardId>, NoFit> {
    match wish {
        CardWish::Ids(ids) => take_exactly(slots, ids),
        CardWish::Count(count) => {
            let wanted = usize::try_from(*count)
                .ok()
                .filter(|wanted| (1..=slots.len()).contains(wanted))
                .ok_or(NoFit::Count { asked: *count, cards: slots.len() })?;
            choose(slots, wanted, last)
        }
    }
}

fn take_exactly(slots: &[Slot], ids: &[i64]) -> Result<Vec<CardId>, NoFit> {
    let mut cards = Vec::new();
    let mut taken = Vec::new();
    for &asked in ids {
        let slot = slots
            .iter()
            .find(|slot| i64::from(slot.id.0) == asked)
            .ok_or_else(|| NoFit::Unknown { asked, known: slots.iter().map(|slot| slot.id).collect() })?;
        if cards.contains(&slot.id) {
            return Err(NoFit::Twice(asked));
        }
        cards.push(slot.id);
        if !slot.free {
            taken.push(slot.id);
        }
    }
    cards.sort_unstable();
    match (cards.is_empty(), taken.is_empty()) {
        (true, _) => Err(NoFit::NoIds),
        (_, false) => Err(NoFit::Taken(taken)),
        _ => Ok(cards),
    }
}

fn choose(slots: &[Slot], wanted: usize, last: &[CardId]) -> Result<Vec<CardId>, NoFit> {
    let free: Vec<Slot> = slots.iter().copied().filter(|slot| slot.free).collect();
    if free.len() < wanted || free.len() > MOST_CARDS {
        return Err(NoFit::TooFew { asked: wanted, free: free.iter().map(|slot| slot.id).collect() });
    }
    choices(&free, wanted, last)
        .into_iter()
        .min_by_key(|chosen| Score::of(chosen, &free, last))
        .map(|chosen| chosen.into_iter().map(|slot| slot.id).collect())
        .ok_or(NoFit::TooFew { asked: wanted, free: Vec::new() })
}

/// Every choice of so many cards, ascending. Cards that are alike differ only by their ids: the lowest are taken.
fn choices(free: &[Slot], wanted: usize, last: &[CardId]) -> Vec<Vec<Slot>> {
    let mut alike = BTreeMap::<(u32, u32, bool), Vec<Slot>>::new();
    for slot in free {
        alike.entry((slot.link, slot.numa, last.contains(&slot.id))).or_default().push(*slot);
    }
    let mut choices: Vec<Vec<Slot>> = vec![Vec::new()];
    for group in alike.values_mut() {
        group.sort_unstable_by_key(|slot| slot.id);
        choices = choices.iter().flat_map(|chosen| with_some_of(chosen, group, wanted)).collect();
    }
    choices.retain(|chosen| chosen.len() == wanted);
    for chosen in &mut choices {
        chosen.sort_unstable_by_key(|slot| slot.id);
    }
    choices
}

/// The choice with none of a group, its first one, its first two, …
fn with_some_of(chosen: &[Slot], group: &[Slot], wanted: usize) -> Vec<Vec<Slot>> {
    let most = group.len().min(wanted.saturating_sub(chosen.len()));
    let with = |count| chosen.iter().chain(group.iter().take(count)).copied().collect();
    (0..=most).map(with).collect()
}

/// Smaller is better, in the order of the fields.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// How many groups of linked cards, then NUMA nodes, the request is spread over.
    link_spread: usize,
    numa_spread: usize,
    /// What stays free, largest group first: a large request should still fit later.
    link_left: Reverse<Vec<usize>>,
    numa_left: Reverse<Vec<usize>>,
    /// The user's last cards, when all else is equal; then the lowest ids.
    familiar: Reverse<usize>,
    ids: Vec<CardId>,
}

impl Score {
    fn of(chosen: &[Slot], free: &[Slot], last: &[CardId]) -> Self {
        let left: Vec<Slot> = free.iter().filter(|slot| !chosen.contains(slot)).copied().collect();
        Self {
            link_spread: group_sizes(chosen, |slot| slot.link).len(),
            numa_spread: group_sizes(chosen, |slot| slot.numa).len(),
            link_left: Reverse(group_sizes(&left, |slot| slot.link)),
            numa_left: Reverse(group_sizes(&left, |slot| slot.numa)),
            familiar: Reverse(chosen.iter().filter(|slot| last.contains(&slot.id)).count()),
            ids: chosen.iter().map(|slot| slot.id).collect(),
        }
    }
}

/// Largest first.
fn group_sizes(slots: &[Slot], group: impl Fn(&Slot) -> u32) -> Vec<usize> {
    let mut counts = BTreeMap::<u32, usize>::new();
    for slot in slots {
        *counts.entry(group(slot)).or_default() += 1;
    }
    let mut sizes: Vec<usize> = counts.into_values().collect();
    sizes.sort_unstable_by_key(|size| Reverse(*size));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two halves of four, as on the simulated node.
    fn node(free: u32) -> Vec<Slot> {
        (0..8).map(|id| Slot { id: CardId(id), free: free >> id & 1 == 1, link: 0, numa: id / 4 }).collect()
    }

    fn ids(cards: &[u32]) -> Vec<CardId> {
        cards.iter().copied().map(CardId).collect()
    }

    fn count(free: u32, wanted: i64, last: &[u32]) -> Vec<CardId> {
        assign(&node(free), &CardWish::Count(wanted), &ids(last)).unwrap()
    }

    #[test]
    fn the_fullest_group_that_fits_is_used_first() {
        assert_eq!(count(0b1111_1111, 2, &[]), ids(&[0, 1]));
        assert_eq!(count(0b1111_1100, 2, &[]), ids(&[2, 3]), "the half with 2 left, so that 4 still fit");
        assert_eq!(count(0b0011_1111, 3, &[]), ids(&[0, 1, 2]));
        assert_eq!(count(0b0111_0011, 2, &[]), ids(&[0, 1]));
        assert_eq!(count(0b0110_0111, 4, &[]), ids(&[0, 1, 2, 5]), "split only because nothing else fits");
    }

    #[test]
    fn the_last_cards_count_only_between_equals() {
        assert_eq!(count(0b1111_1111, 2, &[6, 7]), ids(&[6, 7]));
        assert_eq!(count(0b1111_1100, 2, &[6, 7]), ids(&[2, 3]));
    }

    /// Every set of free cards and every count, on both real layouts.
    #[test]
    fn a_request_is_never_spread_wider_than_it_must() {
        let layouts: [fn(u32) -> (u32, u32); 3] =
            [|id| (0, id / 4), |id| (0, id % 2 + id / 4 * 2), |id| (id / 4, id % 2 + id / 4 * 2)];
        for layout in layouts {
            for free in 0u32..256 {
                let slots: Vec<Slot> = (0..8)
                    .map(|id| {
                        let (link, numa) = layout(id);
                        Slot { id: CardId(id), free: free >> id & 1 == 1, link, numa }
                    })
                    .collect();
                for wanted in 1..=8 {
                    check_one(&slots, wanted);
                }
            }
        }
    }

    fn check_one(slots: &[Slot], wanted: usize) {
        let free: Vec<Slot> = slots.iter().copied().filter(|slot| slot.free).collect();
        let outcome = assign(slots, &CardWish::Count(i64::try_from(wanted).unwrap()), &[]);
        if free.len() < wanted {
            assert!(matches!(outcome, Err(NoFit::TooFew { .. })));
            return;
        }
        let cards = outcome.unwrap();
        assert_eq!(cards.len(), wanted);
        assert!(cards.is_sorted());
        let chosen: Vec<Slot> = free.iter().copied().filter(|slot| cards.contains(&slot.id)).collect();
        assert_eq!(chosen.len(), wanted, "only free cards");
        let fits_unsplit = group_sizes(&free, |slot| slot.link)[0] >= wanted;
        assert_eq!(group_sizes(&chosen, |slot| slot.link).len() == 1, fits_unsplit);
        if group_sizes(&free, |slot| slot.numa)[0] >= wanted {
            assert_eq!(group_sizes(&chosen, |slot| slot.numa).len(), 1, "{slots:?} {wanted} {cards:?}");
        }
    }

    /// Every set of so many free cards, without any thought.
    fn best_of_all(slots: &[Slot], wanted: usize, last: &[CardId]) -> Vec<CardId> {
        let free: Vec<Slot> = slots.iter().filter(|slot| slot.free).copied().collect();
        (0u32..1 << free.len())
            .filter(|mask| mask.count_ones() as usize == wanted)
            .map(|mask| {
                (0..free.len()).filter(|index| mask >> index & 1 == 1).map(|index| free[index]).collect()
            })
            .min_by_key(|chosen: &Vec<Slot>| Score::of(chosen, &free, last))
            .map(|chosen| chosen.into_iter().map(|slot| slot.id).collect())
            .unwrap()
    }

    #[test]
    fn trying_alike_cards_once_misses_nothing() {
        for (free, groups) in (0u32..256).step_by(5).flat_map(|free| [(free, 2), (free, 3)]) {
            let slot =
                |id| Slot { id: CardId(id), free: free >> id & 1 == 1, link: id % groups, numa: id / 4 };
            let slots: Vec<Slot> = (0..8).map(slot).collect();
            for (wanted, last) in
                (1..=free.count_ones()).flat_map(|wanted| [(wanted, vec![]), (wanted, ids(&[1, 6]))])
            {
                let chosen = assign(&slots, &CardWish::Count(i64::from(wanted)), &last).unwrap();
                assert_eq!(
                    chosen,
                    best_of_all(&slots, wanted as usize, &last),
                    "{slots:?} {wanted} {last:?}"
                );
            }
        }
    }

    #[test]
    fn wishes_that_make_no_sense_are_named() {
        let slots = node(0b1111_0111);
        let wish = |ids: &[i64]| assign(&slots, &CardWish::Ids(ids.to_vec()), &[]);
        assert_eq!(wish(&[5, 1]).unwrap(), ids(&[1, 5]));
        assert_eq!(wish(&[]), Err(NoFit::NoIds));
        assert_eq!(wish(&[1, 2, 1]), Err(NoFit::Twice(1)));
        assert!(matches!(wish(&[8]), Err(NoFit::Unknown { asked: 8, .. })));
        assert!(matches!(wish(&[-1]), Err(NoFit::Unknown { asked: -1, .. })));
        assert_eq!(wish(&[2, 3]), Err(NoFit::Taken(ids(&[3]))));
        for asked in [0, 9, -1, i64::MAX, i64::MIN] {
            let outcome = assign(&slots, &CardWish::Count(asked), &[]);
            assert_eq!(outcome, Err(NoFit::Count { asked, cards: 8 }));
        }
        assert!(matches!(assign(&slots, &CardWish::Count(8), &[]), Err(NoFit::TooFew { asked: 8, .. })));
    }

    #[test]
    fn sixteen_free_cards_are_decided_at_once() {
        let slots: Vec<Slot> =
            (0..16).map(|id| Slot { id: CardId(id), free: true, link: 0, numa: id / 4 }).collect();
        let cards = assign(&slots, &CardWish::Count(8), &[]).unwrap();
        assert_eq!(cards, ids(&[0, 1, 2, 3, 4, 5, 6, 7]));
    }
}
