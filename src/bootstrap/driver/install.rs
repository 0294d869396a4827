//! Runs the vendor's packages, then checks on the disk what they installed. Their exit status alone is not trusted.

use super::cards;
use super::decide::installed_misfit;
use crate::bootstrap::plan::{InstallRun, MakeAccount, PackageKind};
use crate::bootstrap::{Context, Operator};
use crate::error::{Fault, FaultKind};
use crate::facts::driver::{self, DRIVER};
use crate::host::{Cmd, Output, RunError, Tool, read_text, trust};
use crate::model::driver::DriverFacts;
use crate::model::text;
use crate::model::version::is_same;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

const LOG: &str = "/var/log/ascend_seclog/ascend_install.log";
/// For the package's checksums over some hundred megabytes.
const CHECK: Duration = Duration::from_mins(10);
/// For compiling kernel modules, or writing the firmware of eight cards.
const INSTALL: Duration = Duration::from_hours(2);
const SHORT: Duration = Duration::from_mins(1);

/// Makes the missing parts of the account.
pub(in crate::bootstrap) fn make_account(context: &Context, account: &MakeAccount) -> Result<()> {
    let made = [(Tool::Groupadd, account.group_args()), (Tool::Useradd, account.user_args())];
    for (tool, args) in made {
        if let Some(args) = args {
            let cmd = tool.cmd().args(args).timeout(SHORT);
            context.host.run(&cmd).map_err(Fault::from)?;
        }
    }
    Ok(())
}

pub(in crate::bootstrap) fn install(
    context: &Context,
    run: &InstallRun,
    operator: &dyn Operator,
) -> Result<()> {
    approve(context, run)?;
    let tool = Tool::RunPackage(run.path.clone());
    operator.says("checking the package");
    let check = tool.cmd().arg("--check").timeout(CHECK);
    let output = context.host.run(&check.clone().allow_any_exit()).map_err(not_run)?;
    if output.status != 0 {
        let why = excerpt(&lines_of(&output), &[]);
        return Err(Fault::host(format!("{check} ended with status {}: {why}", output.status))
            .help("the package is damaged, or not for this machine: fetch it anew")
            .into());
    }
    // That took its time, and the answer must be from now.
    approve(context, run)?;
    operator.says(&format!("installing; it takes some minutes and writes {LOG}"));
    let log_before = read_log(context);
    let cmd = tool.cmd().args(run.args()).timeout(INSTALL);
    let output = context.host.run(&cmd.clone().allow_any_exit()).map_err(not_run)?;
    let log = read_log(context);
    let new_log = log.strip_prefix(log_before.as_str()).unwrap_or(&log);
    let problem = if output.status == 0 {
        problem(&look(context)?, run)
    } else {
        Some(format!("{cmd} ended with status {}", output.status))
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(failed(&problem, &cmd, &output, new_log).into()),
    }
}

/// Fails if a user other than root could have written the package, or if somebody has a card. To be called right before
/// the package runs.
fn approve(context: &Context, run: &InstallRun) -> Result<(), Fault> {
    let path = run.path.display();
    let trusted = trust::check_program(context.root, &run.path)
        .map_err(|why| Fault::refused(format!("{path} must not be run as root: {why}")))?;
    if trusted.size != run.size.0 {
        return Err(Fault::refused(format!(
            "{path} has {} bytes, and had {} when the plan was made",
            trusted.size, run.size.0
        ))
        .help("look again: berth bootstrap"));
    }
    if look(context)?.module_loaded { cards::check_free(context) } else { Ok(()) }
}

fn look(context: &Context) -> Result<DriverFacts, Fault> {
    driver::gather(context.host, Path::new(DRIVER))
        .map_err(|why| Fault::host(format!("looking at what is installed: {why}")))
}

/// What is wrong with the files that the package left on the disk, whatever the package said; `None`: they are right.
fn problem(files: &DriverFacts, run: &InstallRun) -> Option<String> {
    let installed = match run.kind {
        PackageKind::Driver => files.package(),
        PackageKind::Firmware => files.firmware.as_deref(),
    };
    match installed {
        None => {
            return Some(format!("the package said that all went well, and no {} is installed", run.kind));
        }
        Some(version) if !is_same(version, &run.version) => {
            return Some(format!("{} {version} is installed, not {}", run.kind, run.version));
        }
        Some(_) => {}
    }
    if run.kind == PackageKind::Driver && !files.is_complete() {
        let status = files.install_status.as_deref().unwrap_or("not noted");
        return Some(format!("the driver is not whole: Driver_Install_Status is {status}"));
    }
    installed_misfit(files).filter(|_| run.completes)
}

fn not_run(error: RunError) -> Fault {
    let fault = Fault::from(error);
    let help = match fault.kind {
        FaultKind::TimedOut => format!("look at {LOG}, then run this again: it begins anew"),
        _ => "the package could not be started: is its file system mounted noexec?".to_owned(),
    };
    fault.help(help)
}

fn read_log(context: &Context) -> String {
    // A log that is not there, or too big to read, takes nothing away from what the package printed.
    read_text(context.host, Path::new(LOG)).unwrap_or_default()
}

fn failed(problem: &str, cmd: &Cmd, output: &Output, log: &str) -> Fault {
    let printed = lines_of(output);
    let logged: Vec<String> = log.lines().map(plain).collect();
    let shown = excerpt(&printed, &logged);
    let whole = printed.iter().chain(&logged).map(String::as_str).collect::<Vec<_>>().join("\n");
    let help = HELP
        .iter()
        .find(|(word, _)| whole.contains(word))
        .map_or_else(|| format!("see {LOG}; mend it and run this again"), |(_, help)| (*help).to_owned());
    tracing::debug!(command = %cmd, status = output.status, "a package failed");
    Fault::host(format!("{problem}: {shown}")).help(help)
}

/// Error messages of the vendor's packages, and the help for each.
const HELP: [(&str, &str); 7] = [
    (
        "list of missing tools",
        "install the tools that it names (lspci: pciutils, ifconfig: net-tools), then run this again",
    ),
    (
        "Dkms install failed",
        "the driver could not be compiled: see the log for the compiler's error; remove what is left in \
         /var/lib/dkms/davinci_ascend, install gcc, make and dkms, then run this again",
    ),
    ("free space only", "make room below /usr/local/Ascend, then run this again"),
    ("No space left on device", "make room below /usr/local/Ascend and in /tmp, then run this again"),
    (
        "ERR_NO:0x0094",
        "another installation is running, or an older all-in-one package must be uninstalled first",
    ),
    (
        "ERR_NO:0x0095",
        "it was installed for another account: name that one in [bootstrap.driver], or uninstall it first",
    ),
    ("Arch mismatch", "this package is for another architecture"),
];

fn lines_of(output: &Output) -> Vec<String> {
    output.stdout.lines().chain(output.stderr.lines()).map(plain).collect()
}

/// A line of a package's output without colours and other control characters.
fn plain(line: &str) -> String {
    const MOST: usize = 300;
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // `ESC [ 31 m`
            let _ = rest.by_ref().find(char::is_ascii_alphabetic);
        } else if text::plain(c) == c {
            text.push(c);
        }
        if text.len() >= MOST {
            break;
        }
    }
    text.trim().to_owned()
}

/// The lines that say what went wrong; without any, the last ones.
fn excerpt(printed: &[String], logged: &[String]) -> String {
    const MOST: usize = 8;
    let is_error = |line: &&String| line.contains("[ERROR]") || line.contains("ERR_NO:");
    let mut shown: Vec<&str> = Vec::new();
    for line in printed.iter().chain(logged).filter(is_error) {
        if !shown.contains(&line.as_str()) {
            shown.push(line);
        }
    }
    if shown.is_empty() {
        let last = printed.iter().filter(|line| !line.is_empty()).rev().take(3);
        shown = last.map(String::as_str).collect();
        shown.reverse();
    }
    shown.truncate(MOST);
    if shown.is_empty() { "it printed nothing".into() } else { shown.join(" / ") }
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
