//! The server inside the container: its start and its end.

use super::berth::InsideBerth;
use super::handler::InsideHandler;
use super::host_key::HostKeyFile;
use super::notices::Notices;
use super::script::ScriptCache;
use super::shutdown::{self, Sessions};
use super::{group_names, revoke};
use crate::model::inside_event::InsideEvent;
use crate::model::inside_traffic::InsideTraffic;
use crate::model::session::SessionConfig;
use crate::ops::supervise;
use crate::ssh::connection::front::{Front, listen};
use crate::ssh::connection::report::Reporter;
use crate::ssh::connection::state::Limits;
use crate::ssh::connection::traffic::Traffic;
use crate::ssh::user::descriptors;
use crate::ssh::user::image;
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

const FILE_LIMIT: u64 = 1 << 20;
/// Connections that have not logged in, of some 50 KiB each. What comes in while a login waits for one answer must be
/// fewer: see [`crate::ssh::connection::admission`].
const STRANGERS: usize = 1024;

/// What clients get to hear why, after their sessions have ended.
const LAST_MESSAGE: Duration = Duration::from_secs(1);

/// Where the server finds its files and listens.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub etc: PathBuf,
    pub listen: SocketAddr,
    /// Where events go, besides the log.
    pub events: fn(&InsideEvent),
    /// Where it goes how much SSH carried.
    pub traffic: fn(&InsideTraffic),
    /// Programs for images that lack them.
    pub programs: PathBuf,
    /// Where `lease.json` is.
    pub info: PathBuf,
    /// The container's table of groups.
    pub group_file: PathBuf,
}

/// Runs the SSH server of a berth until the container stops: then its sessions end first.
pub fn serve(options: &ServeOptions) -> Result<()> {
    let file = |name: &str| {
        let path = options.etc.join(name);
        image::read_regular(&path, FILE_LIMIT).with_context(|| format!("reading {}", path.display()))
    };
    let (host_key, keys) = HostKeyFile::open(options.etc.join("host_key"))?;
    let berth = Arc::new(InsideBerth {
        etc: options.etc.clone(),
        config: SessionConfig::parse(&file("session.json")?)?,
        container: std::env::vars_os().collect(),
        scripts: ScriptCache::default(),
        sessions: Sessions::default(),
        programs: options.programs.clone(),
        notices: Notices::new(options.info.clone()),
    });
    if let Err(error) = group_names::add(&options.group_file, &berth.config.groups) {
        tracing::debug!("the groups of sessions stay without names: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let strangers = descriptors::room_for_strangers(STRANGERS);
    let algorithms = berth.config.algorithms;
    let limits = Limits { each: berth.config.limits.clone(), algorithms, strangers };
    let front = Front::new(keys, limits, Reporter::start(options.events));
    let live = Arc::clone(&front.state.live);
    tell_traffic(Arc::clone(&front.state.traffic), berth.config.traffic_seconds, options.traffic);
    let served = runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let ends_soon = signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?;
        tokio::spawn(shutdown::warn(ends_soon, Arc::clone(&berth)));
        let listener = listen(options.listen)?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        tokio::spawn(warm_up(Arc::clone(&berth)));
        let revoking = supervise::keep(
            || async {
                revoke::watch(Arc::clone(&berth), Arc::clone(&front.state.live)).await;
                Ok(())
            },
            |why| async move { tracing::error!(why, "removed keys are looked for anew") },
        );
        let telling = supervise::keep(
            || async {
                berth.notices.watch().await;
                Ok(())
            },
            |why| async move { tracing::error!(why, "messages of the agent are looked for anew") },
        );
        tokio::select! {
            never = Arc::clone(&front).serve(listener, |connection| {
                if let Some(keys) = host_key.changed() {
                    front.change_keys(keys);
                }
                InsideHandler::new(&berth, connection)
            }) => match never {},
            never = revoking => match never {},
            never = telling => match never {},
            _ = stop.recv() => {
                // First: what a session's end looks like to a client is all that it hears otherwise.
                live.end_all();
                berth.sessions.end().await;
                live.emptied(LAST_MESSAGE).await;
                Ok(())
            }
        }
    });
    // What still works on a blocking thread must not hold the container up.
    runtime.shutdown_background();
    served
}

/// Tells how much was carried, time and again, on a thread of its own: whoever reads it may be slow.
fn tell_traffic(traffic: Arc<Traffic>, seconds: u32, tell: fn(&InsideTraffic)) {
    std::thread::spawn(move || {
        let mut last = Instant::now();
        loop {
            std::thread::sleep(Duration::from_secs(seconds.max(1).into()));
            let passed = last.elapsed();
            last += passed;
            tell(&traffic.take(u32::try_from(passed.as_secs()).unwrap_or(u32::MAX)));
        }
    });
}

/// Runs the environment script before the first login has to wait for it.
async fn warm_up(berth: Arc<InsideBerth>) {
    match berth.account() {
        Ok(account) => drop(berth.script_environment(&account).await),
        Err(error) => tracing::error!("nobody can log in: {error:#}"),
    }
}
