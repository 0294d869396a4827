//! `berth rename`: another name for a berth.

use super::start::act;
use super::{Global, render};
use crate::model::BerthAct;
use anyhow::Result;
use std::process::ExitCode;

/// Give a berth another name
#[derive(clap::Args)]
#[command(after_long_help = "\
It goes on running, with the same port and host key. The hostname inside stays
what it was, and BERTH_NAME changes when the berth is next started. Write the
ssh configuration anew afterwards: `berth ssh-config`.

Example:
  berth rename dev train")]
pub(crate) struct Args {
    /// Its name, or OWNER/NAME
    name: String,
    /// Its new name
    #[arg(allow_hyphen_values = true)]
    new: String,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let view = act(global, &args.name, &BerthAct::Rename { name: args.new })?;
    if global.json {
        render::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    render::line(&format!("{} is now {}", args.name, view.berth.label()));
    render::note("the hostname inside stays; `berth ssh-config` has the new name");
    Ok(ExitCode::SUCCESS)
}
