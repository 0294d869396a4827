//! `berth sim`: faults of the simulated node, switched while an agent runs.

use super::{Global, render};
use crate::accel::simulated::{SimNode, SimState};
use crate::error::Fault;
use crate::host::RealHost;
use crate::model::{CardId, Health};
use crate::profile::{Faults, ForeignHolder, load_profile};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::process::ExitCode;
use std::time::Duration;

/// Switch faults of the simulated node
#[derive(clap::Args)]
#[command(after_long_help = "\
Example:
  berth sim fault --health 3=alarm --missing 7
  berth sim fault --holder 5:4242:python --delay 2s
  berth sim show
  berth sim clear")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the faults that are on
    #[command(after_long_help = "Example:\n  berth sim show")]
    Show,
    /// Switch faults on, besides those that are on
    #[command(
        override_usage = "berth sim fault [OPTIONS] FAULT...",
        after_long_help = "Example:\n  berth sim fault --health 3=alarm --holder 5:4242:python"
    )]
    Fault(Box<Wanted>),
    /// Switch all faults off
    #[command(after_long_help = "Example:\n  berth sim clear")]
    Clear,
}

#[derive(clap::Args, PartialEq, Default)]
struct Wanted {
    /// A card's health: ok, warning, alarm, critical or unknown
    #[arg(long, value_name = "CARD=HEALTH", value_parser = parse_health)]
    health: Vec<(CardId, Health)>,
    /// A card that npu-smi no longer lists
    #[arg(long, value_name = "CARD", value_parser = parse_card)]
    missing: Vec<CardId>,
    /// A process that npu-smi lists on a card
    #[arg(long, value_name = "CARD:PID:NAME", value_parser = parse_holder)]
    holder: Vec<ForeignHolder>,
    /// npu-smi takes this long, such as 2s
    #[arg(long, value_name = "TIME", value_parser = parse_delay)]
    delay: Option<Duration>,
    /// npu-smi never ends
    #[arg(long)]
    hang: bool,
    /// The driver is not loaded (-8005)
    #[arg(long)]
    no_driver: bool,
    /// A card is in use by another container (-8020)
    #[arg(long)]
    device_used: bool,
    /// npu-smi refuses all but its main table
    #[arg(long)]
    no_queries: bool,
}

fn parse_card(text: &str) -> Result<CardId, String> {
    text.parse().map(CardId).map_err(|_| format!("`{text}` is not a card's number"))
}

fn parse_health(text: &str) -> Result<(CardId, Health), String> {
    let (card, word) = text.split_once('=').ok_or("write a card and a health, such as 3=alarm")?;
    let health = serde_json::from_value(word.to_ascii_lowercase().into())
        .map_err(|_| format!("`{word}` is not ok, warning, alarm, critical or unknown"))?;
    Ok((parse_card(card)?, health))
}

fn parse_holder(text: &str) -> Result<ForeignHolder, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(card), Some(pid), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("write a card, a process id and a name, such as 5:4242:python".into());
    };
    let pid = pid.parse().map_err(|_| format!("`{pid}` is not a process id"))?;
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters".into());
    }
    Ok(ForeignHolder { card: parse_card(card)?, pid, name: name.into() })
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("`{text}` is not a duration: {error}"))
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let host = RealHost::default();
    let config = global.config()?;
    let profile = load_profile(&host, &config)?;
    if profile.simulation.is_none() {
        let text = format!("profile `{}` is that of a real node and has no faults to switch", profile.name);
        return Err(Fault::refused(text)
            .help("name a config whose profile is simulated with --config")
            .into());
    }
    let node = SimNode::locate(&config)?;
    let mut state =
        SimState::read(&host, &node.state).context("reading the simulated node")?.ok_or_else(|| {
            Fault::refused(format!("there is no simulated node in {}", config.paths.state.display()))
                .help("the agent makes it when it starts: berth agent")
        })?;
    match args.action {
        Action::Show => {}
        Action::Fault(wanted) => {
            if *wanted == Wanted::default() {
                return Err(Fault::usage("no fault is named")
                    .help("berth sim fault --help lists them")
                    .into());
            }
            add(&mut state, *wanted)?;
            state.write(&host, &node.state)?;
        }
        Action::Clear => {
            state.faults = Faults::default();
            state.write(&host, &node.state)?;
        }
    }
    show(global, &state.faults)?;
    Ok(ExitCode::SUCCESS)
}

fn add(state: &mut SimState, wanted: Wanted) -> Result<()> {
    let cards = wanted.health.iter().map(|(card, _)| card).chain(&wanted.missing);
    for card in cards.chain(wanted.holder.iter().map(|holder| &holder.card)) {
        if state.cards.iter().all(|known| known.id != *card) {
            let text = format!("the simulated node has no card {card}; it has {} cards", state.cards.len());
            return Err(Fault::usage(text).into());
        }
    }
    let faults = &mut state.faults;
    for (card, health) in wanted.health {
        faults.health.retain(|(known, _)| *known != card);
        if health != Health::Ok {
            faults.health.push((card, health));
        }
    }
    for card in wanted.missing {
        if !faults.missing.contains(&card) {
            faults.missing.push(card);
        }
    }
    for holder in wanted.holder {
        if !faults.holders.contains(&holder) {
            faults.holders.push(holder);
        }
    }
    if let Some(delay) = wanted.delay {
        faults.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    }
    faults.hang |= wanted.hang;
    faults.no_driver |= wanted.no_driver;
    faults.device_used |= wanted.device_used;
    faults.no_queries |= wanted.no_queries;
    Ok(())
}

fn show(global: &Global, faults: &Faults) -> Result<()> {
    if global.json {
        return render::json(faults);
    }
    let mut lines: Vec<String> =
        faults.health.iter().map(|(card, health)| format!("card {card}: health {health}")).collect();
    lines.extend(faults.missing.iter().map(|card| format!("card {card}: not listed")));
    lines.extend(
        faults.holders.iter().map(|h| format!("card {}: held by process {} ({})", h.card, h.pid, h.name)),
    );
    lines.extend(
        faults
            .delay_ms
            .map(|ms| format!("npu-smi takes {}", humantime::format_duration(Duration::from_millis(ms)))),
    );
    for (on, text) in [
        (faults.hang, "npu-smi hangs"),
        (faults.no_driver, "the driver is not loaded (-8005)"),
        (faults.device_used, "a card is in use by another container (-8020)"),
        (faults.no_queries, "npu-smi refuses all but its main table"),
    ] {
        lines.extend(on.then(|| text.to_owned()));
    }
    if lines.is_empty() {
        lines.push("no faults".into());
    }
    for line in lines {
        render::line(&render::printable(&line));
    }
    Ok(())
}
