//! `berth logs`: what a berth's server wrote, and what happened to the berth.

use super::call::{berth_name, wait_for};
use super::{Global, render};
use crate::agent::types::ErrorBody;
use crate::error::Fault;
use crate::ops::berth_logs::{LogLine, LogSource};
use anyhow::Result;
use bytes::Bytes;
use hyper::Method;
use std::process::ExitCode;

/// Show what a berth's server wrote, and what happened to it
#[derive(clap::Args)]
#[command(after_long_help = "\
What its container wrote (logins, what failed at a start) and its events, by
time. A berth that has ended, or was never made, still has its events. Root
in a berth can write any line marked `container`. With --json each line is
one entry.

Examples:
  berth logs train --last 20
  berth logs train --follow")]
pub(crate) struct Args {
    /// Its name, or OWNER/NAME
    name: String,
    /// How many of the newest lines to show, at most 2000
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: u32,
    /// Go on with lines as they come, until you interrupt it or the berth ends
    #[arg(long)]
    follow: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode> {
    let path = format!("/v1/logs/{}?last={}&follow={}", berth_name(&args.name)?, args.last, args.follow);
    let client = global.client()?;
    wait_for(async {
        let mut lines = client.lines(Method::GET, &path, Bytes::new()).await?;
        while let Some(line) = lines.next().await? {
            show(&line, global.json)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn show(line: &[u8], json: bool) -> Result<()> {
    let entry = read(line)?;
    if json {
        return render::json_line(&entry);
    }
    let local = entry.at.to_zoned(jiff::tz::TimeZone::system());
    let at = local.strftime("%Y-%m-%d %H:%M:%S");
    let source = match entry.source {
        LogSource::Event => "event",
        LogSource::Container => "container",
    };
    let kind = render::one_line(entry.kind.as_deref().unwrap_or("-"));
    render::line(&format!("{at}  {source:<9}  {kind:<18} {}", render::one_line(&entry.text)));
    Ok(())
}

/// A line, or the error that ended the stream.
fn read(line: &[u8]) -> Result<LogLine, Fault> {
    serde_json::from_slice(line).map_err(|_| match serde_json::from_slice::<ErrorBody>(line) {
        Ok(body) => body.error,
        Err(error) => Fault::host(format!("the agent's answer is not understood: {error}")),
    })
}
