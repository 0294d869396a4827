//! `berth keep`, `berth lock`, `berth unlock`: a berth that is not to be asked back.

use super::call::{parse_duration, relative, whole_seconds};
use super::start::act;
use super::{Global, render};
use crate::model::{BerthAct, LockRequest};
use anyhow::Result;
use jiff::Timestamp;
use std::process::ExitCode;
use std::time::Duration;

/// Keep a berth that was asked back because it did nothing, or a stopped one
#[derive(clap::Args)]
#[command(after_long_help = "\
A berth that does nothing is asked back once somebody waits for its cards. This
says that you need it all the same; it can be said twice in a lease. A berth
whose lease is over needs a new one: berth renew. A stopped berth that is to be
released because the disk is full stays as long as any other.

Example:
  berth keep train")]
pub(crate) struct KeepArgs {
    /// Its name, or OWNER/NAME
    name: String,
}

pub(crate) fn keep(global: &Global, args: KeepArgs) -> Result<ExitCode> {
    let view = act(global, &args.name, &BerthAct::Keep {})?;
    if global.json {
        render::json(&view)?;
    } else {
        render::line(&format!("{} stays yours", view.berth.label()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Say that a berth is not asked back for a time; for administrators
#[derive(clap::Args)]
#[command(after_long_help = "\
It keeps its cards whoever waits, also when its lease is over. Its owner and
everybody who waits see why.

Example:
  berth lock alice/train --for 2days --why 'the paper is due on Friday'")]
pub(crate) struct LockArgs {
    /// Its name, or OWNER/NAME
    name: String,
    /// For how long from now on, such as 8h or 2days
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    length: Duration,
    /// Why, in a few words
    #[arg(long, value_name = "TEXT")]
    why: String,
}

pub(crate) fn lock(global: &Global, args: LockArgs) -> Result<ExitCode> {
    let request = LockRequest { seconds: whole_seconds(args.length), why: args.why };
    let view = act(global, &args.name, &BerthAct::Lock(request))?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(lock) = &view.berth.lock {
        let label = view.berth.label();
        render::line(&format!("{label} is locked; this ends {}", relative(lock.until, Timestamp::now())));
    }
    Ok(ExitCode::SUCCESS)
}

/// End a lock; for administrators
#[derive(clap::Args)]
#[command(after_long_help = "Example:\n  berth unlock alice/train")]
pub(crate) struct UnlockArgs {
    /// Its name, or OWNER/NAME
    name: String,
}

pub(crate) fn unlock(global: &Global, args: UnlockArgs) -> Result<ExitCode> {
    let view = act(global, &args.name, &BerthAct::Unlock {})?;
    if global.json {
        render::json(&view)?;
    } else {
        render::line(&format!("{} is not locked", view.berth.label()));
    }
    Ok(ExitCode::SUCCESS)
}
