//! Where Docker's data are, where they should be, and whether they can go there.

use super::{Request, running};
use crate::facts::docker::copy_of;
use crate::model::Size;
use crate::model::docker_seen::Place;
use crate::model::observed::Observed;
use crate::plan::{ConfigureDocker, MoveDockerData, Part, Step};
use crate::profile::Bootstrap;
use std::path::{Path, PathBuf};

/// What is to be done about the data.
pub(super) enum Root {
    AsItIs,
    /// Nothing is lost when Docker looks elsewhere.
    Switch {
        to: PathBuf,
    },
    Move {
        to: PathBuf,
    },
}

/// Whether there is anything to move: then its size matters.
pub fn needs_move(seen: &Observed, wants: &Bootstrap) -> Option<PathBuf> {
    let wanted = wants.data_root()?;
    let is_elsewhere = Path::new(&seen.docker.root) != wanted;
    let holds = seen.docker.root_holds || seen.docker.wanted == Place::Unfinished;
    (is_elsewhere && holds).then_some(wanted)
}

pub(super) fn decide(seen: &Observed, request: &Request, part: &mut Part) -> Root {
    let Some(to) = request.wanted_root() else {
        part.is_right(format!("Docker's data stay in {}", seen.docker.root));
        return Root::AsItIs;
    };
    if Path::new(&seen.docker.root) == to {
        part.is_right(format!("Docker's data are in {}", to.display()));
        return Root::AsItIs;
    }
    if needs_move(seen, request.wants).is_some() {
        check_move(seen, request, &to, part);
        return Root::Move { to };
    }
    if seen.docker.wanted == Place::Taken {
        part.refuse(
            format!("{} is to hold Docker's data, and holds something else", to.display()),
            "move that away, or name another data-root in [bootstrap.docker]",
        );
    }
    Root::Switch { to }
}

fn check_move(seen: &Observed, request: &Request, to: &Path, part: &mut Part) {
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
    if let Some(driver) = &seen.docker.root_driver {
        part.refuse(
            format!("Docker's data in {} are kept by its storage driver {driver}, and cannot be copied as files", from.display()),
            format!("set data-root = \"{}\" in [bootstrap.docker], or save the images (docker save) and start with an empty one", from.display()),
        );
    }
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

fn check_room(request: &Request, to: &Path, part: &mut Part) {
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
    request: &Request,
    to: &Path,
    configure: ConfigureDocker,
    part: &mut Part,
) {
    let from = PathBuf::from(&seen.docker.root);
    let is_running = seen.docker.service.as_ref().is_some_and(|service| service.is_active);
    let mut stops = if is_running { running(request, part) } else { Vec::new() };
    stops.extend(request.owed.iter().filter(|name| !stops.contains(name)).cloned().collect::<Vec<_>>());
    let old = from.display();
    part.notes.push(format!(
        "Docker's old data stay in {old}; remove them when all is well with the new ones: rm -r {old}"
    ));
    let step = MoveDockerData { from, to: to.to_path_buf(), bytes: request.data_bytes, stops, configure };
    part.add(Step::MoveDockerData(step), "they are to be on the data volume");
}
