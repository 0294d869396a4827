//! `berth request`: a new berth.

use super::call::{parse_duration, wait_for, whole_seconds};
use super::waiting::in_queue;
use super::{Global, render, ssh};
use crate::agent::types::BerthView;
use crate::error::Fault;
use crate::ledger::TicketRow;
use crate::model::{BerthRequest, CardWish, Size, card};
use anyhow::Result;
use std::process::ExitCode;
use std::time::Duration;

/// How long `--wait` waits when it is given no time.
pub(super) const WAIT: &str = "30m";

/// Ask for cards: a container of your own with SSH
#[derive(clap::Args)]
#[command(after_long_help = "\
You get a container with exactly those cards, an SSH port and your personal
storage. The last lines are ssh commands that log in to it: over its own port,
and over the node's gateway. It stays until you release it.

`--cards 0` is a berth without a card, for files, editing and compiling: it is
made at once, however many wait for cards.

Examples:
  berth request --cards 2
  berth request --cards 4 --name train --image pytorch-2.5 --lease 2days
  berth request --card-ids 0,4-6 --wait 1h
  berth request --cards 0 --name edit")]
pub(crate) struct Args {
    /// How many cards; 0 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true, required_unless_present = "card_ids")]
    #[arg(aliases = ["npus", "npu"])]
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
    /// The berth's name [default: dev]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A base image of the catalogue; see `berth image list`
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How long you need it, such as 8h or 2days [default: the profile's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// Wait until cards are free, at most so long [30m when no time is given]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1, default_missing_value = WAIT)]
    wait: Option<Duration>,
    /// Answer at once, as without --wait: cards, or why there are none
    #[arg(long, conflicts_with_all = ["wait", "detach"])]
    nonblock: bool,
    /// Do not wait here: it becomes a berth when its turn comes, and you log in to it
    /// within 15 minutes, or its cards are for the next one
    #[arg(long, conflicts_with = "wait")]
    detach: bool,
    /// For work without a person: it is never idle, and is stopped when its lease
    /// ends. Ten minutes before, its programs get SIGTERM, to write a checkpoint
    #[arg(long)]
    unattended: bool,
    /// CPUs, such as 16 or 0.5 [default: the profile's share for the cards]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpus: Option<f64>,
    /// Memory, such as 64G [default: the profile's share for the cards]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// For whom; only administrators may name somebody else
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// One word of `--card-ids`: a card, or those from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids(Vec<i64>);

impl Ids {
    /// All cards of some words.
    pub(super) fn all(words: &[Self]) -> Vec<i64> {
        words.iter().flat_map(|ids| ids.0.iter().copied()).collect()
    }
}

/// More than any node has.
const MOST_IDS: i64 = 1024;

pub(super) fn parse_ids(text: &str) -> Result<Ids, String> {
    let wrong = || "write numbers as 0,1 or 4-7".to_owned();
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
    if let Ok(one) = number(text) {
        return Ok(Ids(vec![one]));
    }
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (number(first)?, number(last)?);
    if first > last || last - first >= MOST_IDS {
        return Err(wrong());
    }
    Ok(Ids((first..=last).collect()))
}

impl Args {
    fn into_request(self) -> Result<BerthRequest, Fault> {
        let cards = match (self.cards, self.card_ids) {
            (Some(count), _) => CardWish::Count(count),
            (None, Some(ids)) => CardWish::Ids(Ids::all(&ids)),
            (None, None) => return Err(Fault::usage("say how many cards: --cards N")),
        };
        // JSON has no such numbers: the agent would hear of no wish at all.
        if let Some(cpus) = self.cpus.filter(|cpus| !cpus.is_finite()) {
            return Err(Fault::usage(format!("{cpus} CPUs cannot be asked for")).help("--cpus 16"));
        }
        Ok(BerthRequest {
            cards,
            owner: self.user,
            name: self.name,
            image: self.image,
            lease: self.lease.map(whole_seconds),
            wait: if self.nonblock { 0 } else { self.wait.map_or(0, whole_seconds) },
            cpus: self.cpus,
            memory: self.memory,
            unattended: self.unattended,
            ticket: None,
        })
    }
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let detach = args.detach;
    let request = args.into_request()?;
    let client = global.client()?;
    if detach {
        let ticket: TicketRow = wait_for(client.post("/v1/tickets", &request))?;
        return said_ticket(global, &ticket);
    }
    let view: BerthView = wait_for(in_queue(&client, "/v1/berths", request.wait, |wait, ticket| {
        BerthRequest { wait, ticket, ..request.clone() }
    }))?;
    if global.json {
        render::json(&view)?;
    } else {
        let berth = &view.berth;
        let cards = card::named(&berth.cards);
        render::line(&format!("{}/{} has {cards}, image {}", berth.owner, berth.name, berth.image));
        render::line(&ssh::command_line(&view));
        if let Some(jump) = ssh::jump_line(&view) {
            render::line(&jump);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn said_ticket(global: &Global, ticket: &TicketRow) -> Result<ExitCode> {
    if global.json {
        render::json(ticket)?;
        return Ok(ExitCode::SUCCESS);
    }
    render::line(&format!("ticket {}: it becomes a berth when its turn comes", ticket.id));
    render::note(&format!("`berth queue` shows its place; `berth cancel {}` ends the wait", ticket.id));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_named_one_by_one_or_from_one_to_another() {
        for (text, ids) in [("3", &[3][..]), ("4-6", &[4, 5, 6]), ("7-7", &[7]), ("-1", &[-1]), (" 2", &[2])]
        {
            assert_eq!(parse_ids(text), Ok(Ids(ids.to_vec())), "{text}");
        }
        for text in ["", "x", "6-4", "1-", "-", "--1", "1-2-3", "0-9999999999", "1..3"] {
            assert!(parse_ids(text).is_err(), "{text}");
        }
    }
}
