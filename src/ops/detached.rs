//! Requests that wait without a connection: each becomes a berth when its turn comes. Whoever asked has to log in to it
//! in time, or its cards are for the next one.

use super::queue::label;
use super::{Caller, Node, ProgressSender};
use crate::error::{ErrorClass, class_of, flatten};
use crate::ledger::{Ledger, TicketRow};
use crate::life::{self, Action};
use crate::model::{Berth, BerthRequest, StopReason};
use anyhow::Result;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Node {
    /// Makes berths of the requests whose turn has come, one after the other.
    pub async fn serve_detached(self: &Arc<Self>) -> Result<()> {
        let waiting = self.ledger(Ledger::detached).await?;
        if waiting.is_empty() || !self.has_engine().await {
            return Ok(());
        }
        let turns = self.turns().await?;
        for (ticket, request) in waiting.iter().filter(|(ticket, _)| turns.contains(&ticket.id)) {
            self.serve(ticket, request).await?;
        }
        Ok(())
    }

    /// Resolves when cards may have become free.
    pub async fn freed(&self) {
        // The sender lives as long as the node that is borrowed here.
        let _ = self.subscribe_freed().changed().await;
    }

    /// The tickets that would be served now.
    async fn turns(&self) -> Result<BTreeSet<i64>> {
        let survey = self.survey(self.settings().config.tools.npu_smi_max_age).await?;
        let actions = life::decide(&self.situation(Some(&survey)).await?);
        let started = actions.into_iter().filter_map(|action| match action {
            Action::Start { ticket, .. } => Some(ticket),
            _ => None,
        });
        Ok(started.collect())
    }

    async fn serve(self: &Arc<Self>, ticket: &TicketRow, request: &BerthRequest) -> Result<()> {
        // A task of its own: what it holds across its waits is large.
        let (node, waiting, asked) = (self.clone(), ticket.clone(), request.clone());
        let made = tokio::spawn(async move { node.request_of(&waiting, &asked).await }).await?;
        let Err(error) = made else { return Ok(()) };
        let id = ticket.id;
        if class_of(&error) == ErrorClass::Busy
            || self.ledger(move |ledger| ledger.ticket(id)).await?.is_none()
        {
            return Ok(()); // it waits on, or became a berth that was undone, which its owner was told
        }
        let who = label(&ticket.owner, ticket.berth.as_ref());
        let text = format!("{who} waits no more: {}", flatten(&error).message);
        tracing::warn!(ticket = id, "{text}");
        self.drop_ticket(ticket, "ticket.failed", &Caller::agent().name, text).await
    }

    /// Lets a request wait again whose berth was cut before it was live.
    pub(super) async fn wait_again(&self, berth: &Berth) -> Result<()> {
        let text = format!("{} waits again: the agent ended while it was made", berth.label());
        let (id, event) = (berth.id, self.about(berth, "ticket.waits", &Caller::agent().name, text));
        if self.ledger(move |ledger| ledger.wait_again(id, &event)).await? {
            self.tell_freed();
        }
        Ok(())
    }

    /// Passes on the cards of berths that nobody logged in to in time.
    pub(super) async fn pass_on_unused(&self) -> Result<()> {
        let now = self.now().wall;
        for one in self.ledger(Ledger::unconfirmed).await? {
            let id = one.berth;
            if one.is_used {
                self.ledger(move |ledger| ledger.confirm(id)).await?;
                continue;
            }
            if one.by > now || self.ends_are_held() {
                continue;
            }
            let Some(_busy) = self.busy.enter(id) else { continue };
            let berth = self.ledger_berth(id).await?;
            tracing::info!(berth = berth.label(), "nobody logged in to it in time");
            let (actor, nobody) = (Caller::agent().name, ProgressSender::nobody());
            self.stop_marked(&berth, StopReason::Unused, &actor, &nobody).await?;
        }
        Ok(())
    }
}
