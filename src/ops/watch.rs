//! The node as a whole, looked at again: containers, who else has cards, the rule for the metadata address.

use super::{Caller, Node};
use crate::host::firewall::Changed;
use crate::model::{CardId, Holder};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;

/// Who outside berths has which card.
pub type HeldOutside = BTreeSet<(CardId, Holder)>;

impl Node {
    /// A look at the rule that closes the metadata address; `was_closed` once it was closed before.
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

    /// All containers, and who else has cards; `holders` is what was told of those last.
    pub async fn look_around(&self, holders: &mut HeldOutside) -> Result<()> {
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

    /// One event for a container that took cards, one when it gave them back.
    async fn report_holders(&self, known: &mut HeldOutside, foreign: &[(CardId, Holder)]) -> Result<()> {
        // Who may have one is another process at each look, and nobody says that they do.
        let now: HeldOutside = foreign.iter().filter(|(_, holder)| holder.is_sure()).cloned().collect();
        for (card, holder) in now.difference(known) {
            let text = format!("card {card} is held by {holder}");
            let event = self.event("card.taken", &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        for (card, holder) in known.difference(&now) {
            let text = format!("card {card} is no longer held by {holder}");
            let event = self.event("card.given-back", &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        if !known.is_subset(&now) {
            self.tell_freed();
        }
        if *known != now {
            self.pulse.cards_moved.notify_one();
        }
        *known = now;
        Ok(())
    }
}
