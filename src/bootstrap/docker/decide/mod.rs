//! What `berth bootstrap` should do about Docker, packages and the kernel's settings.
//!
//! Pure: facts and wishes in, steps and refusals out. Nothing here asks the engine.

mod daemon_json;
mod json;
mod packages;
mod root;
mod sysctl;
#[cfg(test)]
mod tests;

pub use daemon_json::{Merged, Unmergeable, merge};
pub use packages::plan_tools;
pub use root::{elsewhere, immovable, needs_move};
pub use sysctl::plan_sysctl;

use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{
    CloseMetadata, ConfigureDocker, DaemonSettings, FilePurpose, Part, Refusal, RunDocker, Step, WriteFile,
};
use crate::facts::docker::DROP_IN;
use crate::model::docker_seen::Neighbour;
use crate::profile::Bootstrap;
use root::Root;
use std::path::{Path, PathBuf};

/// The input of the decision besides the facts.
pub struct DockerInput<'a> {
    pub wants: &'a Bootstrap,
    pub close_metadata: bool,
    /// Steps that an earlier run started and did not finish.
    pub unfinished: &'a [Step],
    /// An earlier run changed daemon.json, and dockerd may not have read it yet.
    pub is_stale: bool,
    /// The running containers, or why the engine could not be asked. Empty where Docker does not run.
    pub running: Result<Running, String>,
    /// Names of containers that an earlier run stopped and did not start again.
    pub to_restart: &'a [String],
    /// The size of Docker's data, and the room that there is or will be for them, both in bytes.
    pub data_bytes: Option<u64>,
    pub room: Option<u64>,
    /// The process that holds the package manager's lock.
    pub locked_by: Option<u32>,
}

/// The running containers.
#[derive(Debug, Default, Clone)]
pub struct Running {
    pub names: Vec<String>,
    /// Those of them that Docker removes as soon as they stop.
    pub removed: Vec<String>,
    /// Whether containers go on while Docker restarts (live-restore), as the engine says.
    pub live_restore: Option<bool>,
}

impl DockerInput<'_> {
    pub fn wanted_root(&self) -> Option<PathBuf> {
        self.wants.data_root()
    }
}

/// Steps for Docker on this machine.
pub fn plan(seen: &Observed, request: &DockerInput) -> Part {
    let mut part = Part::default();
    if !request.wants.docker.install {
        part.is_right("Docker is left alone (install = false)");
        return part;
    }
    if !is_possible(seen, &mut part) {
        return part;
    }
    packages::plan_docker(seen, request, &mut part);
    let is_installing = !part.steps.is_empty();
    let root = root::decide(seen, request, &mut part);
    let Some(merged) = configuration(seen, request, &root, &mut part) else { return part };
    let (configure, merged) = merged;
    part.notes.extend(merged.notes);
    plan_drop_in(seen, request, &mut part);
    let is_configuring = !configure.changes.is_empty();
    if let Root::Move { to } = &root {
        root::add_move(seen, request, to, configure, &mut part);
    } else if is_configuring {
        part.add(Step::ConfigureDocker(configure), "Docker is set up otherwise");
    } else {
        part.is_right("daemon.json says what it should");
    }
    let is_moving = matches!(root, Root::Move { .. });
    plan_run(seen, request, &Changes { is_installing, is_configuring, is_moving }, &mut part);
    plan_metadata(seen, request, is_installing, &mut part);
    note_neighbours(seen, &mut part);
    part
}

fn is_possible(seen: &Observed, part: &mut Part) -> bool {
    let docker = &seen.docker;
    let mut refuse = |what: &str, help: &str| {
        part.refuse(what, help);
        false
    };
    if !seen.machine.systemd {
        return refuse(
            "Docker cannot be set up: this system is not run by systemd",
            "set install = false in [bootstrap.docker], and start Docker as this system does",
        );
    }
    if docker.program.is_none() && docker.neighbours.contains(&Neighbour::SnapDocker) {
        return refuse(
            "Docker comes from a snap here, which keeps its configuration and data to itself",
            "remove it (snap remove docker) after saving what is in it, or set install = false in [bootstrap.docker]",
        );
    }
    if docker.program.is_some() && docker.service.is_none() && seen.packages.half.is_empty() {
        return refuse(
            "dockerd is here, and systemd has no docker.service to start it with",
            "install Docker's package over it, or set install = false in [bootstrap.docker]",
        );
    }
    true
}

/// The settings that daemon.json should have, and the result of merging them into the file as it is.
fn configuration(
    seen: &Observed,
    request: &DockerInput,
    root: &Root,
    part: &mut Part,
) -> Option<(ConfigureDocker, Merged)> {
    let settings = settings(seen, request, root);
    let docker = &seen.docker;
    let flags = docker.service.as_ref().map_or(&[][..], |service| service.flags.as_slice());
    let file =
        if docker.daemon_file.path.is_empty() { "/etc/docker/daemon.json" } else { &docker.daemon_file.path };
    if docker.daemon_file.is_directory {
        part.refuse(
            format!("{file} is a directory, and dockerd reads its configuration there"),
            "move it away, and run this again (docker run -v makes one where a file was meant that is not there)",
        );
        return None;
    }
    match merge(file, docker.daemon_file.text.as_deref(), flags, &settings, docker.has_swarm) {
        Ok(merged) => {
            let changes = merged.changes.clone();
            Some((ConfigureDocker { file: file.into(), settings, changes }, merged))
        }
        Err(why) => {
            part.refuse(why.what, why.help);
            None
        }
    }
}

fn settings(seen: &Observed, request: &DockerInput, root: &Root) -> DaemonSettings {
    let wants = &request.wants.docker;
    DaemonSettings {
        data_root: match root {
            Root::AsItIs => None,
            Root::Switch { to } | Root::Move { to } => Some(to.clone()),
        },
        log_max_size: (!wants.log_max_size.is_empty()).then(|| wants.log_max_size.clone()),
        log_max_file: wants.log_max_file,
        live_restore: wants.live_restore,
        address_pools: wants.address_pools.iter().map(|pool| (pool.base.clone(), pool.size)).collect(),
        ascend_runtime: seen.docker.ascend_runtime.as_ref().map(PathBuf::from),
    }
}

/// Has dockerd wait for the mount of its volume: otherwise dockerd would fill the root disk below the mount point.
fn plan_drop_in(seen: &Observed, request: &DockerInput, part: &mut Part) {
    let Some(root) = request.wanted_root() else { return };
    let content = drop_in(&root);
    if seen.docker.drop_in.as_deref() == Some(content.as_str()) {
        part.is_right("Docker waits for the volume of its data");
        return;
    }
    let step =
        WriteFile { path: DROP_IN.into(), content, mode: 0o644, purpose: FilePurpose::DockerVolume(root) };
    part.add(Step::WriteFile(step), "it would start without its data, and fill the root disk");
}

pub fn drop_in(root: &Path) -> String {
    format!("# Written by berth bootstrap.\n[Unit]\nRequiresMountsFor={}\n", root.display())
}

struct Changes {
    is_installing: bool,
    is_configuring: bool,
    is_moving: bool,
}

fn plan_run(seen: &Observed, request: &DockerInput, changes: &Changes, part: &mut Part) {
    let service = seen.docker.service.clone().unwrap_or_default();
    let restart = (changes.is_configuring || request.is_stale) && !changes.is_moving;
    let why = if changes.is_installing {
        "it is newly installed"
    } else if changes.is_configuring || changes.is_moving || request.is_stale {
        "it reads its configuration when it starts"
    } else if !service.is_active {
        "it does not run"
    } else if !service.is_enabled {
        "it would not start at boot"
    } else if !request.to_restart.is_empty() {
        "containers that an interrupted run stopped are to run again"
    } else {
        part.is_right("Docker runs, and starts at boot");
        return;
    };
    let stops = if restart { stopped_by_restart(seen, request, part) } else { Vec::new() };
    let data_root = request.wanted_root();
    part.add(Step::RunDocker(RunDocker { restart, data_root, stops }), why);
}

/// The containers that a restart of Docker stops: none while live-restore is in force.
fn stopped_by_restart(seen: &Observed, request: &DockerInput, part: &mut Part) -> Vec<String> {
    let docker = &seen.docker;
    let flagged = docker
        .service
        .iter()
        .flat_map(|service| &service.flags)
        .any(|flag| flag.key == "live-restore" && flag.value.as_deref() != Some("false"));
    let text = docker.daemon_file.text.as_deref().unwrap_or("");
    let said = json::Json::parse(text).ok().and_then(|json| json.field("live-restore")?.truth());
    let in_force = request.running.as_ref().ok().and_then(|running| running.live_restore);
    if (flagged || said == Some(true)) && in_force.unwrap_or(flagged || !request.is_stale) {
        return Vec::new();
    }
    running(request, part)
}

/// The running containers, so that the plan names them. Refuses where they are not known or would be lost.
fn running(request: &DockerInput, part: &mut Part) -> Vec<String> {
    match &request.running {
        Ok(running) => {
            part.refusals.extend(removed_by_stop(&running.removed));
            running.names.clone()
        }
        Err(why) => {
            part.refuse(
                format!("Docker has to be stopped for a moment, and it does not say what runs in it: {why}"),
                "look at it: systemctl status docker; when it is stopped, bootstrap goes on",
            );
            Vec::new()
        }
    }
}

/// Refuses containers that Docker removes when they stop: that destroys what is in them. `None`: there are none.
pub fn removed_by_stop(names: &[String]) -> Option<Refusal> {
    (!names.is_empty()).then(|| Refusal {
        what: format!(
            "Docker has to be stopped for a moment, and would remove what was started with --rm, with all that is in it: {}",
            names.join(", ")
        ),
        help: Some("save what is needed of it and stop it yourself (docker stop), or wait until it has ended".into()),
    })
}

fn plan_metadata(seen: &Observed, request: &DockerInput, is_installing: bool, part: &mut Part) {
    if !request.close_metadata {
        return;
    }
    if seen.docker.metadata_closed == Some(true) && !is_installing {
        part.is_right("containers cannot reach the cloud's metadata service");
        return;
    }
    let step = CloseMetadata { address: "169.254.169.254".into() };
    part.add(Step::CloseMetadata(step), "a container could ask for the node's credentials there");
}

fn note_neighbours(seen: &Observed, part: &mut Part) {
    for neighbour in &seen.docker.neighbours {
        let what = match neighbour {
            Neighbour::Kubelet => {
                "kubelet is installed: Kubernetes may hand out the same cards (see berth check)"
            }
            Neighbour::Podman => "podman is installed: what it runs is not seen by Docker, nor by berth",
            Neighbour::SnapDocker => continue,
        };
        part.notes.push(what.into());
    }
}
