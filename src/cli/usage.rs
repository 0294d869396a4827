//! `berth usage`: card-hours held, used, and idle while others waited.

use super::call::{parse_duration, segment, wait_for, whole_seconds};
use super::{Global, render};
use crate::ops::usage::{Usage, UsageBy, UsageRow};
use anyhow::Result;
use std::process::ExitCode;
use std::time::Duration;

/// Show who used how many card-hours
#[derive(clap::Args)]
#[command(after_long_help = "\
HELD is the time that cards were in a berth, USED that in which their AICore
worked, IDLE that in which a berth did nothing while somebody waited for cards.
Everybody sees everybody's. Days are those of the node's calendar, and the
first one counts from its beginning. With --csv and --json the numbers are
seconds.

Example:
  berth usage --since 30days --by day --user alice --csv")]
pub(crate) struct Args {
    /// How far back, at most 366days
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "7days")]
    since: Duration,
    /// By what to sum it up
    #[arg(long, value_enum, default_value = "user")]
    by: By,
    /// Only this user's
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    User,
    Day,
    Image,
    Card,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Day => "day",
            Self::Image => "image",
            Self::Card => "card",
        }
    }
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode> {
    let user = match &args.user {
        Some(user) => format!("&user={}", segment("a user", user)?),
        None => String::new(),
    };
    let path = format!("/v1/usage?since={}&by={}{user}", whole_seconds(args.since), args.by.word());
    let usage: Usage = wait_for(global.client()?.get(&path))?;
    if global.json {
        render::json(&usage)?;
    } else if args.csv {
        for line in csv(&usage) {
            render::line(&line);
        }
    } else if usage.rows.is_empty() {
        render::note("no card was held in this time");
    } else {
        let mut table = render::table(&[title(usage.by), "HELD", "USED", "IDLE"]);
        for row in &usage.rows {
            table.add_row(cells(row));
        }
        render::show_table(&table);
    }
    Ok(ExitCode::SUCCESS)
}

fn title(by: UsageBy) -> &'static str {
    match by {
        UsageBy::User => "USER",
        UsageBy::Day => "DAY",
        UsageBy::Image => "IMAGE",
        UsageBy::Card => "CARD",
    }
}

fn cells(row: &UsageRow) -> [String; 4] {
    [render::one_line(&row.key), hours(row.held), hours(row.used), hours(row.idle_wanted)]
}

/// Card-hours, rounded to a tenth.
fn hours(seconds: u64) -> String {
    let tenths = (seconds / 360).saturating_add(u64::from(seconds % 360 >= 180));
    format!("{}.{} h", tenths / 10, tenths % 10)
}

fn csv(usage: &Usage) -> Vec<String> {
    let head = format!("{},held,used,idle", title(usage.by).to_lowercase());
    let line = |row: &UsageRow| format!("{},{},{},{}", quoted(&row.key), row.held, row.used, row.idle_wanted);
    std::iter::once(head).chain(usage.rows.iter().map(line)).collect()
}

fn quoted(text: &str) -> String {
    let text = render::one_line(text);
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, held: u64) -> UsageRow {
        UsageRow { key: key.into(), held, used: 1800, idle_wanted: 0 }
    }

    #[test]
    fn people_read_hours_and_programs_seconds() {
        assert_eq!(cells(&row("alice", 7380)), ["alice", "2.1 h", "0.5 h", "0.0 h"]);
        let now = "2026-12-01T00:00:00Z".parse().unwrap();
        let rows = vec![row("base", 60), row("a,\"b\"", 61)];
        let usage = Usage { since: now, until: now, by: UsageBy::Image, rows };
        assert_eq!(csv(&usage), ["image,held,used,idle", "base,60,1800,0", "\"a,\"\"b\"\"\",61,1800,0"]);
    }
}
