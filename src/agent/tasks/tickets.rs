//! Makes berths of requests that wait without a connection, and ends the wait of clients that did not come back.

use super::Task;
use crate::model::clock::Now;
use crate::ops::{Later, Node};
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// A process of the host that ends frees cards without an event.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Tickets {
    later: Later,
}

impl Task for Tickets {
    const NAME: &'static str = "tickets";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.forget_away().await?;
        node.serve_detached(&mut self.later).await
    }

    async fn rest(&mut self, node: &Node) -> Result<()> {
        tokio::select! {
            () = node.freed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Ok(())
    }
}
