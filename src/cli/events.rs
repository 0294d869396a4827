//! `berth events`: what happened, and who did it.

use super::call::{parse_duration, segment, wait_for};
use super::{Global, render};
use crate::agent::types::{ErrorBody, EventSummary};
use crate::error::Fault;
use crate::ledger::Event;
use anyhow::Result;
use bytes::Bytes;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use std::process::ExitCode;

/// Show what happened, and who did it
#[derive(clap::Args)]
#[command(after_long_help = "\
A user sees the events of their own berths and keys, an administrator all.
With --json each line is one event. Where `[events] keep` of the config says
how long events are kept, older ones are counted by month: --summary.

Examples:
  berth events --follow
  berth events --since 2h --berth alice/train --decisions
  berth events --summary --since 2026-01-01T00:00:00Z")]
pub(crate) struct Args {
    /// Go on showing events as they happen
    #[arg(long)]
    follow: bool,
    /// How many of the newest to show first, at most 100000 [default: 50, and all of
    /// them with --since]
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// Only events from this time on: 2h ago, or a time as 2026-12-24T13:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only events about this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only events about this berth: NAME or OWNER/NAME
    #[arg(long, value_name = "NAME")]
    berth: Option<String>,
    /// Only this kind, such as berth.stopped, or kinds that begin with it, such as
    /// ticket
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// What people and the agent decided, without logins and connections
    #[arg(long)]
    decisions: bool,
    /// How many events each month had, of those that are not kept one by one any more
    #[arg(long, conflicts_with_all = ["follow", "last", "berth"])]
    summary: bool,
}

const LAST: u32 = 50;
const MOST: u32 = 100_000;

/// A time, or how long ago.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago =
        parse_duration(text).map_err(|_| "write a time as 2026-12-24T13:00:00Z, or how long ago as 2h")?;
    let ago = SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

impl Args {
    fn path(&self) -> Result<String, Fault> {
        let last = self.last.unwrap_or(if self.since.is_some() { MOST } else { LAST });
        let mut asked = if self.summary {
            Vec::new()
        } else {
            vec![format!("last={last}"), format!("follow={}", self.follow)]
        };
        let (owner, berth) = match self.berth.as_ref().map(|berth| berth.split_once('/').ok_or(berth)) {
            Some(Ok((owner, name))) => (Some(owner.to_owned()), Some(name.to_owned())),
            Some(Err(name)) => (None, Some(name.clone())),
            None => (None, None),
        };
        let user = self.user.clone().or(owner);
        let since = self.since.map(|since| since.to_string());
        for (key, value) in [("user", user), ("berth", berth), ("kind", self.kind.clone())] {
            if let Some(value) = value {
                asked.push(format!("{key}={}", segment(&format!("a {key}"), &value)?));
            }
        }
        if let Some(since) = since {
            asked.push(format!("since={since}"));
        }
        if self.decisions {
            asked.push("decisions=true".into());
        }
        let route = if self.summary { "/v1/events/summary" } else { "/v1/events" };
        Ok(format!("{route}?{}", asked.join("&")))
    }
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let client = global.client()?;
    let path = args.path()?;
    if args.summary {
        return summary(global, &wait_for(client.get(&path))?);
    }
    wait_for(async {
        let mut lines = client.lines(Method::GET, &path, Bytes::new()).await?;
        while let Some(line) = lines.next().await? {
            show(&line, global.json)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn summary(global: &Global, summary: &EventSummary) -> Result<ExitCode> {
    if global.json {
        render::json(summary)?;
        return Ok(ExitCode::SUCCESS);
    }
    if summary.sums.is_empty() {
        render::note(match summary.keep {
            Some(_) => "no such event is old enough to be counted by month; `berth events` has them",
            None => {
                "events are kept one by one, for ever: `berth events` has them; `[events] keep` of the config changes that"
            }
        });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = render::table(&["MONTH", "ABOUT", "BY", "KIND", "EVENTS"]);
    for sum in &summary.sums {
        table.add_row([
            sum.month.clone(),
            sum.owner.clone().unwrap_or_else(|| "-".into()),
            render::one_line(&sum.actor),
            sum.kind.clone(),
            sum.count.to_string(),
        ]);
    }
    render::show_table(&table);
    Ok(ExitCode::SUCCESS)
}

/// An event, or the error that ended the stream.
fn read(line: &[u8]) -> Result<Event, Fault> {
    serde_json::from_slice(line).map_err(|_| match serde_json::from_slice::<ErrorBody>(line) {
        Ok(body) => body.error,
        Err(_) => Fault::host(format!("the agent sent no event: {}", String::from_utf8_lossy(line))),
    })
}

fn show(line: &[u8], json: bool) -> Result<()> {
    let event = read(line)?;
    if json {
        return render::json_line(&event);
    }
    let local = event.at.to_zoned(jiff::tz::TimeZone::system());
    let at = local.strftime("%Y-%m-%d %H:%M:%S");
    let text = render::one_line(&event.text);
    render::line(&format!("{at}  {:<16} {:<10} {text}", event.kind, render::one_line(&event.actor)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn an_error_in_the_stream_is_that_error() {
        let fault = Fault::refused("too many followers").help("end one");
        let line = serde_json::to_vec(&ErrorBody { error: fault.clone() }).unwrap();
        let read_back = read(&line).unwrap_err();
        assert_eq!((read_back.class, read_back.message), (fault.class, fault.message));
        assert_eq!(read(b"{}").unwrap_err().class, ErrorClass::Host);
    }
}
