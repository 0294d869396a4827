//! `berth check`: is this node fit to be shared? Needs no agent and no root, and changes nothing.

use super::{Global, cards_of, render};
use crate::check::report::{CheckReport, CheckResult, CheckVerdict, Severity};
use crate::check::{self, Check, gather};
use crate::error::{ErrorClass, Fault};
use crate::host::{RealHost, terminal};
use crate::profile::{Config, Profile, is_file, load_profile};
use anyhow::{Context as _, Result};
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The width to print for where there is no terminal.
const COLUMNS: u16 = 100;

/// Check whether this node is fit to be shared
#[derive(clap::Args)]
#[command(after_long_help = "\
It looks and changes nothing, and needs no agent. Without root some things
cannot be looked at; they are shown as could-not-look, and never as ok. What a
node should be is in its profile, under [check].

The exit code is 4 when a check failed, or when one that may fail could not be
looked at. Warnings do not count.

Examples:
  sudo berth check
  berth check --profile snt9b --only npu,driver.version
  berth check --json | jq '.checks[] | select(.verdict == \"fail\")'")]
pub(crate) struct Args {
    /// A profile's name or file, instead of the config's
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Only these checks, or groups of them such as npu
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// List the checks and run none
    #[arg(long)]
    list: bool,
    /// Look at a machine in this directory instead of this one
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    root: PathBuf,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let checks = check::select(&args.only)?;
    if args.list {
        list(global, &checks)?;
        return Ok(ExitCode::SUCCESS);
    }
    let host = RealHost::new(&args.root);
    let mut config = global.config()?;
    if let Some(named) = &args.profile {
        config.profile = named_profile(named)?;
    }
    let profile = load_profile(&RealHost::default(), &config)?;
    let report = look(&host, config, profile, &checks)?;
    if global.json {
        render::json(&report)?;
    } else {
        show(&report);
    }
    end(&report)
}

fn look(
    host: &RealHost,
    mut config: Config,
    mut profile: Profile,
    checks: &[&'static Check],
) -> Result<CheckReport> {
    cards_of(host, &mut config, &mut profile)?;
    Ok(gather::run(host, &config, &profile, checks))
}

/// Runs all checks after a change. Prints one line for people; the error names the checks that failed.
pub(super) fn conclude(global: &Global, config: &Config, profile: &Profile) -> Result<ExitCode> {
    let checks = check::select(&[])?;
    let report = look(&RealHost::default(), config.clone(), profile.clone(), &checks)?;
    if !global.json {
        render::line(&format!("berth check: {}", summary(&report)));
    }
    end(&report)
}

/// The profile that the caller named. A relative path starts at the caller's directory, not at the config's.
pub(super) fn named_profile(named: &str) -> Result<String> {
    if !is_file(named) {
        return Ok(named.to_owned());
    }
    let path = std::path::absolute(named).context("finding the profile")?;
    path.to_str().map(str::to_owned).ok_or_else(|| Fault::usage("the profile's path is not UTF-8").into())
}

fn end(report: &CheckReport) -> Result<ExitCode> {
    if report.summary.passed {
        return Ok(ExitCode::SUCCESS);
    }
    let ids = |verdict| {
        let stopping = report.checks.iter().filter(|check| check.stops() && check.verdict == verdict);
        stopping.map(|check| check.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        ("failed: ", ids(CheckVerdict::Fail)),
        ("could not be looked at: ", ids(CheckVerdict::CouldNotLook)),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(words, ids)| format!("{words}{ids}")).collect();
    Err(Fault::new(ErrorClass::CheckFailed, parts.join("; ")).into())
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    title: &'a str,
    severity: Severity,
}

fn list(global: &Global, checks: &[&'static Check]) -> Result<()> {
    if global.json {
        let listed =
            checks.iter().map(|check| Listed { id: check.id, title: check.title, severity: check.severity });
        return render::json(&listed.collect::<Vec<_>>());
    }
    let mut table = render::table(&["CHECK", "WORST", "TITLE"]);
    for check in checks {
        let worst = if check.severity == Severity::Required { "fail" } else { "warn" };
        table.add_row([check.id, worst, check.title]);
    }
    render::show_table(&table);
    Ok(())
}

fn show(report: &CheckReport) {
    let mut table = render::table(&["CHECK", "VERDICT", "SEEN"]);
    let columns = terminal::columns().unwrap_or(COLUMNS);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    let widest = report.checks.iter().map(|check| check.id.len()).max().unwrap_or_default().max(5) + 2;
    let widths = [widest, CheckVerdict::CouldNotLook.to_string().len() + 2];
    let fixed =
        |width: usize| ColumnConstraint::Absolute(Width::Fixed(u16::try_from(width).unwrap_or(columns)));
    // On a narrow terminal every column gives way.
    if usize::from(columns) > widths.iter().sum::<usize>() * 2 {
        table.set_constraints(widths.map(fixed));
    }
    let mut area = None;
    for check in &report.checks {
        let own = check::area_of(&check.id);
        if area.is_some() && area != own {
            table.add_row(["", "", ""]);
        }
        area = own;
        add(&mut table, check);
    }
    render::show_table(&table);
    let mut shown = Vec::new();
    for check in &report.checks {
        let Some(remedy) = check.remedy.as_deref().filter(|remedy| !shown.contains(remedy)) else { continue };
        shown.push(remedy);
        show_remedy(report, remedy, columns.into());
    }
    render::line("");
    render::line(&summary(report));
}

fn add(table: &mut Table, check: &CheckResult) {
    let color = match check.verdict {
        CheckVerdict::Ok => Color::Green,
        CheckVerdict::Warn => Color::Yellow,
        CheckVerdict::Fail => Color::Red,
        CheckVerdict::CouldNotLook => Color::Magenta,
        CheckVerdict::Skipped => Color::DarkGrey,
    };
    let said = check.seen.as_deref().or(check.reason.as_deref()).unwrap_or("-");
    table.add_row([
        Cell::new(&check.id),
        Cell::new(check.verdict).fg(color),
        Cell::new(render::printable(said).replace('\n', " ")),
    ]);
}

/// Prints what an administrator does next, once for all checks that it mends. The evidence is printed above it.
fn show_remedy(report: &CheckReport, remedy: &str, columns: usize) {
    render::line("");
    let mut checks = report.checks.iter().filter(|check| check.remedy.as_deref() == Some(remedy)).peekable();
    let alone = report.checks.iter().filter(|check| check.remedy.as_deref() == Some(remedy)).count() == 1;
    while let Some(check) = checks.next() {
        render::line(&format!("{}: {} ({})", check.verdict, check.title, check.id));
        if let Some(wanted) = check.wanted.as_deref().filter(|_| alone) {
            field("wanted", wanted, columns);
        }
        if checks.peek().is_none() {
            field("remedy", remedy, columns);
        }
    }
}

/// Prints a field, wrapped at spaces. A word that is longer than a line stays whole, so that it can be copied.
fn field(name: &str, text: &str, columns: usize) {
    let text = render::printable(text);
    let mut line = format!("  {name}  ");
    let indent = " ".repeat(line.len());
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > columns {
            render::line(&line);
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    render::line(&line);
}

fn summary(report: &CheckReport) -> String {
    let sum = &report.summary;
    let counts = [
        (sum.ok, "ok"),
        (sum.warn, "warn"),
        (sum.fail, "fail"),
        (sum.could_not_look, "could not look"),
        (sum.skipped, "skipped"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let host = render::printable(report.host.as_deref().unwrap_or("unknown"));
    format!("{} (profile {}, host {host})", counts.join(", "), render::printable(&report.profile))
}
