//! Requests that wait without a connection: each becomes a berth when its turn comes. Whoever asked has to log in to it
//! in time, or its cards are for the next one.

use super::queue::label;
use super::{Caller, Node, ProgressSender};
use crate::error::{ErrorClass, class_of, flatten};
use crate::ledger::{Ledger, TicketRow};
use crate::life::{self, Action};
use crate::model::clock::BootTime;
use crate::model::{Berth, BerthRequest, BerthState, StopReason, card};
use anyhow::Result;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// When a request is tried again that could not be served for another reason than cards.
const TRY_AGAIN: Duration = Duration::from_mins(1);
/// The most that a login may take from the berth's server to the ledger.
const LOGIN_TOLD: SignedDuration = SignedDuration::from_mins(1);

/// How often a berth is begun for a request and undone, before its owner is told that it cannot be had.
const MOST_TRIES: u32 = 3;

/// Tickets that were tried without a berth: not before when again, and how often one was begun.
#[derive(Default)]
pub struct Later(BTreeMap<i64, (BootTime, u32)>);

/// What becomes of a ticket whose turn had come.
enum Served {
    /// It is a berth, or waits no more.
    Done,
    /// It is tried as soon as its turn comes again.
    Waits,
    /// It is tried again later. `was_begun`: a berth was begun for it, and undone.
    Later { was_begun: bool },
}

impl Node {
    /// Makes berths of the requests whose turn has come.
    pub async fn serve_detached(self: &Arc<Self>, later: &mut Later) -> Result<()> {
        let waiting = self.ledger(Ledger::detached).await?;
        if waiting.is_empty() || !self.has_engine().await {
            return Ok(());
        }
        let now = self.now().boot;
        later.0.retain(|id, _| waiting.iter().any(|(ticket, _)| ticket.id == *id));
        let turns = self.turns().await?;
        let tried = |ticket: &TicketRow| later.0.get(&ticket.id).copied().unwrap_or_default();
        let due = |ticket: &TicketRow| turns.contains(&ticket.id) && tried(ticket).0 <= now;
        let served =
            waiting.iter().filter(|(ticket, _)| due(ticket)).map(|(ticket, request)| {
                let (_, tries) = tried(ticket);
                async move {
                    Ok::<_, anyhow::Error>((ticket.id, tries, self.serve(ticket, request, tries).await?))
                }
            });
        for served in join_all(served.collect::<Vec<_>>()).await {
            let (ticket, tries, served) = served?;
            if let Served::Later { was_begun } = served {
                later.0.insert(ticket, (now + TRY_AGAIN, tries + u32::from(was_begun)));
            }
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

    /// `tries`: how often a berth was begun for it already.
    async fn serve(
        self: &Arc<Self>,
        ticket: &TicketRow,
        request: &BerthRequest,
        tries: u32,
    ) -> Result<Served> {
        // A task of its own: what it holds across its waits is large.
        let (node, waiting, asked) = (self.clone(), ticket.clone(), request.clone());
        let made = tokio::spawn(async move { node.request_of(&waiting, &asked).await }).await?;
        let (error, was_begun) = match made {
            Ok(Ok(berth)) => return self.tell_came(&berth).await.map(|()| Served::Done),
            Ok(Err(error)) => (error, true),
            Err(error) => (error, false),
        };
        let id = ticket.id;
        if self.ledger(move |ledger| ledger.ticket(id)).await?.is_none() {
            return Ok(Served::Done); // cancelled, or what was begun could not be undone yet
        }
        let who = label(&ticket.owner, ticket.berth.as_ref());
        let why = flatten(&error).message;
        match class_of(&error) {
            ErrorClass::Busy if !was_begun => Ok(Served::Waits),
            // What its owner asks for cannot be had.
            class
                if matches!(class, ErrorClass::Usage | ErrorClass::Refused)
                    || was_begun && tries + 1 >= MOST_TRIES =>
            {
                let text = format!("{who} waits no more: {why}");
                tracing::warn!(ticket = id, "{text}");
                self.drop_ticket(ticket, "ticket.failed", &Caller::agent().name, text).await?;
                Ok(Served::Done)
            }
            _ => {
                tracing::warn!(
                    ticket = id,
                    error = format!("{error:#}"),
                    "{who} could not be served; it waits on"
                );
                Ok(Served::Later { was_begun })
            }
        }
    }

    /// Tells its owner, who is not there, until when to log in.
    async fn tell_came(&self, berth: &Berth) -> Result<()> {
        let confirm = self.settings().profile.lease.confirm;
        let text = format!(
            "{} is there, on {}: it is stopped again unless somebody logs in within {}",
            berth.label(),
            card::named(&berth.cards),
            humantime::format_duration(confirm)
        );
        self.record_or_log(self.about(berth, "berth.came", &Caller::agent().name, text)).await;
        Ok(())
    }

    /// Passes on the cards of berths that nobody logged in to in time.
    pub(super) async fn pass_on_unused(self: &Arc<Self>) -> Result<()> {
        if self.ends_are_held() {
            return Ok(());
        }
        let now = self.now().wall;
        for (id, by) in self.ledger(Ledger::unconfirmed).await? {
            if self.last_login_told(by) <= now {
                let node = self.clone();
                // It takes as long as its programs take to end, and nobody else's lease waits for that.
                tokio::spawn(async move { node.pass_on(id).await });
            }
        }
        Ok(())
    }

    /// When a login in time is in the ledger at the latest.
    fn last_login_told(&self, by: Timestamp) -> Timestamp {
        let confirm = SignedDuration::try_from(self.settings().profile.lease.confirm).unwrap_or(LOGIN_TOLD);
        by.checked_add(LOGIN_TOLD.min(confirm)).unwrap_or(Timestamp::MAX)
    }

    async fn pass_on(&self, id: i64) {
        let Some(_busy) = self.busy.enter(id) else { return };
        let passed_on = async {
            let berth = self.ledger_berth(id).await?;
            let now = self.now().wall;
            let is_locked = berth.lock.as_ref().is_some_and(|lock| lock.until > now);
            let is_unused = self.ledger(move |ledger| ledger.is_unconfirmed(id)).await?;
            if berth.state != BerthState::Live || is_locked || !is_unused {
                return Ok(());
            }
            tracing::info!(berth = berth.label(), "nobody logged in to it in time");
            let (actor, nobody) = (Caller::agent().name, ProgressSender::nobody());
            self.stop_marked(&berth, StopReason::Unused, &actor, &nobody).await.map(drop)
        };
        if let Err(error) = passed_on.await {
            let error: anyhow::Error = error;
            tracing::warn!(
                berth = id,
                error = format!("{error:#}"),
                "a berth that nobody uses could not be stopped"
            );
        }
    }

    /// Ends a berth whose request was cut. A request that waited waits again.
    pub(super) async fn end_cut(&self, berth: &Berth, note: &str) -> Result<()> {
        self.remove_files(berth).await?;
        let text = format!("{}: {note}", berth.label());
        let event = self.about(berth, "berth.undone", &Caller::agent().name, text);
        let (id, note) = (berth.id, note.to_owned());
        let ticket = self.ledger(move |ledger| ledger.end_cut(id, &note, &event)).await?;
        self.tell_freed();
        self.waits_again(berth, ticket).await
    }
}
