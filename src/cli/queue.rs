//! `berth queue`: who waits for cards, and until when.

use super::call::{relative, wait_for};
use super::{Global, render};
use crate::agent::types::Queue;
use crate::ledger::TicketRow;
use crate::model::CardWish;
use crate::ops::queue::QueuePlace;
use anyhow::Result;
use jiff::Timestamp;
use std::process::ExitCode;

/// Show who waits for cards, and when they may get them
#[derive(clap::Args)]
#[command(after_long_help = "\
Who used less in the last days is served first; who has waited for 12 hours is
overtaken by nobody. LIKELY counts on berths whose lease is over, LATEST on
leases alone.

Example:
  berth queue")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, _args: &Args) -> Result<ExitCode> {
    let queue: Queue = wait_for(global.client()?.get("/v1/queue"))?;
    if global.json {
        render::json(&queue)?;
        return Ok(ExitCode::SUCCESS);
    }
    if queue.waiting.is_empty() {
        render::note("nobody waits for cards");
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table =
        render::table(&["PLACE", "TICKET", "USER", "BERTH", "CARDS", "WAITS SINCE", "LIKELY", "LATEST"]);
    for place in &queue.waiting {
        table.add_row(row(place, now));
    }
    render::show_table(&table);
    Ok(ExitCode::SUCCESS)
}

fn row(place: &QueuePlace, now: Timestamp) -> Vec<String> {
    let ticket = &place.ticket;
    let cards = match &ticket.wish {
        CardWish::Count(count) => count.to_string(),
        CardWish::Ids(ids) => {
            format!("card {}", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
        }
    };
    let at = |time: Option<Timestamp>| time.map_or("not known".into(), |time| relative(time, now));
    vec![
        if place.first { format!("{}, next", place.place) } else { place.place.to_string() },
        ticket.id.to_string(),
        ticket.owner.clone(),
        ticket.berth.clone().unwrap_or_else(|| "-".into()),
        cards,
        relative(ticket.since, now),
        at(place.likely),
        at(place.latest),
    ]
}

/// End the wait of a request
#[derive(clap::Args)]
#[command(after_long_help = "\
Whoever waits with this ticket is told so. `berth queue` shows the numbers.

Example:
  berth cancel 12")]
pub(crate) struct CancelArgs {
    /// The number of its ticket
    #[arg(value_name = "TICKET")]
    id: u32,
}

pub(crate) fn cancel(global: &Global, args: &CancelArgs) -> Result<ExitCode> {
    let ticket: TicketRow = wait_for(global.client()?.delete(&format!("/v1/tickets/{}", args.id)))?;
    if global.json {
        render::json(&ticket)?;
    } else {
        render::line(&format!("ticket {} is cancelled", ticket.id));
    }
    Ok(ExitCode::SUCCESS)
}
