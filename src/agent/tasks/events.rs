//! Sums up old events, where the config says so.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// By then it is known whether the clock was set.
const FIRST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_hours(1);

#[derive(Default)]
pub(super) struct Events {
    has_waited: bool,
}

impl Task for Events {
    const NAME: &'static str = "events";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        if self.has_waited { node.sum_up_events().await } else { Ok(()) }
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(if self.has_waited { LOOK_EVERY } else { FIRST }).await;
        self.has_waited = true;
        Ok(())
    }
}
