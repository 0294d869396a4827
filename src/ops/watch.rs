//! Repeated looks at the node as a whole: containers, others that have cards, the rule for the metadata address.

use super::taken::Taken;
use super::{Caller, Node};
use crate::host::firewall::Changed;
use anyhow::{Context as _, Result};

impl Node {
    /// Checks the rule that blocks the metadata address. `was_closed`: it was in force at an earlier look.
    pub async fn look_at_metadata(&self, was_closed: &mut bool) -> Result<()> {
        let changed = self.close_metadata().await.context("169.254.169.254 may be open to containers")?;
        // The first time nobody had closed it yet.
        if changed == Changed::Yes && *was_closed {
            self.tell_reopened().await;
        }
        *was_closed = true;
        Ok(())
    }

    async fn tell_reopened(&self) {
        let text = "somebody removed the rule that closes 169.254.169.254 to containers; it is there again";
        tracing::warn!(text);
        self.record_or_log(self.event("metadata.closed", &Caller::agent().name, text)).await;
    }

    /// Looks at all containers, and at others that have cards. `holders` are those that were reported last.
    pub async fn look_around(&self, holders: &mut Taken) -> Result<()> {
        // A container that was started again may have another address. What fails is told by its own watch.
        self.try_to_keep_apart().await;
        // First, because the rest may have to wait for somebody's decision about cards.
        self.look_at_containers().await?;
        let reconciled = self.reconcile().await;
        let outside = self.outsiders(&self.card_nodes().await?).await?;
        if let Some(reason) = &outside.not_looked {
            tracing::warn!(reason, "could not look who may use cards");
        }
        self.report_holders(holders, &outside.held).await?;
        reconciled
    }
}
