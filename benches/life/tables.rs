//! The tables of docs/life.md, and whether they hold what the policy promises.

use crate::rules::{Rule, play};
use crate::stats::{Summary, Told, Wait, number, summary};
use crate::traffic::{Traffic, wishes};
use crate::{Extent, node};

/// p95 of requests for the whole node, as a part of the race's, at this load.
const GOAL_LOAD: f64 = 0.63;
const GOAL_RATIO: f64 = 0.45;
/// With leases of 8 hours the queue is bounded where so much of the card-hours has work.
const GOAL_USE: f64 = 0.36;
/// That is: in the last third of the days no more wait than twice as many as in the first, and this.
const GOAL_WAITING: f64 = 1.0;
const HOUR: u64 = 3600;

/// In which order those who wait are served, where everybody gives cards back at once.
pub fn order(extent: Extent) -> bool {
    let mut holds = true;
    for load in [GOAL_LOAD, 0.83] {
        println!("### Order: {:.0} % busy, cards are given back at once", load * 100.0);
        println!("| rule | 1 card | 2 | 4 | 8 cards | longest of 8 | p95 heavy/light users |");
        println!("|---|---|---|---|---|---|---|");
        let traffic = Traffic { load, days: extent.days, default_lease_hours: None, give_back_of_ten: 10 };
        let race = row("race", extent, |seed| play(Rule::Race, &wishes(traffic, seed), seed));
        row("first come, first served, with a reservation (EASY)", extent, |seed| {
            play(Rule::Easy, &wishes(traffic, seed), seed)
        });
        let decided = row("`decide`", extent, |seed| node::play(&wishes(traffic, seed), extent.days, None).0);
        let ratio = decided.p95 / race.p95;
        println!();
        let is_held = verdict("p95 of 8 cards, of the race's", ratio, GOAL_RATIO);
        holds &= is_held || load > GOAL_LOAD;
    }
    holds
}

fn row(name: &str, extent: Extent, play: impl Fn(u64) -> Vec<Wait>) -> Summary {
    let waits: Vec<Wait> = (1..=extent.seeds).flat_map(play).collect();
    let of = |cards| summary(waits.iter().filter(move |wait| wait.cards == cards));
    let users = |is_heavy| summary(waits.iter().filter(move |wait| wait.is_heavy == is_heavy)).p95;
    let whole = of(8);
    let longest = whole.longest;
    println!(
        "| {name} | {} | {} | {} | {whole} | {longest:.0} | {:.1}/{:.1} |",
        of(1),
        of(2),
        of(4),
        users(true),
        users(false)
    );
    whole
}

/// How long leases are and whether idle cards are asked back, where seven of ten people do not give cards back.
pub fn leases(extent: Extent) -> bool {
    let mut holds = true;
    let mut all = Told::default();
    for load in [GOAL_USE, 0.62] {
        println!("### Leases: {:.0} % of the card-hours have work, 7 of 10 forget their cards", load * 100.0);
        println!(
            "| default lease | idle | 1 card | 8 cards | longest | held | asked back a day | waiting: first, last third |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let row = |(lease, idle)| (lease, lease_row(load, lease, idle, extent));
        let rows = [(8, None), (8, Some(2)), (24, None), (24, Some(2))].map(row);
        println!();
        for (lease, told) in rows {
            all += told;
            let most = 2.0 * told.waiting_first + GOAL_WAITING;
            if load <= GOAL_USE && lease == 8 {
                holds &= verdict("waiting in the last third", told.waiting_last, most);
            }
        }
    }
    let decisions = u32::try_from(all.decisions).unwrap_or(u32::MAX);
    let (mean, slowest) = (all.deciding / decisions.max(1), all.slowest);
    println!("{decisions} decisions took {mean:.0?} each, {slowest:.0?} at most");
    holds
}

fn lease_row(load: f64, lease: u64, idle: Option<u64>, extent: Extent) -> Told {
    let traffic = Traffic { load, days: extent.days, default_lease_hours: Some(lease), give_back_of_ten: 3 };
    let mut waits = Vec::new();
    let mut told = Told::default();
    for seed in 1..=extent.seeds {
        let played = node::play(&wishes(traffic, seed), extent.days, idle.map(|hours| hours * HOUR));
        waits.extend(played.0);
        told += played.1;
    }
    let of = |cards| summary(waits.iter().filter(move |wait| wait.cards == cards));
    let days = u32::try_from(extent.days * extent.seeds).map_or(1.0, f64::from);
    let seeds = u32::try_from(extent.seeds).map_or(1.0, f64::from);
    let day = 86_400.0 * 8.0 * days / 100.0;
    println!(
        "| {lease} h | {} | {} | {} | {:.0} | {:.0} %, {:.0} % with work | {:.1}, {:.1} taken back | {:.1}, {:.1} |",
        idle.map_or("never".to_owned(), |hours| format!("{hours} h")),
        of(1),
        of(8),
        summary(waits.iter()).longest,
        told.held / day,
        told.worked / day,
        number(told.asked) / days,
        number(told.withdrawn) / days,
        told.waiting_first / seeds,
        told.waiting_last / seeds
    );
    told.waiting_first /= seeds;
    told.waiting_last /= seeds;
    assert_eq!(told.stopped_at_work, 0, "nobody is stopped at work inside a lease");
    told
}

fn verdict(what: &str, seen: f64, most: f64) -> bool {
    let holds = seen <= most;
    println!("{what}: {seen:.2} (<= {most:.2}) {}\n", if holds { "ok" } else { "MISSED" });
    holds
}
