//! Answers on the ports of stopped berths.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use crate::ssh::gateway::Doors as Answering;
use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The interval without an event, for a port that could not be taken.
const LOOK_EVERY: Duration = Duration::from_secs(20);

pub(super) struct Doors {
    changed: watch::Receiver<i64>,
    answering: Answering,
}

impl Doors {
    pub(super) fn new(node: &Arc<Node>) -> Self {
        Self { changed: node.subscribe_events(), answering: Answering::new(node) }
    }
}

impl Task for Doors {
    const NAME: &'static str = "doors";

    async fn tick(&mut self, _node: &Arc<Node>, _now: Now) -> Result<()> {
        self.changed.mark_unchanged();
        self.answering.keep().await
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::select! {
            news = self.changed.changed() => news.context("the ledger tells of no events any more")?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Ok(())
    }
}
