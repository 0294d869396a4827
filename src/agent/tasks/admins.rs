//! Looks up who the administrators are, so that their first call is not counted as an unknown account's.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// A new administrator counts as an unknown account until the next look, or until their first call was answered.
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
