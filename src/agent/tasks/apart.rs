//! Checks the firewall rules that keep berths apart. Another program may flush them, and a container that was
//! started again may
//! have another address.

use super::{LOOK_AT_RULES, Task};
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Apart {
    failed: bool,
}

impl Task for Apart {
    const NAME: &'static str = "berths-apart";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        if node.has_engine().await { node.watch_apart(&mut self.failed).await } else { Ok(()) }
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::time::sleep(LOOK_AT_RULES).await;
        Ok(())
    }
}
