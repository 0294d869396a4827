//! Counts the time of leases, and warns owners before their leases end.

use super::Task;
use crate::model::clock::Now;
use crate::ops::{Count, Node};
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// Short beside the minutes that warnings are given in.
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Leases {
    count: Count,
}

impl Task for Leases {
    const NAME: &'static str = "leases";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.keep_leases(&mut self.count).await
    }

    async fn rest(&mut self, node: &Node) -> Result<()> {
        tokio::select! {
            () = node.wanted() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Ok(())
    }
}
