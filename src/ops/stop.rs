//! Stops a berth: its container ends and is kept, and its cards become free. It keeps its name and port.

use super::release::{STOP_SECONDS, freed, not_yet};
use super::{Caller, Node, ProgressSender};
use crate::error::Fault;
use crate::host::crash;
use crate::ledger::Ledger;
use crate::model::{Berth, BerthState, StopReason};
use anyhow::Result;

impl Node {
    pub async fn stop_berth(&self, caller: &Caller, name: &str, progress: &ProgressSender) -> Result<Berth> {
        let (_busy, berth) = self.marked(caller, name).await?;
        match berth.state {
            BerthState::Stopped => Ok(berth),
            BerthState::Live => {
                if self.container_state(&berth).await?.is_none() {
                    return Err(Fault::refused(format!(
                        "{}'s container is gone, so nothing of it could be kept",
                        berth.label()
                    ))
                    .help(format!("berth release {name}"))
                    .into());
                }
                self.stop_marked(&berth, StopReason::Asked, &caller.name, progress).await
            }
            state => {
                Err(Fault::refused(format!("{} is {state} and cannot be stopped", berth.label())).into())
            }
        }
    }

    /// Stops a live berth that the caller has marked busy. The intent is written first, so that a crash cannot undo
    /// the decision.
    pub(super) async fn stop_marked(
        &self,
        berth: &Berth,
        reason: StopReason,
        actor: &str,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        let (id, label) = (berth.id, berth.label());
        let begun = self.about(berth, "berth.stopping", actor, format!("{label} is being stopped"));
        self.ledger(move |ledger| ledger.begin_stop(id, reason, &begun)).await?;
        crash::point("stop.written");
        progress.step(format!("stopping {label}"));
        match self.finish_stop(berth, actor).await {
            Ok(berth) => Ok(berth),
            Err(error) => {
                self.reconcile_again().await;
                Err(not_yet("stop", berth, &error).into())
            }
        }
    }

    /// Ends its container, and only then frees its cards.
    pub(super) async fn finish_stop(&self, berth: &Berth, actor: &str) -> Result<Berth> {
        let engine = self.engine().await?;
        // A start on other cards may have been interrupted.
        self.settle_move(berth).await?;
        let berth = &self.ledger_berth(berth.id).await?;
        let state = self.container_state(berth).await?;
        if let Some(state) = state.filter(|state| state.running) {
            engine.stop(&state.id, self.stop_seconds(berth).await?).await?;
        }
        crash::point("stop.ended");
        self.take_keys(berth).await?;
        crash::point("stop.keys-taken");
        // Whoever gets its address next is somebody else.
        self.try_to_keep_apart().await;
        let now = self.now().wall;
        let kept = now.checked_add(self.settings().profile.lease.keep_stopped)?;
        let text = format!("{} is stopped{}", berth.label(), freed(berth));
        let (id, event) = (berth.id, self.about(berth, "berth.stopped", actor, text));
        let stopped = self.ledger(move |ledger| ledger.stopped(id, kept, &event)).await?;
        self.tell_freed();
        tracing::info!(berth = stopped.label(), "stopped");
        Ok(stopped)
    }

    /// How many seconds its processes get to end. A user who stops a berth waits for it, so it is short; a berth
    /// whose lease is over may need time for a checkpoint.
    async fn stop_seconds(&self, berth: &Berth) -> Result<u32> {
        let id = berth.id;
        let now = self.ledger(move |ledger| ledger.lease_notes(id)).await?;
        let rules = &self.settings().profile.lease;
        let long = u32::try_from(rules.stop_time.as_secs()).unwrap_or(STOP_SECONDS);
        Ok(if now.asked.is_some() { long } else { STOP_SECONDS })
    }

    /// Whether somebody started the container of a stopped berth, and it was not taken up.
    async fn was_started_by_hand(&self, berth: &Berth) -> bool {
        let state = self.container_state(berth).await;
        state.is_ok_and(|state| state.is_some_and(|state| state.running))
    }

    /// Releases stopped berths that were not started again in time.
    pub async fn release_old_stopped(&self) -> Result<()> {
        if self.ends_are_held() {
            return Ok(());
        }
        let now = self.now().wall;
        let is_over = |berth: &Berth| {
            let kept = berth.stop.as_ref().and_then(|stop| stop.kept_until);
            berth.state == BerthState::Stopped && kept.is_some_and(|until| until <= now)
        };
        for berth in self.ledger(Ledger::standing_berths).await?.into_iter().filter(is_over) {
            // Whoever works on it may be starting it.
            let Some(_busy) = self.busy.enter(berth.id) else { continue };
            let berth = self.ledger_berth(berth.id).await?;
            if !is_over(&berth) || self.was_started_by_hand(&berth).await {
                continue;
            }
            let name = berth.label();
            let (agent, nobody) = (Caller::agent(), ProgressSender::nobody());
            if let Err(error) = self.release_marked(berth, &agent, None, &nobody).await {
                tracing::warn!(
                    berth = name,
                    error = format!("{error:#}"),
                    "a berth that was kept long enough could not be released"
                );
            }
        }
        Ok(())
    }
}
