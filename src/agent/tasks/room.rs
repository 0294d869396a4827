//! Checks the free space of file systems. This is a loop of its own, because storage on another machine may hang.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Room;

impl Task for Room {
    const NAME: &'static str = "room";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.look_at_room().await
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
