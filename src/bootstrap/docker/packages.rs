//! Installs packages. Packages that are installed already are left out, so that they are not upgraded.

use crate::bootstrap::plan::{InstallPackages, Part};
use crate::bootstrap::{Context, Operator};
use crate::error::{ErrorClass, Fault, FaultKind, flatten};
use crate::facts::package_changes::{self, Answer, Losses};
use crate::host::{Cmd, Output, RunError, Tool, trust};
use crate::model::docker_seen::PackageManager;
use crate::model::text::plain;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_mins(30);
const SHORT: Duration = Duration::from_mins(2);
/// apt-get asks no questions, keeps files in /etc that an admin changed, and removes no package.
const APT: [&str; 11] = [
    "--yes",
    "--no-remove",
    "--no-install-recommends",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "DPkg::Lock::Timeout=120",
    "-o",
    "Dpkg::Use-Pty=0",
];

const NO_SOURCES: [&str; 4] =
    ["-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"];

pub(in crate::bootstrap) fn install(
    context: &Context,
    step: &InstallPackages,
    operator: &dyn Operator,
) -> Result<()> {
    if step.manager == PackageManager::AptGet {
        // What an interrupted run left; nothing otherwise.
        run(
            context,
            quiet(Tool::Dpkg.cmd().args(["--force-confold", "--force-confdef", "--configure", "--pending"])),
        )?;
    }
    let wanted = match &step.from {
        Some(dir) => missing_files(context, step.manager, dir)?,
        None => missing_names(context, step, operator)?,
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let answer =
        ask(context, step.manager, Asking::Now, step.from.is_some(), &wanted).map_err(Fault::from)?;
    check_answer(step.manager, &wanted, answer)?;
    operator
        .says(&format!("installing {}", wanted.iter().map(|name| short(name)).collect::<Vec<_>>().join(" ")));
    let is_offline = step.from.is_some();
    run(context, quiet(command(step.manager, is_offline).args(wanted))).map(|_| ()).map_err(|error| {
        if is_offline {
            error.context("installing from a directory alone, where all that is depended on must be")
        } else {
            error
        }
    })
}

/// Fails if the packages would cost others. An unreadable answer is an error, except of apt-get: it removes nothing
/// by itself.
fn check_answer(manager: PackageManager, wanted: &[String], answer: Answer) -> Result<(), Fault> {
    match (answer, manager) {
        (Answer::Would(losses), _) => loss(manager, wanted, &losses).map_or(Ok(()), Err),
        (Answer::NoAnswer(_), PackageManager::AptGet) => Ok(()),
        (Answer::NoAnswer(said), PackageManager::Dnf | PackageManager::Yum) => {
            let names: Vec<&str> = wanted.iter().map(|name| short(name)).collect();
            let (manager, names) = (manager.name(), names.join(" "));
            Err(Fault::host(format!(
                "{manager} does not say what it would do to install {names}: {}",
                tail(&said, 16)
            ))
            .help("mend what it complains about, and run this again; nothing was installed"))
        }
    }
}

/// Refuses a plan whose packages would remove or downgrade others. Names that are in no list yet are not judged here:
/// the step itself reads new lists and asks again.
pub(in crate::bootstrap) fn foresee(context: &Context, step: &InstallPackages, part: &mut Part) {
    let found = match &step.from {
        Some(dir) => missing_files(context, step.manager, dir),
        None => known_names(context, step),
    };
    let fault = match found {
        Ok(wanted) if wanted.is_empty() => None,
        Ok(wanted) => ask(context, step.manager, Asking::Beforehand, step.from.is_some(), &wanted)
            .ok()
            .and_then(Answer::losses)
            .and_then(|losses| loss(step.manager, &wanted, &losses)),
        // What cannot be looked at now is an error of the step, if it is still so then.
        Err(error) => Some(flatten(&error)).filter(|fault| fault.class == ErrorClass::Refused),
    };
    if let Some(fault) = fault {
        part.refuse(fault.message, fault.help.unwrap_or_default());
    }
}

fn known_names(context: &Context, step: &InstallPackages) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for names in missing_of(context, step) {
        match first_available(context, step.manager, Asking::Beforehand, &names) {
            Choice::Found(name) if !name.is_empty() => known.push(name.to_owned()),
            Choice::Lossy(fault) => return Err(fault.into()),
            Choice::Found(_) | Choice::Nowhere(_) => {}
        }
    }
    Ok(known)
}

/// When a package manager is asked what it would do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// For a plan, from the lists that are there: making a plan fetches nothing.
    Beforehand,
    Now,
}

/// Asks the package manager what it would do.
fn ask(
    context: &Context,
    manager: PackageManager,
    asking: Asking,
    is_offline: bool,
    wanted: &[String],
) -> Result<Answer, RunError> {
    let question = match manager {
        PackageManager::AptGet => {
            let cmd = Tool::AptGet.cmd().args(["install", "--simulate", "--no-install-recommends"]);
            if is_offline { cmd.args(NO_SOURCES) } else { cmd }
        }
        PackageManager::Dnf | PackageManager::Yum => {
            let mut cmd = command(manager, is_offline);
            // Which of two answers counts is not the same to all of them.
            cmd.args.retain(|arg| arg != "--assumeyes");
            cmd.args.insert(0, "--assumeno".into());
            if asking == Asking::Beforehand {
                cmd.args.insert(0, "--cacheonly".into());
            }
            cmd
        }
    };
    package_changes::gather(context.host, manager, &quiet(question.args(wanted.iter().cloned())))
}

/// The error for packages that would be removed or downgraded; `None`: there are none.
fn loss(manager: PackageManager, wanted: &[String], losses: &Losses) -> Option<Fault> {
    if losses.is_empty() {
        return None;
    }
    let would = [("remove", &losses.removed), ("downgrade", &losses.downgraded)];
    let would: Vec<String> = would
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(verb, names)| format!("{verb} {}", names.join(", ")))
        .collect();
    let names: Vec<&str> = wanted.iter().map(|name| short(name)).collect();
    let (manager, would, names) = (manager.name(), would.join(" and "), names.join(" "));
    let fault = Fault::refused(format!("to install {names}, {manager} would {would}"));
    Some(fault.help(
        "look whose that is; remove it yourself if nobody needs it, or install what is missing by hand so that both stay",
    ))
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn command(manager: PackageManager, is_offline: bool) -> Cmd {
    match (manager, is_offline) {
        (PackageManager::AptGet, false) => Tool::AptGet.cmd().arg("install").args(APT),
        // Without sources there is nowhere to download from.
        (PackageManager::AptGet, true) => Tool::AptGet.cmd().arg("install").args(APT).args(NO_SOURCES),
        (PackageManager::Dnf, false) => Tool::Dnf.cmd().args(["--assumeyes", "install"]),
        (PackageManager::Dnf, true) => Tool::Dnf.cmd().args([
            "--assumeyes",
            "--disablerepo=*",
            "--setopt=install_weak_deps=False",
            "install",
        ]),
        (PackageManager::Yum, false) => Tool::Yum.cmd().args(["--assumeyes", "install"]),
        (PackageManager::Yum, true) => Tool::Yum.cmd().args(["--assumeyes", "--disablerepo=*", "install"]),
    }
}

fn quiet(cmd: Cmd) -> Cmd {
    cmd.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_SUSPEND", "1").timeout(LONG)
}

/// Runs the command. An error shows the last lines of both streams: scripts of packages write errors to both.
fn run(context: &Context, cmd: Cmd) -> Result<Output> {
    let shown = format!("{} {}", cmd.tool.program().display(), cmd.args.first().map_or("", String::as_str));
    let output = context.host.run(&cmd.allow_any_exit()).map_err(|error| {
        let fault = Fault::from(error);
        match fault.kind {
            FaultKind::TimedOut => fault.help("run this again: it goes on from there"),
            _ => fault,
        }
    })?;
    if output.status == 0 {
        return Ok(output);
    }
    let said = tail(&format!("{}\n{}", output.stdout, output.stderr), 16);
    // apt's words, and dpkg's. dnf and yum wait by themselves.
    if said.contains("Could not get lock") || said.contains("locked by another process") {
        return Err(Fault::busy(format!("the package manager is in use: {said}"))
            .help("wait until the other one has ended, and run this again")
            .into());
    }
    Err(Fault::host(format!("{shown} ended with status {}: {said}", output.status))
        .help("mend what it complains about, and run this again: it goes on from there")
        .into())
}

/// The last lines of a text, joined into one line.
pub(in crate::bootstrap) fn tail(text: &str, lines: usize) -> String {
    const LONGEST: usize = 300;
    let said: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().take(LONGEST).map(|c| if plain(c) == c { c } else { ' ' }).collect())
        .collect();
    said.get(said.len().saturating_sub(lines)..).unwrap_or(&[]).join(" / ")
}

/// The wanted packages of which no alternative is installed, each as its list of alternatives.
fn missing_of<'a>(context: &Context, step: &'a InstallPackages) -> Vec<Vec<&'a str>> {
    let alternatives = step.names.iter().map(|names| names.split('|').collect::<Vec<_>>());
    let is_there = |names: &[&str]| names.iter().any(|name| is_installed(context, step.manager, name));
    alternatives.filter(|names| !is_there(names)).collect()
}

fn missing_names(context: &Context, step: &InstallPackages, operator: &dyn Operator) -> Result<Vec<String>> {
    let manager = step.manager;
    let missing = missing_of(context, step);
    let mut said = String::new();
    if !missing.is_empty() && manager == PackageManager::AptGet {
        operator.says("reading the lists of packages");
        // A repository that does not answer is a warning, and may not be the one that matters.
        let output =
            run(context, quiet(Tool::AptGet.cmd().args(["update", "-o", "DPkg::Lock::Timeout=120"])))?;
        said = tail(&output.stderr, 3);
    }
    let mut found = Vec::new();
    for names in missing {
        match first_available(context, manager, Asking::Now, &names) {
            Choice::Found("") => {}
            Choice::Found(name) => found.push(name.to_owned()),
            Choice::Lossy(fault) => return Err(fault.into()),
            // The manager's own reason may be that it reaches nothing at all.
            Choice::Nowhere(why) => {
                return Err(nowhere(&names, if said.is_empty() { &why } else { &said }).into());
            }
        }
    }
    Ok(found)
}

fn nowhere(names: &[&str], said: &str) -> Fault {
    let why = if said.is_empty() { String::new() } else { format!(" ({said})") };
    Fault::host(format!("no repository of this system has {}{why}", names.join(" or ")))
        .help("add one that has it, or name a directory of packages in [bootstrap.docker]")
}

/// Which of several alternatives is installed.
enum Choice<'a> {
    /// This one can be installed. An empty name stands for installing none.
    Found(&'a str),
    /// Each alternative would remove or downgrade other packages; the error is that of the first one.
    Lossy(Fault),
    /// None is available; what the package manager said of the last one.
    Nowhere(String),
}

/// The first alternative that is available and removes or downgrades nothing.
fn first_available<'a>(
    context: &Context,
    manager: PackageManager,
    asking: Asking,
    names: &[&'a str],
) -> Choice<'a> {
    let (mut said, mut lossy) = (String::new(), None);
    for name in names {
        if name.is_empty() {
            return Choice::Found(name);
        }
        match look_for(context, manager, asking, name) {
            Ok(None) => return Choice::Found(name),
            Ok(Some(fault)) => {
                lossy.get_or_insert(fault);
            }
            Err(why) => said = why,
        }
    }
    lossy.map_or(Choice::Nowhere(said), Choice::Lossy)
}

/// Whether the package is available, and what it would remove or downgrade. `Err`: why it is not available.
fn look_for(
    context: &Context,
    manager: PackageManager,
    asking: Asking,
    name: &str,
) -> Result<Option<Fault>, String> {
    let cmd = match manager {
        PackageManager::AptGet => {
            Tool::AptGet.cmd().args(["install", "--simulate", "--no-install-recommends"])
        }
        PackageManager::Dnf => Tool::Dnf.cmd().args(["--quiet", "list"]),
        PackageManager::Yum => Tool::Yum.cmd().args(["--quiet", "list"]),
    };
    let cmd = if asking == Asking::Beforehand && manager != PackageManager::AptGet {
        cmd.arg("--cacheonly")
    } else {
        cmd
    };
    let output =
        context.host.run(&quiet(cmd.arg(name)).allow_any_exit()).map_err(|error| error.to_string())?;
    if output.status != 0 {
        return Err(tail(&format!("{}\n{}", output.stdout, output.stderr), 3));
    }
    let wanted = [name.to_owned()];
    let answer = ask(context, manager, asking, false, &wanted).map_err(|error| error.to_string())?;
    Ok(answer.losses().and_then(|losses| loss(manager, &wanted, &losses)))
}

fn is_installed(context: &Context, manager: PackageManager, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let cmd = match manager {
        PackageManager::AptGet => {
            Tool::DpkgQuery.cmd().args(["--show", "--showformat=${db:Status-Status}", name])
        }
        PackageManager::Dnf | PackageManager::Yum => Tool::Rpm.cmd().args(["--query", name]),
    };
    let output = context.host.run(&cmd.timeout(SHORT));
    output.is_ok_and(|output| manager != PackageManager::AptGet || output.stdout.trim() == "installed")
}

/// A package in a file.
#[derive(Debug, PartialEq, Eq)]
struct PackageFile {
    name: String,
    arch: String,
    path: String,
}

/// The package files in the directory that fit this machine and are not installed.
fn missing_files(context: &Context, manager: PackageManager, dir: &Path) -> Result<Vec<String>> {
    let doing = || format!("looking at the packages in {}", dir.display());
    let paths = context.host.list(dir).with_context(doing)?;
    let ends_right =
        |path: &&std::path::PathBuf| path.to_str().is_some_and(|path| path.ends_with(manager.suffix()));
    let mut found: BTreeMap<String, PackageFile> = BTreeMap::new();
    for path in paths.iter().filter(ends_right) {
        // Its scripts run as root.
        trust::check_root_only(context.root, path)
            .map_err(|why| Fault::refused(format!("{} must not be installed: {why}", path.display())))?;
        let file = describe(context, manager, path).with_context(doing)?;
        if !is_for(manager, &file.arch) || is_installed(context, manager, &file.name) {
            continue;
        }
        if let Some(other) = found.get(&file.name) {
            let what = format!("{} and {} are both {}", other.path, file.path, file.name);
            return Err(Fault::refused(what).help("leave only the one that is to be installed").into());
        }
        found.insert(file.name.clone(), file);
    }
    Ok(found.into_values().map(|file| file.path).collect())
}

fn describe(context: &Context, manager: PackageManager, path: &Path) -> Result<PackageFile> {
    let path = path.display().to_string();
    let cmd = match manager {
        PackageManager::AptGet => {
            Tool::DpkgDeb.cmd().args(["--show", "--showformat=${Package} ${Architecture}"])
        }
        PackageManager::Dnf | PackageManager::Yum => {
            Tool::Rpm.cmd().args(["--query", "--package", "--queryformat", "%{NAME} %{ARCH}"])
        }
    };
    let output = run(context, cmd.arg(&path).timeout(SHORT))?;
    let (name, arch) = output
        .stdout
        .trim()
        .split_once(' ')
        .ok_or_else(|| Fault::host(format!("{path} says neither its name nor its architecture")))?;
    Ok(PackageFile { name: name.to_owned(), arch: arch.to_owned(), path })
}

/// Whether a package of this architecture fits this machine: Rust and packages name architectures differently.
fn is_for(manager: PackageManager, arch: &str) -> bool {
    if matches!(arch, "all" | "noarch") {
        return true;
    }
    let here = match (manager, std::env::consts::ARCH) {
        (PackageManager::AptGet, "x86_64") => "amd64",
        (PackageManager::AptGet, "aarch64") => "arm64",
        (_, other) => other,
    };
    arch == here
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::plan::PackagesFor;
    use crate::host::FakeHost;

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let text = "one\n\n two \u{1b}[31m\nthree\n";
        assert_eq!(tail(text, 2), "two  [31m / three");
        assert_eq!(tail("", 3), "");
    }

    #[test]
    fn of_two_packages_the_one_is_taken_that_takes_nothing_away() {
        const ASK: &str = "apt-get install --simulate --no-install-recommends";
        const SHOW: &str = "dpkg-query --show --showformat=${db:Status-Status}";
        let step = InstallPackages {
            purpose: PackagesFor::Docker,
            manager: PackageManager::AptGet,
            names: vec!["docker.io|docker-ce".into(), "iptables".into(), "apparmor|".into()],
            from: None,
        };
        let lossy = "Remv containerd.io [1.6]\nInst docker.io (20 x [amd64])\n";
        let with = |docker_ce: &str, together: &str| {
            let host = FakeHost::default()
                .with_output(&format!("{SHOW} iptables"), 0, "installed", "")
                .with_output(&format!("{ASK} docker.io"), 0, lossy, "")
                .with_output(&format!("{ASK} docker-ce"), 0, docker_ce, "")
                .with_output(&format!("{ASK} apparmor"), 100, "", "E: Unable to locate package")
                .with_output(together, 0, docker_ce, "");
            let mut part = Part::default();
            Context::of_sim(&host, |context| {
                foresee(context, &step, &mut part);
                known_names(context, &step).map_err(|error| flatten(&error).message)
            })
            .map(|known| (known, part.refusals.len()))
        };
        let (known, refusals) = with("Inst docker-ce (26 x [amd64])\n", &format!("{ASK} docker-ce")).unwrap();
        assert_eq!((known, refusals), (vec!["docker-ce".to_owned()], 0));
        let refused = with("Remv runc [1]\n", &format!("{ASK} docker-ce")).unwrap_err();
        assert_eq!(refused, "to install docker.io, apt-get would remove containerd.io");
    }

    #[test]
    fn only_apt_may_be_let_go_unasked() {
        let said = || Answer::NoAnswer("Error:\n Problem: conflicting requests\n".into());
        let wanted = ["/p/docker-ce.rpm".to_owned()];
        check_answer(PackageManager::AptGet, &wanted, said()).unwrap();
        for manager in [PackageManager::Dnf, PackageManager::Yum] {
            let fault = check_answer(manager, &wanted, said()).unwrap_err();
            assert!(
                fault.message.contains("to install docker-ce.rpm: Error: / Problem: conflicting"),
                "{fault}"
            );
            check_answer(manager, &wanted, Answer::Would(Losses::default())).unwrap();
        }
    }

    #[test]
    fn offline_knows_no_sources() {
        let shown = command(PackageManager::AptGet, true).to_string();
        assert!(shown.contains("SourceList=/dev/null") && shown.contains("--force-confold"), "{shown}");
        assert!(command(PackageManager::Dnf, true).to_string().contains("--disablerepo=*"));
        assert!(!command(PackageManager::Yum, false).to_string().contains("disablerepo"));
    }
}
