//! `berth resize`: another number of cards for a stopped berth.

use super::start::act;
use super::{Global, render};
use crate::model::BerthAct;
use anyhow::Result;
use std::process::ExitCode;

/// Give a stopped berth another number of cards
#[derive(clap::Args)]
#[command(after_long_help = "\
It counts at the next start: all files stay, also those outside your personal
storage. Memory and CPUs go with the cards, unless they were asked for. A live
berth has to be stopped first, which ends its programs.

Example:
  berth resize train --cards 4")]
pub(crate) struct Args {
    /// Its name, or OWNER/NAME
    name: String,
    /// How many cards; 0 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cards: i64,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode> {
    let view = act(global, &args.name, &BerthAct::Resize { cards: args.cards })?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cards = match view.berth.size {
        0 => "no card".to_owned(),
        1 => "1 card".to_owned(),
        size => format!("{size} cards"),
    };
    render::line(&format!("{} has {cards} from its next start on", view.berth.label()));
    render::note(&format!("berth start {}", view.berth.name));
    Ok(ExitCode::SUCCESS)
}
