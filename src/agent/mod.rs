//! The daemon: one HTTP/JSON API on a unix socket, and the work that goes on without anybody asking.
//!
//! Handlers parse, call `ops` and answer; they decide nothing. The caller is who the kernel says.

mod answer;
pub mod client;
mod desk;
mod doors;
mod follow;
mod listen;
mod routes;
pub mod types;

use crate::error::Fault;
use crate::ops::Node;
use crate::profile::Config;
use crate::ssh::gateway;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What requests get to come to their end when the agent is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT. Containers go on without it.
pub async fn run(config: Config, reread: Reread) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Fault::refused("the agent must run as root")
            .help("device nodes, containers and other people's storage are its work")
            .into());
    }
    // Caught from the start: by itself it ends a program.
    let hangup = signal(SignalKind::hangup()).context("catching SIGHUP")?;
    let node = Arc::new(tokio::task::spawn_blocking(move || Node::open(config)).await??);
    let hangups = tokio::spawn(look_again_when_told(node.clone(), hangup, reread));
    node.check_server_binary()?;
    node.expect_admins().await;
    let front = gateway::Gateway::open(&node).await?;
    let listener = listen::listen(&node.config.paths)?;
    let watching = tokio::spawn(node.clone().watch());
    let looking_for_room = tokio::spawn(node.clone().watch_room());
    let following = tokio::spawn(node.clone().watch_inside());
    tracing::info!(
        socket = %node.config.paths.socket().display(),
        profile = node.profile.name,
        instance = node.instance,
        version = env!("CARGO_PKG_VERSION"),
        "berth agent answers"
    );
    let told = stop_when_told(node.clone())?;
    let (desk, mut all_served) = desk::Desk::new(routes::router(node.clone()), node.clone());
    let (porter, doors) = doors::doors();
    let gateway = front.map(|front| front.start(Arc::new(porter))).transpose()?;
    tokio::select! {
        () = async {
            tokio::join!(desk::receive(listener, desk.clone()), desk::receive_doors(doors, desk));
            let _ = all_served.recv().await;
        } => {}
        // A request that is not done by then is undone by the next agent.
        () = drained_too_long(&node) => {}
    }
    told.abort();
    hangups.abort();
    watching.abort();
    looking_for_room.abort();
    drop(gateway);
    following.abort();
    Ok(())
}

async fn drained_too_long(node: &Node) {
    node.stopping().await;
    tokio::time::sleep(DRAIN_LIMIT).await;
}

/// Reads the config again, as the agent read it when it started.
pub type Reread = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// SIGHUP never ends the agent. Catalogue, archives of editors and the ledger are read at each use anyway; of the config
/// it is said whether it would do, and that it counts from the next start.
async fn look_again_when_told(node: Arc<Node>, mut hangup: Signal, reread: Reread) {
    while hangup.recv().await.is_some() {
        node.look_at_config(reread()).await;
    }
}

fn stop_when_told(node: Arc<Node>) -> Result<tokio::task::JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; containers go on");
        node.stop();
    }))
}
