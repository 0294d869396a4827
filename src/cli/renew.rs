//! `berth renew`: starts a berth's lease anew.

use super::call::{berth_path, parse_duration, relative, wait_for, whole_seconds};
use super::{Global, render};
use crate::agent::types::{BerthView, Renewal};
use anyhow::Result;
use jiff::Timestamp;
use std::process::ExitCode;
use std::time::Duration;

/// Start a berth's lease anew, from now on
#[derive(clap::Args)]
#[command(after_long_help = "Example:\n  berth renew train --lease 2days")]
pub(crate) struct Args {
    /// Its name, or OWNER/NAME
    name: String,
    /// How long you need it from now on, such as 8h or 2days [default: the profile's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let renewal = Renewal { lease: args.lease.map(whole_seconds) };
    let path = berth_path(&args.name)?;
    let view: BerthView = wait_for(global.client()?.patch(&path, &renewal))?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let berth = &view.berth;
    let ends = berth
        .until
        .map_or("never ends".into(), |until| format!("ends {}", relative(until, Timestamp::now())));
    render::line(&format!("the lease of {}/{} {ends}", berth.owner, berth.name));
    if let Some(down) = berth.conditions.iter().find(|condition| condition.code.is_down()) {
        render::note(&format!("but {}", render::printable(&down.to_string())));
        render::note(&format!(
            "help: nobody can log in there; `berth release {}` gives its cards back",
            berth.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}
