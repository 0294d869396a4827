//! Checks that the published ports of live berths answer.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// Each look makes one connection to each live berth.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Ports;

impl Task for Ports {
    const NAME: &'static str = "ports";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        if node.has_engine().await { node.look_at_ports().await } else { Ok(()) }
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
