//! The daemon: one HTTP/JSON API on a unix socket, and the loops that work in the background.
//!
//! Handlers parse, call `ops` and answer; they decide nothing. Who calls is what the kernel says.

mod answer;
mod broker;
pub mod client;
mod desk;
mod follow;
mod hook;
mod listen;
mod routes;
mod tasks;
pub mod types;

use crate::error::Fault;
use crate::ops::Node;
use crate::profile::Config;
use crate::ssh::gateway;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long running requests may take to finish when the agent is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Runs the agent until SIGTERM or SIGINT. Containers go on running without it.
pub async fn run(config: Config, reread: Reread) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Fault::refused("the agent must run as root")
            .help("device nodes, containers and other people's storage are its work")
            .into());
    }
    // Caught from the start: by itself it ends a program.
    let hangup = signal(SignalKind::hangup()).context("catching SIGHUP")?;
    let node = Arc::new(tokio::task::spawn_blocking(move || Node::open(config)).await??);
    node.check_server_binary()?;
    node.expect_waiting().await?;
    node.expect_admins().await;
    // A directory service may be slow, and nobody waits for this.
    let warned = node.clone();
    tokio::spawn(async move { warned.warn_of_unknown_groups().await });
    let gateway = gateway::Gateway::open(&node).await?;
    let settings = node.settings();
    let listener = listen::listen(&settings.config.paths)?;
    let mut tasks = tasks::Tasks::start(&node, reread, hangup);
    tracing::info!(
        socket = %settings.config.paths.socket().display(),
        profile = settings.profile.name,
        instance = node.instance,
        version = env!("CARGO_PKG_VERSION"),
        "berth agent answers"
    );
    let told = told_to_stop()?;
    let (desk, mut all_served) = desk::Desk::new(routes::router(node.clone()), node.clone());
    let (broker, channels) = broker::brokered();
    if let Some(gateway) = gateway {
        tasks.serve_gateway(gateway, Arc::new(broker));
    }
    let ended = tokio::select! {
        () = async {
            tokio::join!(desk::receive(listener, desk.clone()), desk::receive_channels(channels, desk));
            let _ = all_served.recv().await;
        } => Ok(()),
        // A request that is not done by then is undone by the next agent.
        () = stopped_too_long(&node, told) => Ok(()),
        error = tasks.broken() => Err(error),
    };
    drop(tasks);
    if let Err(error) = node.write_usage().await {
        tracing::warn!(error = format!("{error:#}"), "what cards did in the last minutes is not counted");
    }
    ended
}

/// Stops the node when `told` resolves, and returns when the running requests take longer than [`DRAIN_LIMIT`] to
/// finish.
async fn stopped_too_long(node: &Node, told: impl Future<Output = ()>) {
    told.await;
    tracing::info!("stopping; containers go on");
    node.stop();
    tokio::time::sleep(DRAIN_LIMIT).await;
}

/// Reads the config again, as the agent read it when it started.
pub type Reread = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// Catches SIGTERM and SIGINT from now on. The future that it returns resolves at the first of them.
fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
