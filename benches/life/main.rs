//! Weeks of people on a node of eight cards, played on `life::decide` and on two simpler rules, in some seconds.
//!
//! `cargo bench --bench life -- [--days N] [--seeds N]` prints the tables of docs/life.md. The same numbers come out on every machine:
//! each seed is a random series of its own, and no clock is read but to tell how long a decision takes.
#![allow(clippy::print_stdout, reason = "it prints its tables")]

mod node;
mod rules;
mod stats;
mod tables;
mod traffic;

use std::process::ExitCode;

/// What is simulated.
#[derive(Clone, Copy)]
pub struct Extent {
    pub days: u64,
    pub seeds: u64,
}

fn main() -> ExitCode {
    let Some(extent) = extent(std::env::args().skip(1)) else {
        println!("cargo bench --bench life -- [--days N] [--seeds N]");
        return ExitCode::from(2);
    };
    let Extent { days, seeds } = extent;
    println!("8 cards, 20 users, {days} days × {seeds} seeds; waits in hours, mean/p95\n");
    let order = tables::order(extent);
    let leases = tables::leases(extent);
    if order && leases { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn extent(mut words: impl Iterator<Item = String>) -> Option<Extent> {
    let mut extent = Extent { days: 60, seeds: 6 };
    while let Some(word) = words.next() {
        match &*word {
            // cargo says this to every bench.
            "--bench" => {}
            "--days" => extent.days = number(words.next())?,
            "--seeds" => extent.seeds = number(words.next())?,
            _ => return None,
        }
    }
    Some(extent)
}

fn number(word: Option<String>) -> Option<u64> {
    word?.parse().ok().filter(|number| *number > 0)
}
