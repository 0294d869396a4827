//! Compares the ledger's intents with the existing containers, after a crash, a restart or an outage.
//!
//! An intent that was not completed is undone. A container that the ledger does not know is reported and never
//! touched.

use super::build::{container_name, is_its_container};
use super::conditions::{Changes, Found};
use super::{Caller, Node};
use crate::engine::OwnedContainer;
use crate::error::flatten;
use crate::host::firewall::{self, Changed};
use crate::model::{Berth, BerthState, ConditionCode, StopReason};
use anyhow::{Context, Result};
use std::sync::PoisonError;

impl Node {
    /// Makes sure that the ledger and the containers were compared once, that containers cannot reach the metadata
    /// address, and that berths are kept apart. No card is given out before that.
    pub async fn ensure_reconciled(&self) -> Result<()> {
        let asked = self.now().boot;
        let mut done = self.reconciled.lock().await;
        if !done.value {
            done.check(asked)?;
            let tried = self.reconcile_first().await;
            done.note(self.now().boot, tried)?;
            done.value = true;
        }
        Ok(())
    }

    async fn reconcile_first(&self) -> Result<()> {
        self.close_metadata().await?;
        self.keep_apart().await?;
        self.reconcile().await
    }

    /// Blocks the metadata address for containers: there clouds hand out a host's credentials.
    pub(super) async fn close_metadata(&self) -> Result<Changed> {
        if !self.settings().config.docker.close_metadata {
            return Ok(Changed::No);
        }
        let host = self.host();
        tokio::task::spawn_blocking(move || firewall::ensure_metadata_closed(&*host))
            .await?
            .context("closing 169.254.169.254 to containers")
    }

    /// Compares all berths with all containers. Safe to run at any time.
    pub async fn reconcile(&self) -> Result<()> {
        let engine = self.engine().await?;
        engine.remove_probes(&self.instance).await?;
        let held = {
            // A claim and the mark that it is being worked on are one step.
            let _deciding = self.deciding.lock().await;
            self.ledger(crate::ledger::Ledger::standing_berths).await?
        };
        let owned = engine.list_owned(&self.instance).await?;
        self.skip_used_ids(&owned).await?;
        for berth in &held {
            let done = match berth.state {
                BerthState::Live | BerthState::Stopped => Ok(()),
                _ => self.finish(berth.id).await,
            };
            // One container that cannot be removed keeps its own cards, and nobody else from theirs.
            if let Err(error) = done {
                self.note_failure(berth, &error).await?;
            }
        }
        for container in &owned {
            if let Err(error) = self.check_container(container).await {
                let (container, error) = (&container.container_name, format!("{error:#}"));
                tracing::warn!(container, error, "could not be cleared up; it is tried again");
            }
        }
        if let Err(error) = self.settle_snapshots().await {
            tracing::warn!(
                error = format!("{error:#}"),
                "images of berths could not be cleared up; it is tried again"
            );
        }
        if let Err(error) = self.refresh_keys(&held).await {
            tracing::error!(
                error = format!("{error:#}"),
                "a removed key may still open a berth; it is tried again"
            );
        }
        Ok(())
    }

    /// Skips the ids of berths that a ledger restored from a backup does not know. Their ids, directories and
    /// containers are not used again.
    async fn skip_used_ids(&self, owned: &[OwnedContainer]) -> Result<()> {
        let labelled = owned.iter().filter_map(|container| container.berth.as_ref()).map(|labels| labels.id);
        let (host, dir) = (self.host(), self.settings().config.paths.state.join("berths"));
        let dirs = tokio::task::spawn_blocking(move || host.list(&dir)).await??;
        let named = dirs.iter().filter_map(|dir| dir.file_name()?.to_str()?.parse().ok());
        let highest = labelled.chain(named).max().unwrap_or(0);
        self.ledger(move |ledger| ledger.skip_berth_ids(highest)).await
    }

    async fn note_failure(&self, berth: &Berth, error: &anyhow::Error) -> Result<()> {
        tracing::debug!(berth = berth.label(), error = format!("{error:#}"), "it is tried again");
        let stuck = Found::new(ConditionCode::Stuck, Some(flatten(error).message));
        self.settle(berth, Changes::of(&berth.conditions, &[ConditionCode::Stuck], vec![stuck])).await
    }

    /// Completes an interrupted intent, or undoes what it began.
    async fn finish(&self, id: i64) -> Result<()> {
        let Some(_busy) = self.busy.enter(id) else { return Ok(()) };
        // Whoever worked on it may have come to an end between the first look at the ledger and the mark.
        let berth = self.ledger_berth(id).await?;
        let (state, kind, note) = match berth.state {
            BerthState::Releasing => {
                (BerthState::Released, "berth.released", "its interrupted release was finished")
            }
            BerthState::Creating => (BerthState::Undone, "berth.undone", "its request was interrupted"),
            BerthState::Starting => {
                let text = format!("{}: its start was interrupted", berth.label());
                let event = self.about(&berth, "berth.start-failed", &Caller::agent().name, text);
                self.ledger(move |ledger| ledger.begin_stop(id, StopReason::Failed, &event)).await?;
                self.finish_stop(&berth, &Caller::agent().name).await?;
                let ticket = self.ledger(move |ledger| ledger.wait_again(id)).await?;
                return self.waits_again(&berth, ticket).await;
            }
            BerthState::Stopping => return self.finish_stop(&berth, &Caller::agent().name).await.map(drop),
            BerthState::Live | BerthState::Stopped | BerthState::Released | BerthState::Undone => {
                return Ok(());
            }
        };
        self.remove_containers(&berth, false).await?;
        if berth.state == BerthState::Creating {
            return self.end_cut(&berth, note).await;
        }
        let text = format!("{}: {note}", berth.label());
        let event = self.about(&berth, kind, &Caller::agent().name, text);
        self.end(&berth, state, note, event).await
    }

    /// Checks a container with our label. If its berth has ended, it is a leftover and is removed. If the ledger
    /// never had its berth, it is only reported.
    async fn check_container(&self, container: &OwnedContainer) -> Result<()> {
        let labels = container.berth.clone();
        let berth = match &labels {
            Some(labels) => {
                let id = labels.id;
                self.ledger(move |ledger| ledger.find_berth(id)).await?
            }
            None => None,
        };
        match (labels, berth) {
            (Some(_), Some(berth)) if is_its_container(&self.instance, &berth, container) => {
                if container.container_name != container_name(&self.instance, &berth) {
                    self.finish_rename(berth.id, container).await?;
                }
                let engine = self.engine().await?;
                // Its release may have ended since the containers were listed.
                if !berth.state.has_ended() || engine.inspect(&container.container_id).await?.is_none() {
                    return Ok(());
                }
                engine.remove(&container.container_id, true).await?;
                let text = format!(
                    "removed container {}, left over from {}/{}",
                    container.container_name, berth.owner, berth.name
                );
                let event = self.about(&berth, "container.removed", &Caller::agent().name, text);
                self.ledger(move |ledger| ledger.record(&event)).await
            }
            _ => self.report_unknown(container).await,
        }
    }

    async fn report_unknown(&self, container: &OwnedContainer) -> Result<()> {
        let new = self
            .reported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(container.container_id.clone());
        if !new {
            return Ok(());
        }
        let text = format!(
            "container {} carries this agent's labels, but the ledger has no such berth; it was left alone",
            container.container_name
        );
        tracing::warn!(container = container.container_name, "{text}");
        let event = self.event("container.unknown", &Caller::agent().name, text);
        self.ledger(move |ledger| ledger.record(&event)).await
    }
}
