//! `berth list`, `berth show`, `berth release`.

use super::call::{berth_path, relative, wait_for};
use super::progress::Shown;
use super::{Global, idle, render, ssh};
use crate::agent::types::{BerthView, Berths};
use crate::model::idle::IdleView;
use crate::model::{Berth, BerthState, LeaseState, StopReason, card};
use anyhow::Result;
use hyper::Method;
use jiff::Timestamp;
use std::process::ExitCode;

/// Show berths: your own, or everyone's to an administrator
#[derive(clap::Args)]
#[command(after_long_help = "Example:\n  berth list --all --json")]
pub(crate) struct ListArgs {
    /// Also those that have ended
    #[arg(long)]
    all: bool,
}

pub(crate) fn list(global: &Global, args: ListArgs) -> Result<ExitCode> {
    let path = format!("/v1/berths?all={}", args.all);
    let berths: Berths = wait_for(global.client()?.get(&path))?;
    if global.json {
        render::json(&berths)?;
        return Ok(ExitCode::SUCCESS);
    }
    berths.full.iter().for_each(|full| render::note(&full.to_string()));
    let now = Timestamp::now();
    let mut table = render::table(&["BERTH", "STATE", "CARDS", "PORT", "IMAGE", "LEASE ENDS", "NOTE"]);
    for berth in &berths.berths {
        table.add_row(row(berth, berths.idle.get(&berth.id), now));
    }
    if berths.berths.is_empty() {
        render::note("no berths; ask for one: berth request --cards 1");
    } else {
        render::show_table(&table);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(berth: &Berth, idle: Option<&IdleView>, now: Timestamp) -> Vec<String> {
    let kept = berth.stop.as_ref().and_then(|stop| stop.release_at.or(stop.kept_until));
    let ends = match (berth.ended_at, berth.until, kept) {
        (Some(ended), ..) => format!("ended {}", relative(ended, now)),
        (None, _, Some(until)) => format!("kept, released {}", relative(until, now)),
        (None, Some(until), _) if until < now => format!("over, {}", relative(until, now)),
        (None, Some(until), _) => relative(until, now),
        (None, None, _) => "never".into(),
    };
    vec![
        format!("{}/{}", berth.owner, berth.name),
        berth.state.to_string(),
        if berth.cards.is_empty() { "-".into() } else { card::join(&berth.cards) },
        if berth.state == BerthState::Live { berth.port.to_string() } else { "-".into() },
        berth.image.clone(),
        ends,
        render::printable(&remarks(berth, idle, now)),
    ]
}

/// What is wrong with it now, that it does nothing, or why it stands still or ended.
fn remarks(berth: &Berth, idle: Option<&IdleView>, now: Timestamp) -> String {
    let conditions = berth.conditions.iter().map(ToString::to_string);
    let lease = lease_state(berth, now);
    let stop =
        berth.stop.iter().filter(|_| berth.state == BerthState::Stopped).map(|stop| stopped(stop.reason));
    let idle = idle.map(|idle| idle::short(idle, now));
    conditions
        .chain(idle)
        .chain(lease)
        .chain(stop.map(str::to_owned))
        .chain(berth.note.clone())
        .collect::<Vec<_>>()
        .join("\n")
}

/// How its lease stands, where that is more than its end.
fn lease_state(berth: &Berth, now: Timestamp) -> Option<String> {
    let at = relative(berth.deadline?, now);
    match berth.condition? {
        LeaseState::AskedBack => Some(match berth.stops_for {
            Some(StopReason::Idle) => format!("stops {at} unless: berth keep {}", berth.name),
            Some(StopReason::Unattended) => format!("stops {at}, with its lease"),
            _ => format!("stops {at} unless: berth renew {}", berth.name),
        }),
        LeaseState::Locked => {
            let why = berth.lock.as_ref().map_or("", |lock| lock.why.as_str());
            Some(format!("locked, this ends {at}: {why}"))
        }
        LeaseState::Overdue => Some("its lease is over: it may be asked back".into()),
        LeaseState::ReleaseSoon => Some(format!(
            "the disk is full: released {at} unless there is room before, or: berth keep {}",
            berth.name
        )),
        LeaseState::Ending => None,
    }
}

fn stopped(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Asked => "stopped as asked",
        StopReason::Lease => "stopped: its lease was over, and somebody waited for cards",
        StopReason::Idle => "stopped: it did nothing, and somebody waited for cards",
        StopReason::Unattended => "stopped: its lease was over",
        StopReason::Failed => "stopped: it could not be started",
        StopReason::Unused => "stopped: nobody logged in to it in time",
    }
}

/// Show one berth and how to reach it
#[derive(clap::Args)]
#[command(after_long_help = "Example:\n  berth show train")]
pub(crate) struct ShowArgs {
    /// Its name, or OWNER/NAME
    name: String,
}

pub(crate) fn show(global: &Global, args: ShowArgs) -> Result<ExitCode> {
    let view: BerthView = wait_for(global.client()?.get(&berth_path(&args.name)?))?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let berth = &view.berth;
    let line = |key: &str, value: &str| render::line(&format!("{key:<10} {}", render::printable(value)));
    line("berth", &format!("{}/{} ({})", berth.owner, berth.name, berth.state));
    if berth.state == BerthState::Stopped {
        let next =
            berth.next_cards.as_ref().map(|cards| format!("its next start asks for {}", card::named(cards)));
        line("cards", &format!("none; {}", next.unwrap_or_else(|| format!("it had {}", berth.size))));
    } else if berth.cards.is_empty() {
        line("cards", "none");
    } else {
        line("cards", &card::join(&berth.cards));
    }
    line("image", &format!("{} ({})", berth.image, berth.image_id));
    line("since", &relative(berth.created_at, now));
    match &berth.stop {
        Some(stop) if berth.state == BerthState::Stopped => {
            line("stopped", &format!("{}, {}", relative(stop.at, now), stopped(stop.reason)));
            if let Some(until) = stop.release_at.or(stop.kept_until) {
                line(
                    "kept",
                    &format!("released {}; before that: berth start {}", relative(until, now), berth.name),
                );
            }
        }
        _ => line("lease", &lease(berth.until, now)),
    }
    if let Some(state) = lease_state(berth, now) {
        line("state", &state);
    }
    if let Some(memory) = berth.memory {
        line("memory", &memory.to_string());
    }
    if let Some(cpus) = berth.cpus {
        line("cpus", &cpus.to_string());
    }
    if let Some(container) = &berth.container_id {
        line("container", container.get(..12).unwrap_or(container));
    }
    for key in berth.host_key.iter().flat_map(|keys| keys.lines()) {
        line("host key", key);
    }
    for condition in &berth.conditions {
        line("condition", &format!("{condition}; seen {}", relative(condition.since, now)));
    }
    if let Some(idle) = &view.idle {
        line("idle", &idle::long(idle, now));
    }
    if let Some(note) = &berth.note {
        line("note", note);
    }
    line("ssh", &ssh::command_line(&view));
    if let Some(jump) = ssh::jump_line(&view) {
        line("or", &jump);
    }
    Ok(ExitCode::SUCCESS)
}

fn lease(until: Option<Timestamp>, now: Timestamp) -> String {
    match until {
        Some(until) if until <= now => format!("ended {}", relative(until, now)),
        Some(until) => format!("ends {}", relative(until, now)),
        None => "never ends".into(),
    }
}

fn released(berth: &Berth) -> String {
    if berth.cards.is_empty() {
        return format!("{}/{} is released", berth.owner, berth.name);
    }
    let are = if berth.cards.len() == 1 { "is" } else { "are" };
    format!("{}/{} is released; {} {are} free", berth.owner, berth.name, card::named(&berth.cards))
}

/// Give a berth back: its container goes, your files stay
#[derive(clap::Args)]
#[command(after_long_help = "\
Files in your personal storage stay; everything else in the container is gone.
While Docker is away the release is written down, and done as soon as it
answers; this ends with 6 then, because the cards are not free yet.

Example:
  berth release train")]
pub(crate) struct ReleaseArgs {
    /// Its name, or OWNER/NAME
    name: String,
}

pub(crate) fn release(global: &Global, args: ReleaseArgs) -> Result<ExitCode> {
    let path = berth_path(&args.name)?;
    let client = global.client()?;
    let mut shown = Shown::new();
    let berth: Berth =
        wait_for(client.stream(Method::DELETE, &path, None::<&()>, |progress| shown.show(progress)))?;
    drop(shown);
    if global.json {
        render::json(&berth)?;
    } else {
        render::line(&released(&berth));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_over_has_ended() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-01-02T12:00:00Z");
        assert_eq!(lease(Some(at("2026-01-02T11:59:31Z")), now), "ended 29s ago");
        assert_eq!(lease(Some(at("2026-01-02T14:00:00Z")), now), "ends in 2h");
        assert_eq!(lease(None, now), "never ends");
    }
}
