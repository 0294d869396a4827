//! Docker: asks what the decision needs to know; then configures, starts and stops Docker.

use super::back::{Before, put_back, take_back};
use super::decide::{self, DockerInput, Running};
use super::packages;
use super::restart_list::{self, RestartList};
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::journal::Journal;
use crate::bootstrap::plan::{ConfigureDocker, InstallPackages, Part, RunDocker, Step};
use crate::bootstrap::{Context, Operator};
use crate::engine::{Engine, Inventory, Named};
use crate::error::{Fault, flatten};
use crate::facts::{docker, sysctl};
use crate::host::{Cmd, Tool, files, firewall, tree};
use crate::model::docker_seen::{DockerSeen, EngineSaid, Place};
use crate::profile::Layout;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Starting Docker on a machine with many containers takes long.
const STARTING: Duration = Duration::from_mins(5);
const CONTAINER_STOPS: u32 = 30;

/// The steps that run before those of the disks, and the steps that run after them.
pub(in crate::bootstrap) struct Parts {
    pub(in crate::bootstrap) tools: Part,
    pub(in crate::bootstrap) engine: Part,
}

pub(in crate::bootstrap) fn look(context: &Context, seen: &mut Observed) -> Result<(), String> {
    let wants = &context.profile.bootstrap;
    if wants.docker.install || wants.disks.layout != Layout::None {
        seen.packages = crate::facts::packages::gather(context.host, &wants.docker.packages)?;
    }
    seen.kernel = sysctl::gather(context.host, wants.sysctl.keys())?;
    if wants.docker.install {
        seen.docker = see(context, seen.machine.systemd)?;
    }
    Ok(())
}

/// Looks at Docker's installation, and asks the running engine. Where the engine does not answer, the decision refuses
/// what depends on the answer.
fn see(context: &Context, systemd: bool) -> Result<DockerSeen, String> {
    let wanted = context.profile.bootstrap.data_root();
    let mut seen = docker::gather(context.host, wanted.as_deref(), systemd)?;
    if seen.service.as_ref().is_some_and(|service| service.is_active) {
        seen.engine = said(context).ok();
    }
    Ok(seen)
}

fn said(context: &Context) -> Result<EngineSaid> {
    let socket = context.config.docker.socket.clone();
    wait_for(async move { Engine::connect(&socket).await?.said().await })
}

/// Asks what the decision needs to know, and decides.
pub(in crate::bootstrap) fn plan(
    context: &Context,
    seen: &Observed,
    journal: &Journal,
    disks: &Part,
) -> Parts {
    let wants = &context.profile.bootstrap;
    let mut part = Part::default();
    let to_restart = restart_list::read(context).unwrap_or_else(|fault| {
        part.refuse(fault.message, fault.help.unwrap_or_default());
        None
    });
    let to_restart: Vec<String> =
        to_restart.into_iter().flat_map(|to_restart| to_restart.running).map(|named| named.name).collect();
    let is_active = seen.docker.service.as_ref().is_some_and(|service| service.is_active);
    let moving_to = decide::needs_move(seen, wants);
    let request = DockerInput {
        wants,
        close_metadata: context.config.docker.close_metadata,
        unfinished: &journal.unfinished(),
        is_stale: journal.is_open_behind(&["docker.configure", "docker.move"], "docker.run"),
        running: if is_active { running(context) } else { Ok(Running::default()) },
        to_restart: &to_restart,
        data_bytes: moving_to.as_ref().and_then(|_| tree::measure(Path::new(&seen.docker.root)).ok()),
        room: moving_to.and_then(|to| room(seen, context, &to, disks)),
        locked_by: seen.packages.manager.and_then(crate::facts::packages::locked_by),
    };
    part.append(decide::plan_sysctl(seen, &request));
    part.append(decide::plan(seen, &request));
    let mut tools = decide::plan_tools(seen, &request);
    // One that somebody else has would make us wait, and is refused anyway.
    if request.locked_by.is_none() {
        foresee(context, &mut tools);
        foresee(context, &mut part);
    }
    Parts { tools, engine: part }
}

/// Refuses packages whose installation would remove or downgrade others.
fn foresee(context: &Context, part: &mut Part) {
    let steps: Vec<InstallPackages> = part
        .steps
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::InstallPackages(step) => Some(step.clone()),
            _ => None,
        })
        .collect();
    for step in steps {
        packages::foresee(context, &step, part);
    }
}

fn running(context: &Context) -> Result<Running, String> {
    let seen = run_state(context).map_err(|error| flatten(&error).message)?;
    let names = |list: Vec<Named>| list.into_iter().map(|named| named.name).collect();
    Ok(Running {
        names: names(seen.inventory.running),
        removed: names(seen.removed),
        live_restore: Some(seen.live_restore),
    })
}

/// The containers, images and volumes in Docker, and what stopping Docker would do to them.
pub(in crate::bootstrap) struct RunState {
    pub(in crate::bootstrap) inventory: Inventory,
    /// Containers that Docker removes as soon as they stop.
    removed: Vec<Named>,
    live_restore: bool,
}

impl RunState {
    /// Refuses while there are such containers. To be called with a new look right before anything stops.
    pub(in crate::bootstrap) fn check_none_removed(&self) -> Result<(), Fault> {
        let names: Vec<String> = self.removed.iter().map(|named| named.name.clone()).collect();
        match decide::removed_by_stop(&names) {
            None => Ok(()),
            Some(refusal) => Err(Fault::refused(refusal.what).help(refusal.help.unwrap_or_default())),
        }
    }

    /// The inventory without containers that Docker may remove at any time.
    fn lasting(self) -> Inventory {
        let Self { mut inventory, removed, .. } = self;
        inventory.running.retain(|named| !removed.contains(named));
        inventory.containers.retain(|id| removed.iter().all(|named| named.id != *id));
        inventory
    }
}

pub(in crate::bootstrap) fn run_state(context: &Context) -> Result<RunState> {
    let socket = context.config.docker.socket.clone();
    wait_for(async move {
        let engine = Engine::connect(&socket).await?;
        let inventory = engine.inventory().await?;
        let removed = engine.removed_when_stopped(&inventory.running).await?;
        Ok(RunState { inventory, removed, live_restore: engine.has_live_restore().await? })
    })
}

/// Refuses a restart that would lose containers. Called before daemon.json is changed, and again before the restart.
fn check_restart(context: &Context) -> Result<()> {
    if !fresh(context)?.service.is_some_and(|service| service.is_active) {
        return Ok(());
    }
    let state = run_state(context)?;
    if !state.live_restore {
        state.check_none_removed()?;
    }
    Ok(())
}

/// The free room for Docker's data in bytes: on the mounted volume, or on the one that the plan makes.
fn room(seen: &Observed, context: &Context, to: &Path, disks: &Part) -> Option<u64> {
    let mount = &context.profile.bootstrap.disks.mount;
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
    let there = to.ancestors().find(|path| context.host.exists(path))?;
    files::free_bytes(there).ok()
}

pub(in crate::bootstrap) fn inventory(context: &Context) -> Result<Inventory> {
    let socket = context.config.docker.socket.clone();
    wait_for(async move { Engine::connect(&socket).await?.inventory().await })
}

/// Runs one question to the engine to its end: bootstrap is synchronous, the engine's client is not.
pub(in crate::bootstrap) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(work)
}

pub(in crate::bootstrap) fn fresh(context: &Context) -> Result<DockerSeen, Fault> {
    see(context, true).map_err(crate::bootstrap::not_seen)
}

/// Writes daemon.json. Fails if a new place for Docker's data, which may just have been mounted, holds something else.
pub(in crate::bootstrap) fn configure(
    context: &Context,
    step: &ConfigureDocker,
    before: &mut Option<Before>,
) -> Result<()> {
    let seen = fresh(context)?;
    if let Some(root) = step.settings.data_root.as_deref().filter(|root| *root != Path::new(&seen.root))
        && matches!(seen.wanted, Place::Taken | Place::Unfinished)
    {
        let place = root.display();
        return Err(Fault::refused(format!("{place} is to hold Docker's data, and holds something else"))
            .help("look at the plan again, now that its volume is mounted: berth bootstrap")
            .into());
    }
    check_restart(context)?;
    *before = write_settings(context, step)?;
    Ok(())
}

/// Merges the settings into daemon.json as it and the flags are now, because installing packages may have changed both.
/// Returns the file's previous content; `None`: nothing had to change.
pub(in crate::bootstrap) fn write_settings(
    context: &Context,
    step: &ConfigureDocker,
) -> Result<Option<Before>> {
    let seen = fresh(context)?;
    let flags = seen.service.as_ref().map_or(&[][..], |service| service.flags.as_slice());
    let path = &seen.daemon_file.path;
    let merged = decide::merge(path, seen.daemon_file.text.as_deref(), flags, &step.settings, seen.has_swarm)
        .map_err(|why| Fault::refused(why.what).help(why.help))?;
    if merged.changes.is_empty() {
        return Ok(None);
    }
    crate::bootstrap::files::replace(context, Path::new(path), &merged.text)?;
    Ok(Some(Before { file: path.into(), text: seen.daemon_file.text.clone(), copy: None }))
}

pub(in crate::bootstrap) fn run(
    context: &Context,
    step: &RunDocker,
    operator: &dyn Operator,
    before: Option<Before>,
) -> Result<()> {
    if step.restart
        && let Err(error) = check_restart(context)
    {
        return Err(before.into_iter().fold(error, |error, before| put_back(context, &before, error)));
    }
    // What is lost with the new configuration may be there with the one before.
    let up =
        bring_up(context, step).and_then(|()| if before.is_some() { check_owed(context) } else { Ok(()) });
    match (up, before) {
        (Ok(()), _) => restart_all(context, operator),
        (Err(error), Some(before)) => Err(take_back(context, &before, operator, error)),
        (Err(error), None) => Err(error),
    }
}

/// Starts Docker and its containers after a run that failed between the step that stops Docker and the one that starts
/// it. Returns `error`, with what went wrong here.
pub(in crate::bootstrap) fn start_after_all(
    context: &Context,
    operator: &dyn Operator,
    before: Before,
    error: anyhow::Error,
) -> anyhow::Error {
    operator.says("starting Docker and what ran in it");
    let step = RunDocker { restart: false, data_root: None, stops: Vec::new() };
    match run(context, &step, operator, Some(before)) {
        Ok(()) => error,
        Err(other) => error.context(format!("Docker does not run as it did ({})", flatten(&other).message)),
    }
}

/// Starts Docker and checks that its data are where they should be.
fn bring_up(context: &Context, step: &RunDocker) -> Result<()> {
    let seen = fresh(context)?;
    let service = seen.service.clone().unwrap_or_default();
    if step.restart && service.is_active {
        // Should it not be back when this ends, the next run knows what ran.
        restart_list::add(context, run_state(context)?.lasting())?;
    }
    systemctl(context, &["daemon-reload"])?;
    if !service.is_enabled {
        systemctl(context, &["enable", "docker.service"])?;
    }
    if step.restart || !service.is_active {
        start(context, if step.restart { "restart" } else { "start" })?;
    }
    let root = wait_for_engine(context)?.root;
    if let Some(wanted) = &step.data_root
        && tree::real_path(wanted) != Path::new(&root)
    {
        return Err(Fault::docker(format!(
            "Docker keeps its data in {root}, and not in {}",
            wanted.display()
        ))
        .help("look at what it was started with: systemctl cat docker.service")
        .into());
    }
    Ok(())
}

fn check_owed(context: &Context) -> Result<()> {
    if let Some(to_restart) = restart_list::read(context)? {
        check_all_there(context, &to_restart, &inventory(context)?)?;
    }
    Ok(())
}

fn check_all_there(context: &Context, to_restart: &RestartList, now: &Inventory) -> Result<(), Fault> {
    let lost = to_restart.containers.iter().filter(|id| !now.containers.contains(id)).count();
    let images = to_restart.images.iter().filter(|id| !now.images.contains(id)).count();
    if lost + images > 0 {
        return Err(Fault::docker(format!(
            "Docker runs again, and {lost} of its containers and {images} of its images are not seen"
        ))
        .help(format!(
            "they were there before it was stopped, and its old data are still where they were: to go back, name their \
             directory as data-root in daemon.json and restart Docker; to go on without them, move {} away",
            restart_list::path(context).display()
        )));
    }
    Ok(())
}

/// Starts all containers that ran before and still exist. Only then fails, naming those that are lost or do not start.
pub(in crate::bootstrap) fn restart_all(context: &Context, operator: &dyn Operator) -> Result<()> {
    let Some(to_restart) = restart_list::read(context)? else { return Ok(()) };
    let now = inventory(context)?;
    let down: Vec<_> = to_restart
        .running
        .iter()
        .filter(|named| now.running.iter().all(|other| other.id != named.id))
        .filter(|named| now.containers.contains(&named.id))
        .collect();
    let mut failed = Vec::new();
    for named in down {
        operator.says(&format!("starting {} again", named.name));
        let socket = context.config.docker.socket.clone();
        let started = wait_for(async { Engine::connect(&socket).await?.start(&named.id).await });
        if let Err(error) = started {
            failed.push(format!("{}: {}", named.name, flatten(&error).message));
        }
    }
    told(check_all_there(context, &to_restart, &now), &failed)?;
    restart_list::settle(context)
}

/// Returns both errors in one, so that neither hides the other.
fn told(all_there: Result<(), Fault>, failed: &[String]) -> Result<(), Fault> {
    if failed.is_empty() {
        return all_there;
    }
    let down = format!("containers that ran before do not start again: {}", failed.join("; "));
    Err(match all_there {
        Ok(()) => {
            Fault::docker(down).help("Docker itself runs; start or remove them by hand, and run this again")
        }
        Err(lost) => Fault { message: format!("{}; {down}", lost.message), ..lost },
    })
}

/// Stops all running containers at once, each with its own stop signal. One that cannot be stopped does not keep the
/// others from stopping.
pub(in crate::bootstrap) fn stop_all(context: &Context, inventory: &Inventory) -> Result<()> {
    let socket = context.config.docker.socket.clone();
    wait_for(async {
        let engine = Engine::connect(&socket).await?;
        let stops = inventory.running.iter().map(|named| engine.stop(&named.id, CONTAINER_STOPS));
        futures_util::future::join_all(stops).await.into_iter().collect()
    })
}

pub(in crate::bootstrap) fn start(context: &Context, verb: &str) -> Result<()> {
    // Several starts within a minute are refused otherwise.
    let reset = Tool::Systemctl.cmd().args(["reset-failed", "docker.service", "docker.socket"]);
    context.host.run(&reset.timeout(STARTING).allow_any_exit()).map_err(Fault::from)?;
    let begun = Timestamp::now();
    systemctl(context, &[verb, "docker.service"]).map_err(|error| {
        let log = log_excerpt(context, begun);
        error.context(format!("starting Docker, whose log ends with: {log}"))
    })
}

pub(in crate::bootstrap) fn systemctl(context: &Context, args: &[&str]) -> Result<()> {
    let cmd: Cmd = Tool::Systemctl.cmd().args(args.iter().copied()).timeout(STARTING);
    context.host.run(&cmd).map_err(Fault::from)?;
    Ok(())
}

/// Stops Docker: the socket first, because systemd would start the service again through it.
pub(in crate::bootstrap) fn stop_docker(context: &Context, has_socket: bool) -> Result<()> {
    if has_socket {
        systemctl(context, &["stop", "docker.socket"])?;
    }
    systemctl(context, &["stop", "docker.service"])
}

fn log_excerpt(context: &Context, since: Timestamp) -> String {
    // By what the unit's own processes said: systemd's lines about the unit only say that it failed.
    let cmd = Tool::Journalctl
        .cmd()
        .args(["_SYSTEMD_UNIT=docker.service", "--lines=60", "--output=cat", "--no-pager"])
        .arg(format!("--since=@{}", since.as_second()));
    let output = context.host.run(&cmd.timeout(Duration::from_secs(30)));
    telling_lines(&output.map(|output| output.stdout).unwrap_or_default())
}

/// The lines of dockerd's log that say why it failed: plain lines printed when it gives up, and lines logged as errors.
/// Each is returned once, although every new try of systemd repeats them. Only people read this; no decision does.
fn telling_lines(log: &str) -> String {
    const QUIET: [&str; 4] = ["level=info", "level=debug", "level=warning", "level=trace"];
    let mut said: Vec<&str> = Vec::new();
    for line in log.lines().filter(|line| !QUIET.iter().any(|level| line.contains(level))) {
        said.retain(|other| *other != line);
        said.push(line);
    }
    packages::tail(&if said.is_empty() { log.to_owned() } else { said.join("\n") }, 3)
}

pub(in crate::bootstrap) fn wait_for_engine(context: &Context) -> Result<EngineSaid> {
    let socket: PathBuf = context.config.docker.socket.clone();
    let deadline = Instant::now() + Duration::from_mins(2);
    wait_for(async {
        loop {
            let asked = async { Engine::connect(&socket).await?.said().await };
            match asked.await {
                Ok(said) => return Ok(said),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context("waiting for Docker's API"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    })
}

pub(in crate::bootstrap) fn close_metadata(context: &Context) -> Result<()> {
    firewall::ensure_metadata_closed(context.host).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_may_go_at_any_time_is_not_owed_and_refuses_a_stop() {
        let named = |id: &str| Named { id: id.into(), name: format!("name-{id}") };
        let state = |removed: Vec<Named>| RunState {
            inventory: Inventory {
                running: vec![named("a"), named("b")],
                containers: vec!["a".into(), "b".into(), "c".into()],
                images: vec!["i".into()],
            },
            removed,
            live_restore: true,
        };
        state(Vec::new()).check_none_removed().unwrap();
        let fault = state(vec![named("b")]).check_none_removed().unwrap_err();
        assert!(fault.message.contains("--rm") && fault.message.ends_with(": name-b"), "{}", fault.message);
        assert!(fault.help.unwrap().contains("docker stop"));
        let lasting = state(vec![named("b")]).lasting();
        assert_eq!((lasting.running, lasting.containers), (vec![named("a")], vec!["a".into(), "c".into()]));
        assert_eq!(lasting.images, ["i"]);
    }

    #[test]
    fn what_is_lost_and_what_does_not_start_are_both_told() {
        let lost = || Err(Fault::docker("1 is not seen").help("go back"));
        let failed = ["web: no such network".to_owned()];
        told(Ok(()), &[]).unwrap();
        assert_eq!(told(lost(), &[]).unwrap_err().message, "1 is not seen");
        let fault = told(Ok(()), &failed).unwrap_err();
        assert!(fault.message.ends_with("again: web: no such network"), "{}", fault.message);
        let fault = told(lost(), &failed).unwrap_err();
        assert!(fault.message.starts_with("1 is not seen; ") && fault.message.ends_with("such network"));
        assert_eq!(fault.help.as_deref(), Some("go back"));
    }

    #[test]
    fn the_line_that_says_why_docker_does_not_start_is_shown() {
        let attempt = |time: &str| {
            format!(
                "time=\"{time}\" level=info msg=\"Starting up\"\n\
                 time=\"{time}\" level=warning msg=\"Running modprobe bridge failed\"\n\
                 failed to start daemon: error initializing graphdriver: driver not supported\n"
            )
        };
        // systemd has started it again meanwhile.
        let log = format!("{}{}time=\"3\" level=info msg=\"Starting up\"\n", attempt("1"), attempt("2"));
        assert_eq!(
            telling_lines(&log),
            "failed to start daemon: error initializing graphdriver: driver not supported"
        );
        assert_eq!(telling_lines("level=info msg=a\n"), "level=info msg=a");
        let many = "level=error msg=1\nlevel=fatal msg=2\npanic: 3\nfailed to start daemon: 4\n";
        assert_eq!(telling_lines(many), "level=fatal msg=2 / panic: 3 / failed to start daemon: 4");
    }
}
