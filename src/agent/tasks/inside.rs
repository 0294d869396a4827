//! Reads the events that the SSH servers inside live berths write.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use crate::ops::inside::Followed;
use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The interval without an event, for a container that was started again or an engine that came back.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long to wait after an event, so that many events at once cause one look.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) struct Inside {
    changed: watch::Receiver<i64>,
    followed: Followed,
}

impl Inside {
    pub(super) fn new(node: &Node) -> Self {
        Self { changed: node.subscribe_events(), followed: Followed::default() }
    }
}

impl Task for Inside {
    const NAME: &'static str = "berths-events";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        self.changed.mark_unchanged();
        if node.has_engine().await { node.follow_new(&mut self.followed).await } else { Ok(()) }
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::select! {
            news = self.changed.changed() => news.context("the ledger tells of no events any more")?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}
