//! Unpacks archives of editors' servers. This is a loop of its own, because unpacking is slow.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(super) struct Editors;

impl Task for Editors {
    const NAME: &'static str = "editors";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.prepare_editors().await
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
