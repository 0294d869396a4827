//! Which CPUs a berth gets: those near its cards. No two cards share a CPU. Pure.
//!
//! Cards with the same nearby CPUs form a pool. CPUs that are near no card go to the nearest pool, by the distance
//! of their NUMA nodes. A pool is cut into as many shares as it has cards. So a card's share never depends on who
//! asked first.

use crate::model::CardId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The CPUs near a card, as its topology says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    pub card: CardId,
    pub cpus: BTreeSet<u32>,
}

/// A NUMA node: its CPUs, and how far it is from each node, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumaCpus {
    pub id: u32,
    pub cpus: BTreeSet<u32>,
    pub distances: BTreeMap<u32, u32>,
}

struct Pool {
    cards: Vec<CardId>,
    near: BTreeSet<u32>,
    /// The CPUs near the pool's cards first, then those that were near no card.
    cpus: Vec<u32>,
}

impl Pool {
    /// The share of the card at this place in the pool; empty where there are fewer CPUs than cards.
    fn share(&self, place: usize) -> &[u32] {
        let (cpus, cards) = (self.cpus.len(), self.cards.len());
        if cpus < cards {
            return &[];
        }
        self.cpus.get(place * cpus / cards..(place + 1) * cpus / cards).unwrap_or_default()
    }
}

/// The CPUs for a berth with these cards. It was promised a number of CPUs, or is not limited. `None` where pinning
/// gains nothing: the topology is not known, or there are fewer CPUs than cards.
pub fn for_berth(
    cards: &[CardId],
    promised: Option<f64>,
    near: &[Near],
    nodes: &[NumaCpus],
    online: &BTreeSet<u32>,
) -> Option<BTreeSet<u32>> {
    let pools = pools(near, nodes, online);
    let mut shares: Vec<&[u32]> = Vec::new();
    let mut around: Vec<u32> = Vec::new();
    for card in cards {
        let (pool, place) =
            pools.iter().find_map(|pool| Some((pool, pool.cards.iter().position(|known| known == card)?)))?;
        let share = pool.share(place);
        if share.is_empty() {
            return None;
        }
        shares.push(share);
        around.extend(&pool.cpus);
    }
    let Some(promised) = promised else {
        return Some(shares.iter().flat_map(|share| share.iter().copied()).collect());
    };
    // Each card's share in turn, so that a berth on two pools has as much of each.
    let longest = shares.iter().map(|share| share.len()).max().unwrap_or(0);
    let own = (0..longest).flat_map(|place| shares.iter().filter_map(move |share| share.get(place).copied()));
    let wanted =
        (1..=online.len()).find(|count| f64::from(u32::try_from(*count).unwrap_or(0)) >= promised)?;
    // Who was promised more than a share gets the rest of the package, and then of the machine.
    let mut chosen = BTreeSet::new();
    for cpu in own.chain(around).chain(online.iter().copied()) {
        if chosen.len() == wanted {
            break;
        }
        chosen.insert(cpu);
    }
    (chosen.len() == wanted && wanted < online.len()).then_some(chosen)
}

fn pools(near: &[Near], nodes: &[NumaCpus], online: &BTreeSet<u32>) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for Near { card, cpus } in near {
        let cpus: BTreeSet<u32> = cpus.intersection(online).copied().collect();
        if cpus.is_empty() {
            continue;
        }
        // One list of CPUs may hold another, or two may overlap: then they are one package.
        let (alike, apart): (Vec<Pool>, Vec<Pool>) =
            pools.into_iter().partition(|pool| !pool.near.is_disjoint(&cpus));
        let mut joined = Pool { cards: vec![*card], near: cpus, cpus: Vec::new() };
        for pool in alike {
            joined.cards.extend(pool.cards);
            joined.near.extend(pool.near);
        }
        joined.cards.sort_unstable();
        pools = apart;
        pools.push(joined);
    }
    for pool in &mut pools {
        pool.cpus = pool.near.iter().copied().collect();
    }
    pools.sort_by_key(|pool| pool.near.first().copied());
    adopt(&mut pools, nodes, online);
    pools
}

/// Gives the CPUs of nodes that are near no card to the nearest pool.
fn adopt(pools: &mut [Pool], nodes: &[NumaCpus], online: &BTreeSet<u32>) {
    for node in nodes {
        let cpus: BTreeSet<u32> = node.cpus.intersection(online).copied().collect();
        if cpus.is_empty() || pools.iter().any(|pool| !pool.near.is_disjoint(&cpus)) {
            continue;
        }
        if let Some(pool) = pools.iter_mut().min_by_key(|pool| distance(pool, node, nodes, &cpus)) {
            pool.cpus.extend(cpus);
        }
    }
}

/// Orders pools for a node: first by the distance that the firmware gives, then by how few CPUs a pool has for each
/// card, then by CPU numbers.
fn distance(pool: &Pool, node: &NumaCpus, nodes: &[NumaCpus], cpus: &BTreeSet<u32>) -> impl Ord + use<> {
    let of_pool = nodes.iter().filter(|other| !pool.near.is_disjoint(&other.cpus));
    let told = of_pool.filter_map(|other| node.distances.get(&other.id)).min().copied();
    let gap = |a: &u32, b: &u32| a.abs_diff(*b);
    let apart =
        pool.near.iter().filter_map(|near| Some(gap(near, cpus.first()?).min(gap(near, cpus.last()?))));
    let each = pool.cpus.len() / pool.cards.len().max(1);
    (told.unwrap_or(u32::MAX), each, apart.min(), Reverse(pool.near.first().copied() < cpus.first().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cpulist;

    fn cpus(text: &str) -> BTreeSet<u32> {
        cpulist::parse(text).unwrap()
    }

    fn near(lists: &[&str]) -> Vec<Near> {
        (0..).zip(lists).map(|(id, list)| Near { card: CardId(id), cpus: cpus(list) }).collect()
    }

    /// Eight nodes of 24 CPUs, two a package, at the distances that such a server's firmware gives.
    fn kunpeng(distances: bool) -> Vec<NumaCpus> {
        (0..8u32)
            .map(|id| NumaCpus {
                id,
                cpus: (id * 24..(id + 1) * 24).collect(),
                distances: (0..8u32)
                    .filter(|_| distances)
                    .map(|other| {
                        (
                            other,
                            if other == id {
                                10
                            } else if other / 2 == id / 2 {
                                12
                            } else {
                                28
                            },
                        )
                    })
                    .collect(),
            })
            .collect()
    }

    /// npu-smi info -t topo of a real server: 8 cards on 4 of 8 nodes.
    const FIELD: [&str; 8] = ["144-167", "144-167", "96-119", "96-119", "0-23", "0-23", "48-71", "48-71"];

    fn field(cards: &[u32], promised: Option<f64>, distances: bool) -> Option<String> {
        let cards: Vec<CardId> = cards.iter().copied().map(CardId).collect();
        let online = (0..192).collect();
        for_berth(&cards, promised, &near(&FIELD), &kunpeng(distances), &online)
            .map(|cpus| cpulist::format(&cpus))
    }

    #[test]
    fn every_card_of_the_real_server_has_24_cpus_of_its_package() {
        for distances in [true, false] {
            let shares: Vec<String> = (0..8).map(|card| field(&[card], None, distances).unwrap()).collect();
            assert_eq!(
                shares,
                ["144-167", "168-191", "96-119", "120-143", "0-23", "24-47", "48-71", "72-95"],
                "with distances: {distances}"
            );
        }
        assert_eq!(
            field(&[4, 5], None, true).unwrap(),
            "0-47",
            "all of the package to who has all its cards"
        );
    }

    #[test]
    fn as_many_cpus_as_were_promised_and_nobody_else_s() {
        let promised = |cards: &[u32], count: f64| field(cards, Some(count), true).map(|text| cpus(&text));
        for (count, wanted) in [(0.5, 1), (1.0, 1), (22.2, 23), (23.0, 23), (24.0, 24)] {
            let each: Vec<BTreeSet<u32>> = (0..8).map(|card| promised(&[card], count).unwrap()).collect();
            let all: BTreeSet<u32> = each.iter().flatten().copied().collect();
            assert!(each.iter().all(|cpus| cpus.len() == wanted), "{count}");
            assert_eq!(all.len(), each.iter().map(BTreeSet::len).sum::<usize>(), "{count}: no CPU twice");
        }
        assert_eq!(cpulist::format(&promised(&[4, 6], 4.0).unwrap()), "0-1,48-49", "of each card's");
        assert_eq!(cpulist::format(&promised(&[4], 30.0).unwrap()), "0-29", "the rest of its package");
        assert_eq!(promised(&[4], 60.0).unwrap().len(), 60, "and then of the machine");
        assert_eq!(promised(&[4], 192.0), None, "all there are");
    }

    #[test]
    fn one_card_a_package_has_all_of_it_and_too_few_cpus_are_not_shared_out() {
        let online: BTreeSet<u32> = (0..8).collect();
        let one = for_berth(&[CardId(0)], None, &near(&["0-3", "4-7"]), &[], &online);
        assert_eq!(one, Some(cpus("0-3")));
        // As on a small machine with the simulated node's eight cards.
        let small: BTreeSet<u32> = (0..2).collect();
        let halves = near(&["0", "0", "0", "0", "1", "1", "1", "1"]);
        for promised in [None, Some(0.5), Some(1.0)] {
            assert_eq!(for_berth(&[CardId(0)], promised, &halves, &[], &small), None);
        }
        assert_eq!(for_berth(&[CardId(0)], None, &[], &[], &online), None, "unknown");
        let gone = near(&["20-23"]);
        assert_eq!(for_berth(&[CardId(0)], None, &gone, &[], &online), None, "offline");
    }

    #[test]
    fn lists_that_overlap_are_one_package() {
        let online: BTreeSet<u32> = (0..8).collect();
        let mixed = near(&["0-1", "2-3", "0-7", "4-5"]);
        let share = |card| for_berth(&[CardId(card)], None, &mixed, &[], &online).unwrap();
        assert_eq!([0, 1, 2, 3].map(|card| cpulist::format(&share(card))), ["0-1", "2-3", "4-5", "6-7"]);
    }
}
