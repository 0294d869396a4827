//! `berth resize`: another number of cards, or other cards, for a stopped berth.

use super::request::{Ids, parse_ids};
use super::start::act;
use super::{Global, render};
use crate::model::{BerthAct, ResizeRequest, card};
use anyhow::Result;
use std::process::ExitCode;

/// Give a stopped berth another number of cards, or certain ones
#[derive(clap::Args)]
#[command(after_long_help = "\
It counts at the next start: all files stay, also those outside your personal
storage. Memory and CPUs go with the cards, unless they were asked for. A live
berth has to be stopped first, which ends its programs. With --card-ids the
next start gets exactly these cards, or is refused while somebody has them;
`berth start --wait` waits for them.

Examples:
  berth resize train --cards 4
  berth resize train --card-ids 0,4-6")]
pub(crate) struct Args {
    /// Its name, or OWNER/NAME
    name: String,
    /// How many cards; 0 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, required_unless_present = "card_ids")]
    cards: Option<i64>,
    /// Exactly these cards, as `berth cards` numbers them: 0,1 or 4-7
    #[arg(
        long,
        value_name = "ID,…",
        value_delimiter = ',',
        value_parser = parse_ids,
        allow_negative_numbers = true,
        conflicts_with = "cards"
    )]
    card_ids: Option<Vec<Ids>>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode> {
    let card_ids = args.card_ids.as_deref().map(Ids::all);
    let wanted = ResizeRequest { cards: args.cards, card_ids };
    let view = act(global, &args.name, &BerthAct::Resize(wanted))?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cards = match (&view.berth.next_cards, view.berth.size) {
        (Some(cards), _) => card::named(cards),
        (None, 0) => "no card".to_owned(),
        (None, 1) => "1 card".to_owned(),
        (None, size) => format!("{size} cards"),
    };
    render::line(&format!("{} has {cards} from its next start on", view.berth.label()));
    render::note(&format!("berth start {}", view.berth.name));
    Ok(ExitCode::SUCCESS)
}
