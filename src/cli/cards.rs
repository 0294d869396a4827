//! `berth cards`: the cards, their health, and who has them.

use super::call::{relative, wait_for};
use super::{Global, render};
use crate::agent::types::Cards;
use crate::model::{CardView, Health, Holder};
use anyhow::Result;
use comfy_table::{Cell, Color};
use jiff::Timestamp;
use std::process::ExitCode;

/// Show the cards: health, HBM, temperature, and who has them
#[derive(clap::Args)]
#[command(after_long_help = "\
Holders are berths, containers that berth did not start, and processes on the
host. A card that could not be looked at is never shown as free.

Example:
  berth cards --json | jq '.cards[] | select(.holders == []) | .id'")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, _args: Args) -> Result<ExitCode> {
    let cards: Cards = wait_for(global.client()?.get("/v1/cards"))?;
    if global.json {
        render::json(&cards)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(error) = &cards.error {
        render::note(&format!("the cards could not be looked at: {}", render::printable(&error.meaning)));
        render::note(&format!("help: {}", render::printable(&error.remedy)));
    }
    let now = Timestamp::now();
    let mut table = render::table(&["CARD", "NAME", "HEALTH", "HBM MiB", "°C", "AICORE", "NUMA", "HOLDER"]);
    for card in &cards.cards {
        table.add_row(row(card, now));
    }
    render::show_table(&table);
    Ok(ExitCode::SUCCESS)
}

fn row(card: &CardView, now: Timestamp) -> Vec<Cell> {
    let dash = || "-".to_owned();
    let number = |value: Option<String>| Cell::new(value.unwrap_or_else(dash));
    let hbm = match (card.hbm_used_mib, card.hbm_total_mib) {
        (Some(used), Some(total)) => format!("{used}/{total}"),
        _ => dash(),
    };
    vec![
        Cell::new(card.id),
        Cell::new(render::printable(card.name.as_deref().unwrap_or("-"))),
        health(card.health),
        Cell::new(hbm),
        number(card.temperature_c.map(|degrees| degrees.to_string())),
        number(card.aicore_percent.map(|percent| format!("{percent}%"))),
        number(card.numa_node.map(|node| node.to_string())),
        holder(card, now),
    ]
}

fn health(health: Option<Health>) -> Cell {
    match health {
        Some(Health::Ok) => Cell::new("ok"),
        Some(Health::Warning) => Cell::new("warning").fg(Color::Yellow),
        Some(bad) => Cell::new(bad).fg(Color::Red),
        None => Cell::new("-"),
    }
}

fn holder(card: &CardView, now: Timestamp) -> Cell {
    let mut lines: Vec<String> = card.holders.iter().map(|holder| describe(holder, now)).collect();
    if let Some(ruling) = card.ruling.as_ref().filter(|ruling| ruling.allows()) {
        lines.push(ruling.to_string());
    }
    if let Some(reason) = &card.unusable {
        lines.push(format!("not given out: {reason}"));
    }
    let text = render::printable(&lines.join("\n"));
    match (card.holders.as_slice(), &card.unusable) {
        ([], None) if lines.is_empty() => Cell::new("free").fg(Color::Green),
        ([], None) => Cell::new(format!("free\n{text}")).fg(Color::Green),
        ([], Some(_)) => Cell::new(text).fg(Color::Red),
        ([Holder::Berth { .. }], _) => Cell::new(text),
        _ => Cell::new(text).fg(Color::Yellow),
    }
}

fn describe(holder: &Holder, now: Timestamp) -> String {
    match holder {
        Holder::Berth { until: Some(until), .. } if *until > now => {
            format!("{holder}, lease ends {}", relative(*until, now))
        }
        Holder::Berth { until: Some(_), .. } => format!("{holder}, lease is over"),
        _ => holder.to_string(),
    }
}
