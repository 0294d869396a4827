//! Looks at the disk with the containers of stopped berths. This is a loop of its own, because measuring them may take long.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct DataDisk;

impl Task for DataDisk {
    const NAME: &'static str = "data-disk";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.look_at_data_disk().await
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
