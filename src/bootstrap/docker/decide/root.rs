//! Where Docker's data are, where they should be, and whether they can be moved there.

use super::{DockerInput, running};
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{ConfigureDocker, MoveDockerData, Part, Refusal, Step};
use crate::facts::docker::{BOUND_DRIVERS, copy_of};
use crate::model::Size;
use crate::model::docker_seen::{DockerSeen, Place};
use crate::profile::Bootstrap;
use std::path::{Path, PathBuf};

/// What is to be done about the data.
pub(super) enum Root {
    AsItIs,
    /// There are no data to move: daemon.json only has to name the new place.
    Switch {
        to: PathBuf,
    },
    Move {
        to: PathBuf,
    },
}

/// The directory to which data have to be moved. The data's size then matters. `None`: nothing has to be moved.
pub fn needs_move(seen: &Observed, wants: &Bootstrap) -> Option<PathBuf> {
    let wanted = wants.data_root()?;
    let is_elsewhere = Path::new(&seen.docker.root) != wanted;
    let holds = seen.docker.holds() || seen.docker.wanted == Place::Unfinished;
    (is_elsewhere && holds).then_some(wanted)
}

pub(super) fn decide(seen: &Observed, request: &DockerInput, part: &mut Part) -> Root {
    let Some(to) = request.wanted_root() else {
        part.is_right(format!("Docker's data stay in {}", seen.docker.root));
        return Root::AsItIs;
    };
    // One that was told of another place by an interrupted run of ours is restarted, if it still has nothing in the old one.
    let has_nothing = seen.docker.engine.as_ref().is_some_and(|said| !said.holds);
    if let Some(refusal) = elsewhere(&seen.docker).filter(|_| !(request.is_stale && has_nothing)) {
        part.refusals.push(refusal);
        return Root::AsItIs;
    }
    if Path::new(&seen.docker.root) == to {
        note_containerd(&seen.docker, part);
        part.is_right(format!("Docker's data are in {}", to.display()));
        return Root::AsItIs;
    }
    if needs_move(seen, request.wants).is_some() {
        check_move(seen, request, &to, part);
        return Root::Move { to };
    }
    note_containerd(&seen.docker, part);
    if seen.docker.wanted == Place::Taken {
        part.refuse(
            format!("{} is to hold Docker's data, and holds something else", to.display()),
            "move that away, or name another data-root in [bootstrap.docker]",
        );
    }
    Root::Switch { to }
}

/// Refuses when the engine says that its data are not where its configuration puts them.
pub fn elsewhere(docker: &DockerSeen) -> Option<Refusal> {
    let said = docker.engine.as_ref()?;
    let refuse = |what: String, help: &str| Some(Refusal { what, help: Some(help.to_owned()) });
    if said.is_rootless {
        return refuse(
            format!("Docker runs without root's rights here, with its data in {}", said.root),
            "name the socket of the system's Docker in docker.socket of the config, or set install = false in \
             [bootstrap.docker]",
        );
    }
    if !said.root.is_empty() && said.root != docker.root {
        return refuse(
            format!(
                "Docker works with the data in {}, and its configuration names {}",
                said.root, docker.root
            ),
            "it was changed since Docker started: take the change back, or restart Docker yourself; then run this again",
        );
    }
    None
}

/// Refuses when the engine says that its data cannot be copied as files. To be checked before anything stops.
pub fn immovable(docker: &DockerSeen) -> Option<Refusal> {
    let said = docker.engine.as_ref();
    let of_engine = said.and_then(|said| said.driver.clone());
    let bound = of_engine.filter(|driver| BOUND_DRIVERS.contains(&driver.as_str()));
    let root = &docker.root;
    if let Some(driver) = bound.or_else(|| docker.root_driver.clone()) {
        return Some(Refusal {
            what: format!(
                "Docker's data in {root} are kept by its storage driver {driver}, and cannot be copied as files"
            ),
            help: Some(format!(
                "set data-root = \"{root}\" in [bootstrap.docker], or save the images (docker save) and start with an empty one"
            )),
        });
    }
    if said.is_some_and(|said| said.has_containerd_store) {
        return Some(Refusal {
            what: format!(
                "Docker's data in {root} are only a part of them: images and the file systems of containers are kept by containerd"
            ),
            help: Some(format!(
                "set data-root = \"{root}\" in [bootstrap.docker]; move containerd's data yourself (root in \
                 /etc/containerd/config.toml), if they should be on the data volume"
            )),
        });
    }
    None
}

fn note_containerd(docker: &DockerSeen, part: &mut Part) {
    if docker.engine.as_ref().is_some_and(|said| said.has_containerd_store) {
        part.notes.push(
            "Docker has its images kept by containerd, in /var/lib/containerd unless its config.toml says otherwise; \
             data-root does not move them"
                .into(),
        );
    }
}

fn check_move(seen: &Observed, request: &DockerInput, to: &Path, part: &mut Part) {
    let from = Path::new(&seen.docker.root);
    if to.starts_with(from) || from.starts_with(to) {
        part.refuse(
            format!(
                "Docker's data cannot move from {} to {}: one is inside the other",
                from.display(),
                to.display()
            ),
            "name another data-root in [bootstrap.docker]",
        );
    }
    part.refusals.extend(immovable(&seen.docker));
    let was_begun = request
        .unfinished
        .iter()
        .any(|step| matches!(step, Step::MoveDockerData(data) if data.to == to && data.from == from));
    let copy = copy_of(to);
    for (path, place) in [(to, seen.docker.wanted), (&copy, seen.docker.copy)] {
        let shown = path.display();
        match place {
            Place::Free => {}
            Place::Unfinished if was_begun => {}
            Place::Unfinished => part.refuse(
                format!("{shown} is a copy of Docker's data that was never used, and no run of berth on this system made it"),
                format!("remove it, if nothing in it is needed: rm -r {shown}"),
            ),
            Place::Docker | Place::Taken => part.refuse(
                format!("Docker's data should move from {} to {shown}, and both hold something", from.display()),
                format!("move what is in {shown} away, or set data-root in [bootstrap.docker] to the one that counts"),
            ),
        }
    }
    check_room(request, to, part);
}

fn check_room(request: &DockerInput, to: &Path, part: &mut Part) {
    let (Some(bytes), Some(room)) = (request.data_bytes, request.room) else { return };
    // File systems keep something for themselves.
    let usable = room / 100 * 95;
    if bytes > usable {
        part.refuse(
            format!("Docker's data take {}, and the volume of {} has room for {}", Size(bytes), to.display(), Size(usable)),
            "free space (docker system df; docker system prune), or name another data-root in [bootstrap.docker]",
        );
    }
}

pub(super) fn add_move(
    seen: &Observed,
    request: &DockerInput,
    to: &Path,
    configure: ConfigureDocker,
    part: &mut Part,
) {
    let from = PathBuf::from(&seen.docker.root);
    let is_running = seen.docker.service.as_ref().is_some_and(|service| service.is_active);
    let mut stops = if is_running { running(request, part) } else { Vec::new() };
    stops.extend(request.to_restart.iter().filter(|name| !stops.contains(name)).cloned().collect::<Vec<_>>());
    let old = from.display();
    part.notes.push(format!(
        "Docker's old data stay in {old}; remove them when all is well with the new ones: rm -r {old}"
    ));
    let step = MoveDockerData { from, to: to.to_path_buf(), bytes: request.data_bytes, stops, configure };
    part.add(Step::MoveDockerData(step), "they are to be on the data volume");
}
