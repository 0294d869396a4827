//! Installs berth itself: program, profile, config, units, group and storage. The files come out of the program.

use super::Context;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{
    FilePurpose, InstallProgram, MakeDirectory, MakeGroup, Part, RunUnits, Step, WriteFile,
};
use crate::error::Fault;
use crate::facts::own::Wanted;
use crate::host::{Cmd, Tool, dirs, files, trust};
use crate::model::observed::{OwnParts, Presence};
use crate::profile::{DEFAULT_CONFIG, shipped_profile};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/local/bin/berth";
const GROUP: &str = "berth-admin";
const UNITS: [&str; 2] = ["berth.socket", "berth.service"];
const UNIT_DIRECTORY: &str = "/etc/systemd/system";
const SERVICE: &str = include_str!("../../systemd/berth.service");
const SOCKET: &str = include_str!("../../systemd/berth.socket");

/// The parts that should be there, for the look.
pub(super) fn look(context: &Context) -> Result<OwnParts, Fault> {
    let files: Vec<(PathBuf, String)> =
        wanted_files(context).into_iter().map(|wanted| (wanted.file.path, wanted.file.content)).collect();
    let wanted = Wanted {
        program: Path::new(PROGRAM),
        files: &files,
        group: GROUP,
        storage: &context.config.paths.storage,
        units: &UNITS,
    };
    crate::facts::own::gather(context.host, &wanted).map_err(super::not_seen)
}

struct WantedFile {
    file: WriteFile,
    /// True: the file is written once, and belongs to the admin from then on.
    once: bool,
}

fn wanted_files(context: &Context) -> Vec<WantedFile> {
    let file = |path: PathBuf, content: String, purpose| WriteFile { path, content, mode: 0o644, purpose };
    let mut wanted = Vec::new();
    if let Some(text) = shipped_profile(&context.config.profile) {
        let path = context.config.paths.profiles.join(format!("{}.toml", context.config.profile));
        wanted.push(WantedFile { file: file(path, text.into(), FilePurpose::Profile), once: true });
    }
    let config = format!(
        "# Written by berth bootstrap; README.md lists the keys.\nprofile = {:?}\n",
        context.config.profile
    );
    let path = context.config_path.clone();
    wanted.push(WantedFile { file: file(path, config, FilePurpose::Config), once: true });
    let unit = |name: &str| Path::new(UNIT_DIRECTORY).join(name);
    wanted.push(WantedFile {
        file: file(unit("berth.service"), SERVICE.into(), FilePurpose::AgentUnit),
        once: false,
    });
    wanted.push(WantedFile {
        file: file(unit("berth.socket"), SOCKET.into(), FilePurpose::AgentSocket),
        once: false,
    });
    if let Some(text) = drop_in(context) {
        let path = unit("berth.service.d/bootstrap.conf");
        wanted.push(WantedFile { file: file(path, text, FilePurpose::AgentPaths), once: false });
    }
    wanted
}

/// The text of the unit's drop-in; `None`: the unit's defaults fit.
fn drop_in(context: &Context) -> Option<String> {
    let (paths, mut parts) = (&context.config.paths, Vec::new());
    if paths.storage != Path::new("/data/berth") || paths.state != Path::new("/var/lib/berth") {
        let (state, storage) = (paths.state.display(), paths.storage.display());
        parts.push(format!("[Unit]\nRequiresMountsFor={state} {storage}\n"));
    }
    if context.config_path != Path::new(DEFAULT_CONFIG) {
        parts.push(format!("[Service]\nEnvironment=BERTH_CONFIG={}\n", context.config_path.display()));
    }
    (!parts.is_empty()).then(|| parts.concat())
}

/// Plans the steps for berth itself. Pure; the texts come out of the program.
pub(super) fn plan(context: &Context, seen: &Observed) -> Part {
    let mut part = Part::default();
    let own = &seen.own;
    let mut changed = false;
    match own.program {
        Presence::Same => part.is_right(format!("this program is {PROGRAM}")),
        Presence::Absent | Presence::Other => {
            let why = if own.program == Presence::Absent {
                "it is not there yet"
            } else {
                "another version is there"
            };
            part.add(Step::InstallProgram(InstallProgram { to: PROGRAM.into() }), why);
            changed = true;
        }
    }
    for wanted in wanted_files(context) {
        let presence = own.files.iter().find(|file| file.path == wanted.file.path).map(|file| file.presence);
        let path = wanted.file.path.display().to_string();
        match (presence, wanted.once) {
            (Some(Presence::Same), _) | (Some(Presence::Other), true) => {
                if wanted.file.path == context.config_path {
                    note_other_profile(context, &path, &mut part);
                }
                part.is_right(format!("{path} is there"));
            }
            (Some(Presence::Other), false) => {
                changed = true;
                part.add(
                    Step::WriteFile(wanted.file),
                    "another version is there; settings of your own belong into drop-ins",
                );
            }
            (Some(Presence::Absent) | None, _) => {
                changed = true;
                if wanted.file.path == context.config_path {
                    refuse_open_profile(context, &mut part);
                }
                part.add(Step::WriteFile(wanted.file), "it is not there yet");
            }
        }
    }
    if own.group {
        part.is_right(format!("the group {GROUP} is there"));
    } else {
        part.add(Step::MakeGroup(MakeGroup { name: GROUP.into() }), "its members may administer berth");
    }
    plan_storage(context, own, &mut part);
    plan_units(seen, changed, &mut part);
    part
}

/// Refuses a profile that other users can write to, because it decides what root does.
fn refuse_open_profile(context: &Context, part: &mut Part) {
    let profile = Path::new(&context.config.profile);
    if !profile.is_absolute() {
        return;
    }
    if let Err(why) = trust::check_root_only(Path::new("/"), profile) {
        part.refuse(
            format!("the agent would go by {}, and {why}", profile.display()),
            "copy it to where only root can write, such as /etc/berth, and name it there",
        );
    }
}

/// Notes that the agent uses the profile of its config, not the one that was named for this run.
fn note_other_profile(context: &Context, path: &str, part: &mut Part) {
    let (wanted, own) = (context.config.profile.as_str(), context.own_profile);
    if own != wanted {
        part.notes.push(format!(
            "the agent will not go by the profile {wanted}: {path} names {own}; change it there, if it should"
        ));
    }
}

fn plan_storage(context: &Context, own: &OwnParts, part: &mut Part) {
    let path = &context.config.paths.storage;
    if own.storage_is_no_directory {
        part.refuse(
            format!("personal storage goes to {}, and that is no directory, or not in one", path.display()),
            "move what is there away, or name another directory in paths.storage",
        );
        return;
    }
    match own.storage {
        Some(0o700) => part.is_right(format!("personal storage is in {}", path.display())),
        Some(_) if own.storage_is_new => {
            let step = MakeDirectory { path: path.clone(), mode: 0o700 };
            part.add(Step::MakeDirectory(step), "it is empty, and others could look into it");
        }
        Some(mode) => part.refuse(
            format!("{} has the mode {mode:o}, and personal storage must be root's alone", path.display()),
            "look whose it is; then chmod 700, or name another directory in paths.storage",
        ),
        None => {
            let step = MakeDirectory { path: path.clone(), mode: 0o700 };
            part.add(Step::MakeDirectory(step), "personal storage goes there");
        }
    }
}

fn plan_units(seen: &Observed, changed: bool, part: &mut Part) {
    if !seen.machine.systemd {
        part.notes.push("there is no systemd here: start the agent yourself (berth agent)".into());
        return;
    }
    let own = &seen.own;
    if own.enabled && own.active && !changed {
        part.is_right("the agent runs, and starts at every boot");
        return;
    }
    let why = if own.active { "something of it changes" } else { "it does not run, or not after a boot" };
    let units = UNITS.iter().map(|unit| (*unit).to_owned()).collect();
    part.add(Step::RunUnits(RunUnits { units, restart: own.active }), why);
}

pub(super) fn install_program(program: &InstallProgram) -> Result<(), Fault> {
    files::install_self(&program.to)
}

pub(super) fn make_group(context: &Context, group: &MakeGroup) -> Result<()> {
    const EXISTS: i32 = 9;
    run(context, Tool::Groupadd.cmd().args(["--system", &group.name]).allow_exits(&[EXISTS]))
}

pub(super) fn make_directory(directory: &MakeDirectory) -> Result<(), Fault> {
    dirs::make_dir(&directory.path, directory.mode)?;
    // The top of a new volume is as mkfs made it. One with contents, that a mount brought with it, keeps its mode.
    if files::is_new_directory(&directory.path) {
        dirs::set_mode(&directory.path, directory.mode)?;
    }
    let found = files::directory_mode(&directory.path)
        .map_err(|error| Fault::host(format!("{} cannot be read: {error}", directory.path.display())))?;
    if found == Some(directory.mode) {
        return Ok(());
    }
    Err(Fault::refused(format!(
        "{} is there already, with another mode than {:o}",
        directory.path.display(),
        directory.mode
    ))
    .help("look whose it is; then change its mode, or name another directory in the config"))
}

/// Enables and starts the units, and waits until they run.
pub(super) fn run_units(context: &Context, wanted: &RunUnits) -> Result<()> {
    const SETTLED: Duration = Duration::from_mins(1);
    let units: Vec<&str> = wanted.units.iter().map(String::as_str).collect();
    run(context, Tool::Systemctl.cmd().arg("daemon-reload"))?;
    run(context, Tool::Systemctl.cmd().arg("enable").args(units.iter().copied()))?;
    let verb = if wanted.restart { "restart" } else { "start" };
    run(context, Tool::Systemctl.cmd().arg(verb).args(units.iter().copied()))?;
    let deadline = Instant::now() + SETTLED;
    loop {
        let state = Tool::Systemctl.cmd().arg("is-active").args(units.iter().copied()).allow_any_exit();
        let said = context.host.run(&state).map_err(Fault::from)?.stdout;
        if said.lines().all(|line| line == "active") && said.lines().count() == units.len() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let text = format!("{} are {}", units.join(" and "), said.trim().replace('\n', " and "));
            return Err(Fault::host(text).help("journalctl -u berth says why").into());
        }
        sleep(Duration::from_millis(200));
    }
}

fn run(context: &Context, cmd: Cmd) -> Result<()> {
    let cmd = cmd.timeout(Duration::from_mins(2));
    context.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}
