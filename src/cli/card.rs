//! `berth card`: what an administrator decides about a card.

use super::call::{parse_duration, wait_for, whole_seconds};
use super::{Global, render};
use crate::model::{CardVerdict, Ruling};
use crate::ops::rulings::NewRuling;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;
use std::time::Duration;

/// Decide whether a card is given out
#[derive(clap::Args)]
#[command(after_long_help = "\
A card in Alarm is not given out, and a healthy one is, unless an administrator
knows better. Whoever has the card keeps it.

Example:
  sudo berth card block 3 --why 'its fan is being replaced'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Give a card out for a time, whatever its health
    #[command(after_long_help = "Example:\n  sudo berth card allow 3 --until 2days")]
    Allow {
        /// The card's number
        card: u32,
        /// For how long from now on, such as 8h or 2days
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        until: Duration,
        /// Why it can be used
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Give a card to nobody, though it is healthy
    #[command(after_long_help = "Example:\n  sudo berth card block 3 --why 'its fan is being replaced'")]
    Block {
        /// The card's number
        card: u32,
        /// Why it cannot be used; others read it
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// For how long from now on [default: until it is cleared]
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        until: Option<Duration>,
    },
    /// End what was decided: the card's own health counts again
    #[command(after_long_help = "Example:\n  sudo berth card clear 3")]
    Clear {
        /// The card's number
        card: u32,
    },
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let (card, new) = match args.command {
        Verb::Allow { card, until, why } => {
            (card, NewRuling { verdict: CardVerdict::Allow, why, seconds: Some(whole_seconds(until)) })
        }
        Verb::Block { card, why, until } => (
            card,
            NewRuling { verdict: CardVerdict::Block, why: Some(why), seconds: until.map(whole_seconds) },
        ),
        Verb::Clear { card } => return clear(global, card),
    };
    let ruling: Ruling = wait_for(global.client()?.post(&path(card), &new))?;
    if global.json {
        render::json(&ruling)?;
    } else {
        render::line(&format!("card {card} is {}", render::printable(&ruling.to_string())));
    }
    Ok(ExitCode::SUCCESS)
}

fn clear(global: &Global, card: u32) -> Result<ExitCode> {
    wait_for(global.client()?.delete::<()>(&path(card)))?;
    if global.json {
        render::json(&())?;
    } else {
        render::line(&format!("card {card} is neither allowed nor blocked"));
    }
    Ok(ExitCode::SUCCESS)
}

fn path(card: u32) -> String {
    format!("/v1/cards/{card}/ruling")
}
