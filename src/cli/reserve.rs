//! `berth reserve`: cards that an administrator keeps for a user, for a time.

use super::call::{parse_duration, relative, wait_for, whole_seconds};
use super::{Global, render};
use crate::agent::types::Reservations;
use crate::ledger::Reservation;
use crate::ops::reserve::NewReservation;
use anyhow::Result;
use clap::Subcommand;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::process::ExitCode;
use std::time::Duration;

/// Keep cards for a user, for a time
#[derive(clap::Args)]
#[command(after_long_help = "\
For a class or a demonstration. Who would have the cards when it begins does not
get them, and whose lease is over by then is asked back. Nobody is stopped
inside a lease: so say it a day before.

Examples:
  sudo berth reserve add alice --cards 8 --from '2026-12-24 14:00' --for 4h
  sudo berth reserve add alice --cards 2 --from 30m --for 2h --why 'a visitor'
  berth reserve list")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Keep cards for a user; for administrators
    #[command(
        after_long_help = "Example:\n  sudo berth reserve add alice --cards 8 --from '2026-12-24 14:00' --for 4h"
    )]
    Add {
        /// Whose berths get them
        user: String,
        /// How many cards
        #[arg(long, value_name = "N")]
        cards: u32,
        /// When: '2026-12-24 14:00' in this node's time, 2026-12-24T13:00:00Z, or a time from now on such
        /// as 2h [default: now]
        #[arg(long, value_name = "TIME", value_parser = parse_begin)]
        from: Option<Begin>,
        /// For how long, such as 4h
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        length: Duration,
        /// Why, in a few words; others read it
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Show what is reserved
    #[command(after_long_help = "Example:\n  berth reserve list")]
    List,
    /// End a reservation; for administrators
    #[command(after_long_help = "Example:\n  sudo berth reserve end 3")]
    End {
        /// Its number, as `berth reserve list` shows it
        id: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    At(Timestamp),
    In(Duration),
}

fn parse_begin(text: &str) -> Result<Begin, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Begin::At(at));
    }
    if let Ok(local) = text.parse::<DateTime>() {
        let at = local.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
        return Ok(Begin::At(at.timestamp()));
    }
    parse_duration(text)
        .map(Begin::In)
        .map_err(|_| "write '2026-12-24 14:00', or a time from now on such as 2h".into())
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    match args.command {
        Verb::Add { user, cards, from, length, why } => {
            let from = match from {
                Some(Begin::At(at)) => Some(at),
                Some(Begin::In(wait)) => Some(Timestamp::now().checked_add(SignedDuration::try_from(wait)?)?),
                None => None,
            };
            let new = NewReservation { owner: user, cards, from, seconds: whole_seconds(length), why };
            let added: Reservation = wait_for(global.client()?.post("/v1/reservations", &new))?;
            said(global, &added, &format!("reservation {}: {}", added.id, words(&added)))
        }
        Verb::End { id } => {
            let ended: Reservation = wait_for(global.client()?.delete(&format!("/v1/reservations/{id}")))?;
            said(global, &ended, &format!("reservation {id} is ended"))
        }
        Verb::List => list(global),
    }
}

fn said(global: &Global, reservation: &Reservation, line: &str) -> Result<ExitCode> {
    if global.json {
        render::json(reservation)?;
    } else {
        render::line(line);
    }
    Ok(ExitCode::SUCCESS)
}

fn words(reservation: &Reservation) -> String {
    let local = reservation.from.to_zoned(TimeZone::system()).strftime("%F %H:%M");
    let length = reservation.until.duration_since(reservation.from).unsigned_abs();
    let length = humantime::format_duration(Duration::from_secs(length.as_secs()));
    format!("{} cards for {}, {length} from {local} on", reservation.cards, reservation.owner)
}

fn list(global: &Global) -> Result<ExitCode> {
    let all: Reservations = wait_for(global.client()?.get("/v1/reservations"))?;
    if global.json {
        render::json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    if all.reservations.is_empty() {
        render::note("nothing is reserved");
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table = render::table(&["NUMBER", "USER", "CARDS", "BEGINS", "ENDS", "WHY"]);
    for one in &all.reservations {
        table.add_row([
            one.id.to_string(),
            one.owner.clone(),
            one.cards.to_string(),
            relative(one.from, now),
            relative(one.until, now),
            render::printable(&one.why),
        ]);
    }
    render::show_table(&table);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_time_or_a_wait() {
        assert_eq!(parse_begin("2h"), Ok(Begin::In(Duration::from_hours(2))));
        let at = |text: &str| Ok(Begin::At(text.parse().unwrap()));
        assert_eq!(parse_begin("2026-12-24T13:00:00Z"), at("2026-12-24T13:00:00Z"));
        assert!(matches!(parse_begin("2026-12-24 14:00"), Ok(Begin::At(_))));
        for wrong in ["", "14:00", "tomorrow", "5", "2026-13-01 10:00"] {
            assert!(parse_begin(wrong).is_err(), "{wrong}");
        }
    }
}
