//! Who administers: so that they are no strangers when they first call.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// Whoever is new counts as a stranger until then, or until their first answer.
const LOOK_EVERY: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(super) struct Admins;

impl Task for Admins {
    const NAME: &'static str = "admins";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        node.ask_for_admins().await;
        Ok(())
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
