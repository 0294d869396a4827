//! Installing packages. What is installed is left as it is: names and files of installed packages are taken out first.

use super::{Ground, Progress};
use crate::error::Fault;
use crate::host::{Cmd, Output, RunError, Tool, trust};
use crate::model::docker_seen::PackageManager;
use crate::plan::InstallPackages;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_mins(30);
const SHORT: Duration = Duration::from_mins(2);
/// Nobody is asked; what an admin changed in /etc stays.
const APT: [&str; 10] = [
    "--yes",
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

pub(super) fn install(ground: &Ground, step: &InstallPackages, progress: &dyn Progress) -> Result<()> {
    if step.manager == PackageManager::AptGet {
        // What an interrupted run left; nothing otherwise.
        run(
            ground,
            quiet(Tool::Dpkg.cmd().args(["--force-confold", "--force-confdef", "--configure", "--pending"])),
        )?;
    }
    let wanted = match &step.from {
        Some(dir) => missing_files(ground, step.manager, dir)?,
        None => missing_names(ground, step, progress)?,
    };
    if wanted.is_empty() {
        return Ok(());
    }
    progress
        .says(&format!("installing {}", wanted.iter().map(|name| short(name)).collect::<Vec<_>>().join(" ")));
    let is_offline = step.from.is_some();
    run(ground, quiet(command(step.manager, is_offline).args(wanted))).map(|_| ()).map_err(|error| {
        if is_offline {
            error.context("installing from a directory alone, where all that is depended on must be")
        } else {
            error
        }
    })
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn command(manager: PackageManager, is_offline: bool) -> Cmd {
    match (manager, is_offline) {
        (PackageManager::AptGet, false) => Tool::AptGet.cmd().arg("install").args(APT),
        // Without sources there is nowhere to download from.
        (PackageManager::AptGet, true) => Tool::AptGet.cmd().arg("install").args(APT).args([
            "-o",
            "Dir::Etc::SourceList=/dev/null",
            "-o",
            "Dir::Etc::SourceParts=/dev/null",
        ]),
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

/// A failure shows the end of what was said, on either stream: scripts of packages complain on both.
fn run(ground: &Ground, cmd: Cmd) -> Result<Output> {
    let shown = format!("{} {}", cmd.tool.program().display(), cmd.args.first().map_or("", String::as_str));
    let output = ground.host.run(&cmd.allow_any_exit()).map_err(|error| match error {
        RunError::TimedOut { .. } => {
            Fault::host(error.to_string()).help("run this again: it goes on from there")
        }
        other => Fault::host(other.to_string()),
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

/// The last lines, in one.
pub(super) fn tail(text: &str, lines: usize) -> String {
    const LONGEST: usize = 300;
    let said: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect())
        .collect();
    said.get(said.len().saturating_sub(lines)..).unwrap_or(&[]).join(" / ")
}

fn missing_names(ground: &Ground, step: &InstallPackages, progress: &dyn Progress) -> Result<Vec<String>> {
    let manager = step.manager;
    let alternatives = step.names.iter().map(|names| names.split('|').collect::<Vec<_>>());
    let is_there = |names: &[&str]| names.iter().any(|name| is_installed(ground, manager, name));
    let missing: Vec<Vec<&str>> = alternatives.filter(|names| !is_there(names)).collect();
    let mut said = String::new();
    if !missing.is_empty() && manager == PackageManager::AptGet {
        progress.says("reading the lists of packages");
        // A repository that does not answer is a warning, and may not be the one that matters.
        let output =
            run(ground, quiet(Tool::AptGet.cmd().args(["update", "-o", "DPkg::Lock::Timeout=120"])))?;
        said = tail(&output.stderr, 3);
    }
    let mut found = Vec::new();
    for names in missing {
        match first_available(ground, manager, &names) {
            Ok("") => {}
            Ok(name) => found.push(name.to_owned()),
            // The manager's own reason may be that it reaches nothing at all.
            Err(why) => return Err(nowhere(&names, if said.is_empty() { &why } else { &said }).into()),
        }
    }
    Ok(found)
}

fn nowhere(names: &[&str], said: &str) -> Fault {
    let why = if said.is_empty() { String::new() } else { format!(" ({said})") };
    Fault::host(format!("no repository of this system has {}{why}", names.join(" or ")))
        .help("add one that has it, or name a directory of packages in [bootstrap.docker]")
}

/// An empty name is always there. `Err`: what the manager said of the last one.
fn first_available<'a>(
    ground: &Ground,
    manager: PackageManager,
    names: &[&'a str],
) -> Result<&'a str, String> {
    let mut said = String::new();
    for name in names {
        let cmd = match manager {
            _ if name.is_empty() => return Ok(name),
            PackageManager::AptGet => {
                Tool::AptGet.cmd().args(["install", "--simulate", "--no-install-recommends"])
            }
            PackageManager::Dnf => Tool::Dnf.cmd().args(["--quiet", "list"]),
            PackageManager::Yum => Tool::Yum.cmd().args(["--quiet", "list"]),
        };
        match ground.host.run(&quiet(cmd.arg(*name)).allow_any_exit()) {
            Ok(output) if output.status == 0 => return Ok(name),
            Ok(output) => said = tail(&format!("{}\n{}", output.stdout, output.stderr), 3),
            Err(error) => said = error.to_string(),
        }
    }
    Err(said)
}

fn is_installed(ground: &Ground, manager: PackageManager, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let cmd = match manager {
        PackageManager::AptGet => {
            Tool::DpkgQuery.cmd().args(["--show", "--showformat=${db:Status-Status}", name])
        }
        PackageManager::Dnf | PackageManager::Yum => Tool::Rpm.cmd().args(["--query", name]),
    };
    let output = ground.host.run(&cmd.timeout(SHORT));
    output.is_ok_and(|output| manager != PackageManager::AptGet || output.stdout.trim() == "installed")
}

/// A package in a file.
#[derive(Debug, PartialEq, Eq)]
struct PackageFile {
    name: String,
    arch: String,
    path: String,
}

/// Files of packages for this machine that are not installed.
fn missing_files(ground: &Ground, manager: PackageManager, dir: &Path) -> Result<Vec<String>> {
    let doing = || format!("looking at the packages in {}", dir.display());
    let paths = ground.host.list(dir).with_context(doing)?;
    let ends_right =
        |path: &&std::path::PathBuf| path.to_str().is_some_and(|path| path.ends_with(manager.suffix()));
    let mut found: BTreeMap<String, PackageFile> = BTreeMap::new();
    for path in paths.iter().filter(ends_right) {
        // Its scripts run as root.
        trust::check_root_only(ground.root, path)
            .map_err(|why| Fault::refused(format!("{} must not be installed: {why}", path.display())))?;
        let file = describe(ground, manager, path).with_context(doing)?;
        if !is_for(manager, &file.arch) || is_installed(ground, manager, &file.name) {
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

fn describe(ground: &Ground, manager: PackageManager, path: &Path) -> Result<PackageFile> {
    let path = path.display().to_string();
    let cmd = match manager {
        PackageManager::AptGet => {
            Tool::DpkgDeb.cmd().args(["--show", "--showformat=${Package} ${Architecture}"])
        }
        PackageManager::Dnf | PackageManager::Yum => {
            Tool::Rpm.cmd().args(["--query", "--package", "--queryformat", "%{NAME} %{ARCH}"])
        }
    };
    let output = run(ground, cmd.arg(&path).timeout(SHORT))?;
    let (name, arch) = output
        .stdout
        .trim()
        .split_once(' ')
        .ok_or_else(|| Fault::host(format!("{path} says neither its name nor its architecture")))?;
    Ok(PackageFile { name: name.to_owned(), arch: arch.to_owned(), path })
}

/// As Rust and as packages call processors.
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

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let text = "one\n\n two \u{1b}[31m\nthree\n";
        assert_eq!(tail(text, 2), "two  [31m / three");
        assert_eq!(tail("", 3), "");
    }

    #[test]
    fn offline_knows_no_sources() {
        let shown = command(PackageManager::AptGet, true).to_string();
        assert!(shown.contains("SourceList=/dev/null") && shown.contains("--force-confold"), "{shown}");
        assert!(command(PackageManager::Dnf, true).to_string().contains("--disablerepo=*"));
        assert!(!command(PackageManager::Yum, false).to_string().contains("disablerepo"));
    }
}
