//! `berth events`: what happened, and who did it.

use super::call::wait_for;
use super::{Global, render};
use crate::agent::types::ErrorBody;
use crate::error::Fault;
use crate::ledger::Event;
use anyhow::Result;
use bytes::Bytes;
use hyper::Method;
use std::process::ExitCode;

/// Show what happened, and who did it
#[derive(clap::Args)]
#[command(after_long_help = "\
A user sees the events of their own berths and keys, an administrator all.
With --json each line is one event.

Example:
  berth events --follow")]
pub(crate) struct Args {
    /// Go on showing events as they happen
    #[arg(long)]
    follow: bool,
    /// How many of the newest to show first
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: u32,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let client = global.client()?;
    let path = format!("/v1/events?last={}&follow={}", args.last, args.follow);
    wait_for(async {
        let mut lines = client.lines(Method::GET, &path, Bytes::new()).await?;
        while let Some(line) = lines.next().await? {
            show(&line, global.json)?;
        }
        Ok(ExitCode::SUCCESS)
    })
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
