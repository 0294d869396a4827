//! Docker: what has to be asked before deciding, and configuring and running it.

use super::{Ground, Progress, owed, packages};
use crate::engine::setup::{self, Request};
use crate::engine::{Engine, Inventory};
use crate::error::{Fault, flatten};
use crate::facts::{docker, kernel_settings};
use crate::host::{Cmd, Tool, files, firewall, tree};
use crate::model::docker_seen::{DockerSeen, Place};
use crate::model::observed::Observed;
use crate::plan::journal::Journal;
use crate::plan::{ConfigureDocker, InstallPackages, Part, RunDocker, Step};
use crate::profile::Layout;
use anyhow::{Context as _, Result};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Starting Docker on a machine with many containers takes its time.
const STARTING: Duration = Duration::from_mins(5);
const CONTAINER_STOPS: u32 = 30;

/// Steps before the disks, and those after.
pub(super) struct Parts {
    pub(super) tools: Part,
    pub(super) engine: Part,
}

pub(super) fn look(ground: &Ground, seen: &mut Observed) -> Result<(), String> {
    let wants = &ground.profile.bootstrap;
    if wants.docker.install || wants.disks.layout != Layout::None {
        seen.packages = crate::facts::packages::gather(ground.host, &wants.docker.packages)?;
    }
    seen.kernel = kernel_settings::gather(ground.host, wants.sysctl.keys())?;
    if wants.docker.install {
        seen.docker = docker::gather(ground.host, wants.data_root().as_deref(), seen.machine.systemd)?;
    }
    Ok(())
}

/// Asks what the decision needs, and decides.
pub(super) fn plan(ground: &Ground, seen: &Observed, journal: &Journal, disks: &Part) -> Parts {
    let wants = &ground.profile.bootstrap;
    let mut part = Part::default();
    let owed = owed::read(ground).unwrap_or_else(|fault| {
        part.refuse(fault.message, fault.help.unwrap_or_default());
        None
    });
    let owed: Vec<String> = owed.into_iter().flat_map(|owed| owed.running).map(|named| named.name).collect();
    let is_active = seen.docker.service.as_ref().is_some_and(|service| service.is_active);
    let moving_to = setup::needs_move(seen, wants);
    let request = Request {
        wants,
        close_metadata: ground.config.docker.close_metadata,
        unfinished: &journal.unfinished(),
        is_stale: journal.is_open_behind(&["docker.configure", "docker.move"], "docker.run"),
        running: if is_active { running(ground) } else { Ok(Vec::new()) },
        owed: &owed,
        data_bytes: moving_to.as_ref().and_then(|_| tree::measure(Path::new(&seen.docker.root)).ok()),
        room: moving_to.and_then(|to| room(seen, ground, &to, disks)),
        locked_by: seen.packages.manager.and_then(crate::facts::packages::locked_by),
    };
    part.append(setup::plan_sysctl(seen, &request));
    part.append(setup::plan(seen, &request));
    let mut tools = setup::plan_tools(seen, &request);
    for part in [&mut tools, &mut part] {
        foresee(ground, part);
    }
    Parts { tools, engine: part }
}

/// A manager that somebody else has would make us wait, and is refused anyway.
fn foresee(ground: &Ground, part: &mut Part) {
    if !part.refusals.is_empty() {
        return;
    }
    let steps: Vec<InstallPackages> = part
        .steps
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::InstallPackages(step) => Some(step.clone()),
            _ => None,
        })
        .collect();
    for step in steps {
        packages::foresee(ground, &step, part);
    }
}

fn running(ground: &Ground) -> Result<Vec<String>, String> {
    let inventory = inventory(ground).map_err(|error| flatten(&error).message)?;
    Ok(inventory.running.into_iter().map(|named| named.name).collect())
}

/// On the volume that is there, or on the one that is to be made.
fn room(seen: &Observed, ground: &Ground, to: &Path, disks: &Part) -> Option<u64> {
    let mount = &ground.profile.bootstrap.disks.mount;
    let is_new = disks.steps.iter().find_map(|planned| match &planned.step {
        Step::MakeVolume(volume) if volume.name == "data" && to.starts_with(mount) => Some(volume),
        _ => None,
    });
    if let Some(volume) = is_new {
        return Some(volume.disks.iter().map(|disk| disk.size.0).sum());
    }
    let is_mounted = seen.mounted_at(&mount.display().to_string()).is_some();
    if to.starts_with(mount) && !disks.steps.is_empty() && !is_mounted {
        return None;
    }
    let there = to.ancestors().find(|path| ground.host.exists(path))?;
    files::free_bytes(there).ok()
}

pub(super) fn inventory(ground: &Ground) -> Result<Inventory> {
    let socket = ground.config.docker.socket.clone();
    wait_for(async move { Engine::connect(&socket).await?.inventory().await })
}

/// Everything else here is synchronous; an engine is not.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(work)
}

pub(super) fn fresh(ground: &Ground) -> Result<DockerSeen, Fault> {
    let wanted = ground.profile.bootstrap.data_root();
    docker::gather(ground.host, wanted.as_deref(), true)
        .map_err(|why| Fault::host(format!("looking at Docker: {why}")))
}

/// Where it tells Docker of another place, that may have been mounted only now.
pub(super) fn configure(ground: &Ground, step: &ConfigureDocker) -> Result<()> {
    let seen = fresh(ground)?;
    if let Some(root) = step.settings.data_root.as_deref().filter(|root| *root != Path::new(&seen.root))
        && matches!(seen.wanted, Place::Taken | Place::Unfinished)
    {
        let place = root.display();
        return Err(Fault::refused(format!("{place} is to hold Docker's data, and holds something else"))
            .help("look at the plan again, now that its volume is mounted: berth bootstrap")
            .into());
    }
    write_settings(ground, step)
}

/// With what the file and the flags say now: an installation may have brought some.
pub(super) fn write_settings(ground: &Ground, step: &ConfigureDocker) -> Result<()> {
    let seen = fresh(ground)?;
    let flags = seen.service.as_ref().map_or(&[][..], |service| service.flags.as_slice());
    let path = &seen.daemon_file.path;
    let merged = setup::merge(path, seen.daemon_file.text.as_deref(), flags, &step.settings, seen.has_swarm)
        .map_err(|why| Fault::refused(why.what).help(why.help))?;
    if merged.changes.is_empty() {
        return Ok(());
    }
    super::files::replace(ground, Path::new(path), &merged.text)
}

pub(super) fn run(ground: &Ground, step: &RunDocker, progress: &dyn Progress) -> Result<()> {
    let seen = fresh(ground)?;
    let service = seen.service.clone().unwrap_or_default();
    if step.restart && service.is_active {
        // Should it not be back when this ends, the next run knows what ran.
        owed::add(ground, inventory(ground)?)?;
    }
    systemctl(ground, &["daemon-reload"])?;
    if !service.is_enabled {
        systemctl(ground, &["enable", "docker.service"])?;
    }
    if step.restart || !service.is_active {
        start(ground, if step.restart { "restart" } else { "start" })?;
    }
    let engine_root = wait_for_engine(ground)?;
    if let (Some(wanted), Some(root)) = (&step.data_root, engine_root)
        && tree::real_path(wanted) != tree::real_path(Path::new(&root))
    {
        return Err(Fault::docker(format!(
            "Docker keeps its data in {root}, and not in {}",
            wanted.display()
        ))
        .help("look at what it was started with: systemctl cat docker.service")
        .into());
    }
    pay(ground, progress)
}

/// Starts what ran before, after having seen that all of it is there.
pub(super) fn pay(ground: &Ground, progress: &dyn Progress) -> Result<()> {
    let Some(owed) = owed::read(ground)? else { return Ok(()) };
    let now = inventory(ground)?;
    let lost = owed.containers.iter().filter(|id| !now.containers.contains(id)).count();
    let images = owed.images.iter().filter(|id| !now.images.contains(id)).count();
    if lost + images > 0 {
        return Err(Fault::docker(format!(
            "Docker runs again, and {lost} of its containers and {images} of its images are not seen"
        ))
        .help(format!(
            "they were there before it was stopped ({} lists them); its old data are still where they were",
            owed::path(ground).display()
        ))
        .into());
    }
    let down: Vec<_> = owed
        .running
        .iter()
        .filter(|named| now.running.iter().all(|other| other.id != named.id))
        .filter(|named| now.containers.contains(&named.id))
        .collect();
    let mut failed = Vec::new();
    for named in down {
        progress.says(&format!("starting {} again", named.name));
        let socket = ground.config.docker.socket.clone();
        let started = wait_for(async { Engine::connect(&socket).await?.start(&named.id).await });
        if let Err(error) = started {
            failed.push(format!("{}: {}", named.name, flatten(&error).message));
        }
    }
    if !failed.is_empty() {
        return Err(Fault::docker(format!(
            "containers that ran before do not start again: {}",
            failed.join("; ")
        ))
        .help("Docker itself runs; start or remove them by hand, and run this again")
        .into());
    }
    owed::settle(ground)
}

/// All that run now, as gently as they allow.
pub(super) fn stop_all(ground: &Ground, inventory: &Inventory) -> Result<()> {
    let socket = ground.config.docker.socket.clone();
    wait_for(async {
        let engine = Engine::connect(&socket).await?;
        let stops = inventory.running.iter().map(|named| engine.stop(&named.id, CONTAINER_STOPS));
        futures_util::future::try_join_all(stops).await.map(|_| ())
    })
}

pub(super) fn start(ground: &Ground, verb: &str) -> Result<()> {
    // Several starts within a minute are refused otherwise.
    let reset = Tool::Systemctl.cmd().args(["reset-failed", "docker.service", "docker.socket"]);
    ground
        .host
        .run(&reset.timeout(STARTING).allow_any_exit())
        .map_err(|error| Fault::host(error.to_string()))?;
    systemctl(ground, &[verb, "docker.service"]).map_err(|error| {
        let log = log_excerpt(ground);
        error.context(format!("starting Docker, whose log ends with: {log}"))
    })
}

pub(super) fn systemctl(ground: &Ground, args: &[&str]) -> Result<()> {
    let cmd: Cmd = Tool::Systemctl.cmd().args(args.iter().copied()).timeout(STARTING);
    ground.host.run(&cmd).map(|_| ()).map_err(|error| Fault::host(error.to_string()).into())
}

fn log_excerpt(ground: &Ground) -> String {
    let cmd =
        Tool::Journalctl.cmd().args(["--unit=docker.service", "--lines=30", "--output=cat", "--no-pager"]);
    let output = ground.host.run(&cmd.timeout(Duration::from_secs(30)));
    let text = output.map(|output| output.stdout).unwrap_or_default();
    // systemd's own lines only say that it failed.
    let said: Vec<&str> =
        text.lines().filter(|line| line.contains("level=") || line.contains("dockerd")).collect();
    packages::tail(&said.join("\n"), 3)
}

/// Its data root.
fn wait_for_engine(ground: &Ground) -> Result<Option<String>> {
    let socket: PathBuf = ground.config.docker.socket.clone();
    let deadline = Instant::now() + Duration::from_mins(2);
    wait_for(async {
        loop {
            let asked = async { Engine::connect(&socket).await?.facts().await };
            match asked.await {
                Ok(facts) => return Ok(facts.data_root),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context("waiting for Docker's API"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    })
}

pub(super) fn close_metadata(ground: &Ground) -> Result<()> {
    firewall::ensure_metadata_closed(ground.host).map(|_| ())
}
