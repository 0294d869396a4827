//! Checks the rule that blocks a cloud's metadata address for containers. It is lost when the firewall is loaded
//! anew.

use super::{LOOK_AT_RULES, Task};
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Metadata {
    was_closed: bool,
}

impl Task for Metadata {
    const NAME: &'static str = "metadata";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        // Without an engine its chain may not be there, and nothing is forwarded to containers.
        if node.has_engine().await { node.look_at_metadata(&mut self.was_closed).await } else { Ok(()) }
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_AT_RULES).await;
        Ok(())
    }
}
