//! Measures how live berths work: cards, memory, CPU and SSH.

use super::Task;
use crate::model::clock::{BootTime, Moment as _, Now};
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// What was counted is written so often: an agent that is killed loses that much.
const WRITE_EVERY: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(super) struct Samples {
    written: BootTime,
}

impl Task for Samples {
    const NAME: &'static str = "samples";

    async fn tick(&mut self, node: &Arc<Node>, now: Now) -> Result<()> {
        node.take_samples().await?;
        if now.boot.since(self.written) >= WRITE_EVERY {
            self.written = now.boot;
            node.write_usage().await?;
        }
        Ok(())
    }

    async fn rest(&mut self, node: &Node) -> Result<()> {
        tokio::time::sleep(node.sample_interval()).await;
        Ok(())
    }
}
