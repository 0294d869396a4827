//! Checks the cards of live berths. This is a loop of its own, because an npu-smi that hangs must not hold up
//! anything else.

use super::Task;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

/// A card that becomes sick is reported within a minute, even where npu-smi is slow.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// The pause while Docker does not answer: without it nobody can say who has the cards.
const NO_ENGINE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Cards {
    looked: bool,
}

impl Task for Cards {
    const NAME: &'static str = "cards";

    async fn tick(&mut self, node: &Arc<Node>, now: Now) -> Result<()> {
        let ended = node.end_rulings().await;
        self.looked = node.has_engine().await;
        if self.looked {
            node.look_at_cards(now.boot).await?;
        }
        ended
    }

    async fn rest(&mut self, node: &Node) -> Result<()> {
        tokio::select! {
            () = node.cards_moved() => {}
            () = tokio::time::sleep(if self.looked { LOOK_EVERY } else { NO_ENGINE }) => {}
        }
        Ok(())
    }
}
