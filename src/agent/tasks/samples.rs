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
    /// When this look was due: the next one is due an interval after it, however long it takes.
    due: Option<tokio::time::Instant>,
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
        let now = tokio::time::Instant::now();
        let due = self.due.unwrap_or(now) + node.sample_interval();
        // What was missed is not made up for.
        self.due = Some(due.max(now));
        tokio::time::sleep_until(due).await;
        Ok(())
    }
}
