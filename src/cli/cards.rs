//! `berth cards`: the cards, their health, and who has them.

use super::call::{relative, wait_for};
use super::{Global, render};
use crate::agent::types::Cards;
use crate::error::Fault;
use crate::model::{CardView, Health, Holder};
use anyhow::Result;
use comfy_table::{Cell, Color};
use jiff::Timestamp;
use std::process::ExitCode;

/// Show the cards: health, HBM, temperature, and who has them
#[derive(clap::Args)]
#[command(after_long_help = "\
Holders are berths, containers that berth did not start, and processes on the
host. A card that could not be looked at is never shown as free, and the exit
code is then 5.

Example:
  berth cards --json | jq '.cards[] | select(.free) | .id'")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, _args: Args) -> Result<ExitCode> {
    let cards: Cards = wait_for(global.client()?.get("/v1/cards"))?;
    if global.json {
        render::json(&cards)?;
    } else {
        show(&cards, Timestamp::now());
    }
    match not_looked(&cards) {
        Some(fault) => Err(fault.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The error for cards that could not be looked at, so that the exit code tells a script that the answer is
/// incomplete.
fn not_looked(cards: &Cards) -> Option<Fault> {
    if let Some(error) = &cards.error {
        let fault = Fault::host(format!("the cards could not be looked at: {}", error.meaning));
        return Some(fault.help(error.remedy.clone()));
    }
    let reason = cards.not_looked.as_ref()?;
    let fault = Fault::host(format!("who has the cards could not be looked at: {reason}"));
    Some(fault.help("the agent must run as root and see every process; its log: journalctl -u berth"))
}

fn show(cards: &Cards, now: Timestamp) {
    cards.full.iter().for_each(|full| render::note(&full.to_string()));
    let shared = shared_reasons(cards);
    let mut table = render::table(&["CARD", "NAME", "HEALTH", "HBM MiB", "°C", "AICORE", "NUMA", "HOLDER"]);
    for card in &cards.cards {
        table.add_row(row(card, &shared, now));
    }
    render::show_table(&table);
    for (number, reason) in (1..).zip(&shared) {
        render::line(&format!("{number}) {}", render::printable(reason)));
    }
}

/// Reasons that more than one card has. They are shown once, below the table.
fn shared_reasons(cards: &Cards) -> Vec<&str> {
    let mut shared = Vec::new();
    let reasons = || cards.cards.iter().filter_map(|card| card.unusable.as_deref());
    for reason in reasons() {
        if !shared.contains(&reason) && reasons().filter(|other| *other == reason).count() > 1 {
            shared.push(reason);
        }
    }
    shared
}

fn row(card: &CardView, shared: &[&str], now: Timestamp) -> Vec<Cell> {
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
        holder(card, shared, now),
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

fn holder(card: &CardView, shared: &[&str], now: Timestamp) -> Cell {
    let mut lines: Vec<String> = card.holders.iter().map(|holder| describe(holder, now)).collect();
    if let Some(ruling) = card.ruling.as_ref().filter(|ruling| ruling.allows()) {
        lines.push(ruling.to_string());
    }
    if let Some(reason) = &card.unusable {
        lines.push(match (1..).zip(shared).find(|(_, other)| **other == reason) {
            Some((number, _)) => format!("not given out {number})"),
            None => format!("not given out: {reason}"),
        });
    }
    lines.extend(card.exempt.iter().map(|holder| format!("exempt: {holder}")));
    let text = render::printable(&lines.join("\n"));
    if card.free && !lines.is_empty() {
        return Cell::new(format!("free\n{text}")).fg(Color::Green);
    }
    match card.holders.as_slice() {
        [] if card.free => Cell::new("free").fg(Color::Green),
        [] => Cell::new(text).fg(Color::Red),
        [Holder::Berth { .. }] => Cell::new(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(error: bool, not_looked: bool, unusable: &[Option<&str>]) -> Cards {
        let rows: Vec<_> = (0..)
            .zip(unusable)
            .map(|(id, unusable)| {
                serde_json::json!({"id": id, "name": null, "health": null, "bus_id": null, "hbm_used_mib": null,
                    "hbm_total_mib": null, "temperature_c": null, "power_w": null, "aicore_percent": null,
                    "numa_node": null, "holders": [], "unusable": unusable, "free": unusable.is_none()})
            })
            .collect();
        let error =
            error.then(|| serde_json::json!({"code": null, "meaning": "it hangs", "remedy": "reset it"}));
        serde_json::from_value(serde_json::json!({"schema": 1, "tool_version": null, "driver_version": null,
            "error": error, "not_looked": not_looked.then_some("no /proc"), "cards": rows}))
        .unwrap()
    }

    #[test]
    fn what_could_not_be_looked_at_is_an_error_of_the_host() {
        assert!(not_looked(&cards(false, false, &[Some("its health is alarm")])).is_none());
        for (error, reason) in [(true, false), (false, true), (true, true)] {
            let fault = not_looked(&cards(error, reason, &[])).unwrap();
            assert_eq!(fault.class.exit_code(), 5);
            assert!(fault.message.contains("could not be looked at") && fault.help.is_some(), "{fault:?}");
        }
    }

    #[test]
    fn one_sentence_for_many_cards_is_said_once() {
        let cards = cards(false, false, &[Some("x"), None, Some("y"), Some("x"), Some("x")]);
        let shared = shared_reasons(&cards);
        assert_eq!(shared, ["x"]);
        let said = |card: &CardView| holder(card, &shared, Timestamp::now()).content();
        let said: Vec<String> = cards.cards.iter().map(said).collect();
        assert_eq!(
            said,
            ["not given out 1)", "free", "not given out: y", "not given out 1)", "not given out 1)"]
        );
    }
}
