//! Starts a stopped berth, on the cards that it had: its container was made for these.

use super::choose::{self, Patience};
use super::ration::Act;
use super::{Caller, Node, ProgressSender, build, queue, request, waiting};
use crate::error::{Fault, flatten};
use crate::facts::at_work::check_not_at_work;
use crate::ledger::{ClaimError, NewTicket};
use crate::model::{Berth, BerthState, CardId, CardWish, StartRequest, StopReason, card};
use anyhow::Result;
use std::time::Duration;

impl Node {
    pub async fn start_berth(
        &self,
        caller: &Caller,
        name: &str,
        request: StartRequest,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        self.ration(caller, Act::Request)?;
        let settings = self.settings();
        let lease = request::lease(&settings.profile.berth, request.lease)?;
        self.check_room().await?;
        self.ensure_reconciled().await?;
        let found = self.find_berth(caller, name).await?;
        let id = found.id;
        let length = waiting::checked(request.wait)?;
        let patience = if length.is_zero() { Patience::None } else { Patience::Waits };
        let had = self.ledger(move |ledger| ledger.cards_of(id)).await?;
        let ticket = NewTicket { owner: found.owner, berth: Some(found.name), wish: same_cards(&had), lease };
        let mut wait = self.wait(caller, ticket, length, progress)?;
        loop {
            wait.looks();
            // While it waits for cards, others may release it.
            let busy = self.enter_berth(id, name).await?;
            let berth = self.ledger(move |ledger| ledger.berth_by_id(id)).await?;
            match berth.state {
                BerthState::Stopped => {}
                BerthState::Live => return self.start_live(berth, name).await,
                state => {
                    return Err(Fault::refused(format!(
                        "{} is {state} and cannot be started",
                        berth.label()
                    ))
                    .into());
                }
            }
            self.check_kept(&berth, name).await?;
            let had = self.ledger(move |ledger| ledger.cards_of(id)).await?;
            let refused = match self.claim_again(caller, &berth, &had, lease, patience, wait.ticket()).await {
                Ok(started) => {
                    wait.is_served();
                    let back = Box::pin(self.bring_back(&started, &caller.name, progress)).await;
                    if let Err(error) = &back {
                        self.back_to_stopped(&started, error).await;
                    }
                    return back;
                }
                Err(error) => error,
            };
            drop(busy);
            wait.after(refused).await?;
        }
    }

    /// A live berth runs, unless its container ended.
    async fn start_live(&self, berth: Berth, name: &str) -> Result<Berth> {
        self.check_kept(&berth, name).await?;
        match self.container_state(&berth).await? {
            Some(state) if !state.running => self.revive(&berth).await,
            _ => Ok(berth),
        }
    }

    async fn check_kept(&self, berth: &Berth, name: &str) -> Result<()> {
        if self.container_state(berth).await?.is_some() {
            return Ok(());
        }
        Err(Fault::refused(format!(
            "{}'s container is gone, so that there is nothing to start",
            berth.label()
        ))
        .help(format!(
            "berth release {name}, and request a new one: files in personal storage are still there"
        ))
        .into())
    }

    /// Claims its cards, by the same decision as for a request.
    async fn claim_again(
        &self,
        caller: &Caller,
        berth: &Berth,
        had: &[CardId],
        lease: Duration,
        patience: Patience,
        ticket: Option<i64>,
    ) -> Result<Berth> {
        let _deciding = self.deciding.lock().await;
        let settings = self.settings();
        check_not_at_work(&*self.host(), &settings.config.paths.state)?;
        let survey = self.survey(settings.config.tools.npu_smi_max_age).await?;
        let same = same_cards(had);
        let asked =
            queue::CardsAsked { owner: &berth.owner, wish: &same, lease, last: had, ticket, patience };
        let turn = self.turn(&survey, &asked).await?;
        let cards = turn.cards;
        let text = format!("{} is started on {}", berth.label(), card::named(&cards));
        let event = self.about(berth, "berth.starting", &caller.name, text);
        let (id, ledger) = (berth.id, self.ledger_handle());
        let claimed = tokio::task::spawn_blocking(move || {
            ledger.begin_start(id, &cards, Some(lease.as_secs()), (ticket, &turn.overtaken), &event)
        })
        .await?;
        Ok(claimed.map_err(|error| match error {
            ClaimError::Ledger(fault) => fault,
            other => Fault::busy(other.to_string()),
        })?)
    }

    /// Starts its container, checks that the container has what it should, and then lets its owner in.
    async fn bring_back(&self, berth: &Berth, actor: &str, progress: &ProgressSender) -> Result<Berth> {
        let since = self.now().boot;
        self.start_kept(berth, progress).await?;
        choose::check_health(self.accel(), &*self.npu(since).await?, &berth.cards, &self.rulings().await?)?;
        self.check_alone(berth).await?;
        self.let_owner_in(berth).await?;
        progress.check_listener()?;
        let text =
            format!("{} is live again on {}, port {}", berth.label(), card::named(&berth.cards), berth.port);
        let (id, event) = (berth.id, self.about(berth, "berth.live", actor, text));
        let host_key = berth.host_key.clone().unwrap_or_default();
        self.ledger(move |ledger| ledger.commit_live(id, &host_key, &event)).await
    }

    /// Starts the kept container, with the cards that it was made with.
    async fn start_kept(&self, berth: &Berth, progress: &ProgressSender) -> Result<()> {
        let engine = self.engine().await?;
        let container =
            berth.container_id.clone().ok_or_else(|| Fault::bug("a stopped berth without a container"))?;
        progress.step("starting its container");
        engine.start(&container).await?;
        if let Some(wrong) = self.wrong_devices(berth, &container).await? {
            return Err(Fault::docker(format!("the container is not what was asked for: {wrong}")).into());
        }
        // Nobody can log in yet: its keys are written last of all.
        self.keep_apart().await?;
        progress.step("waiting for SSH to answer");
        build::wait_answer(&engine, &container).await
    }

    /// After a failed start, makes the berth stopped again. While Docker does not answer, this is left to the
    /// reconciler.
    async fn back_to_stopped(&self, berth: &Berth, why: &anyhow::Error) {
        let why = flatten(why).message;
        let text = format!("{} could not be started: {why}", berth.label());
        let (id, event) = (berth.id, self.about(berth, "berth.start-failed", &Caller::agent().name, text));
        let stopped = match self.ledger(move |ledger| ledger.begin_stop(id, StopReason::Failed, &event)).await
        {
            Ok(()) => self.finish_stop(berth, &Caller::agent().name).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            let (berth, error) = (berth.label(), format!("{error:#}"));
            tracing::warn!(
                berth,
                error,
                "could not be stopped again now; its cards stay reserved until the reconciler can"
            );
            self.reconcile_again().await;
        }
    }
}

/// The wish for exactly these cards: its container was made for them and reaches no others.
fn same_cards(had: &[CardId]) -> CardWish {
    CardWish::Ids(had.iter().map(|card| i64::from(card.0)).collect())
}
