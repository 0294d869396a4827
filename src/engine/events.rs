//! When to look again: one tick for each change of a container, and whether the engine answers.
//!
//! A tick carries no facts. The reader asks the engine what a container is now, so that a lost event does no harm.

use super::client::Engine;
use crate::error::flatten;
use anyhow::Result;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the stream may be silent before the engine is asked whether it still answers.
const SILENCE: Duration = Duration::from_secs(30);
const ACTIONS: [&str; 9] =
    ["create", "start", "die", "destroy", "pause", "unpause", "rename", "restart", "oom"];

/// What a watcher knows. Each change of it is a reason to look again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feed {
    pub ticks: u64,
    pub up: bool,
    /// How often it went down. Who looks now and then would not see it otherwise.
    pub downs: u64,
    /// Why the engine is down.
    pub problem: Option<String>,
}

/// Watches until all receivers are dropped, and reconnects by itself.
pub fn watch(engine: Engine) -> watch::Receiver<Feed> {
    let (sender, receiver) = watch::channel(Feed::default());
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = run(&engine, &sender) => {}
        }
    });
    receiver
}

async fn run(engine: &Engine, sender: &watch::Sender<Feed>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let since = SystemTime::now();
        let problem = match connect(engine).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                tick(sender);
                follow(engine, since, sender).await
            }
            Err(error) => Some(flatten(&error).message),
        };
        let problem = problem.unwrap_or_else(|| "the Docker Engine closed its stream of events".into());
        let was_up = sender.borrow().up;
        if was_up {
            tracing::warn!(problem, "the Docker Engine is down");
        }
        sender.send_if_modified(|feed| {
            feed.downs += u64::from(feed.up);
            let changed = feed.up || feed.problem.as_ref() != Some(&problem);
            feed.up = false;
            feed.problem = Some(problem);
            changed
        });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects and agrees on a version again, because the engine may have come back as another version.
async fn connect(engine: &Engine) -> Result<()> {
    engine.reconnect().await?;
    engine.ping().await
}

fn tick(sender: &watch::Sender<Feed>) {
    sender.send_modify(|feed| {
        feed.ticks = feed.ticks.wrapping_add(1);
        feed.up = true;
        feed.problem = None;
    });
}

/// Sends ticks until the stream ends, and returns why it ended, if that is known. The engine replays what happened
/// since we connected, so no event is lost between the first tick and the stream.
async fn follow(engine: &Engine, since: SystemTime, sender: &watch::Sender<Feed>) -> Option<String> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let filters = HashMap::from([("type", vec!["container"]), ("event", ACTIONS.to_vec())]);
    let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters).build();
    let docker = engine.docker();
    let mut events = docker.events(Some(options));
    loop {
        match tokio::time::timeout(SILENCE, events.next()).await {
            Ok(Some(Ok(event))) => {
                trace(&event);
                tick(sender);
            }
            Ok(Some(Err(error))) => return Some(engine.fault(&error).message),
            Ok(None) => return None,
            Err(_) => {
                if let Err(error) = engine.ping().await {
                    return Some(flatten(&error).message);
                }
            }
        }
    }
}

fn trace(event: &EventMessage) {
    let id = event.actor.as_ref().and_then(|actor| actor.id.as_deref()).unwrap_or_default();
    tracing::debug!(action = event.action.as_deref().unwrap_or_default(), container = id, "engine event");
}
