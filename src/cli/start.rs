//! `berth stop`, `berth start`: give a berth's cards back and get them again, while its container is kept.

use super::call::{berth_path, parse_duration, relative, wait_for, whole_seconds};
use super::progress::Shown;
use super::request::WAIT;
use super::waiting::in_queue;
use super::{Global, render, ssh};
use crate::agent::types::BerthView;
use crate::model::{BerthAct, StartRequest, card};
use anyhow::Result;
use hyper::Method;
use jiff::Timestamp;
use std::process::ExitCode;
use std::time::Duration;

/// Give a berth's cards back and keep its container
#[derive(clap::Args)]
#[command(after_long_help = "\
Its processes end; all files stay, also those outside your personal storage.
`berth start` brings it back with the same name, port and host key. A berth
that nobody starts for some days is released: `berth show` says when.

Example:
  berth stop train")]
pub(crate) struct StopArgs {
    /// Its name, or OWNER/NAME
    name: String,
}

pub(crate) fn stop(global: &Global, args: StopArgs) -> Result<ExitCode> {
    let view = act(global, &args.name, &BerthAct::Stop {})?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let berth = &view.berth;
    let freed = if berth.size == 0 { "" } else { "; its cards are free" };
    render::line(&format!("{}/{} is stopped{freed}", berth.owner, berth.name));
    if let Some(until) = berth.stop.as_ref().and_then(|stop| stop.kept_until) {
        render::note(&format!("it is kept, and released {}", relative(until, Timestamp::now())));
    }
    Ok(ExitCode::SUCCESS)
}

/// Bring a stopped berth back
#[derive(clap::Args)]
#[command(after_long_help = "\
It comes back on the cards that it had, or on as many others where somebody
else has them by now. All files stay, also those outside your personal
storage. A new lease begins. A live berth whose container ended is started
again, on the cards that it has.

Examples:
  berth start train
  berth start train --wait 2h --lease 8h")]
pub(crate) struct StartArgs {
    /// Its name, or OWNER/NAME
    name: String,
    /// How long you need it, such as 8h or 2days [default: the profile's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// Wait until cards are free, at most so long [30m when no time is given]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1, default_missing_value = WAIT)]
    wait: Option<Duration>,
    /// Answer at once, as without --wait
    #[arg(long, conflicts_with = "wait")]
    nonblock: bool,
    /// For work without a person: it ends with its lease, whether or not anybody waits
    #[arg(long)]
    unattended: bool,
}

pub(crate) fn start(global: &Global, args: StartArgs) -> Result<ExitCode> {
    let wanted = StartRequest {
        lease: args.lease.map(whole_seconds),
        wait: if args.nonblock { 0 } else { args.wait.map_or(0, whole_seconds) },
        unattended: args.unattended,
        ticket: None,
    };
    let (path, client) = (berth_path(&args.name)?, global.client()?);
    let view: BerthView = wait_for(in_queue(&client, &path, wanted.wait, |wait, ticket| {
        BerthAct::Start(StartRequest { wait, ticket, ..wanted.clone() })
    }))?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let berth = &view.berth;
    render::line(&format!("{}/{} has {}", berth.owner, berth.name, card::named(&berth.cards)));
    render::line(&ssh::command_line(&view));
    if let Some(jump) = ssh::jump_line(&view) {
        render::line(&jump);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn act(global: &Global, name: &str, act: &BerthAct) -> Result<BerthView> {
    let path = berth_path(name)?;
    let client = global.client()?;
    let mut shown = Shown::new();
    wait_for(client.stream(Method::POST, &path, Some(act), |progress| shown.show(progress)))
}
