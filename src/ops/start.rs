//! Starts a stopped berth: on the cards that it had, where they are free, or else on others (`moves`).

use super::choose::{self, Patience};
use super::limits::More;
use super::moves::Kept;
use super::ration::Act;
use super::request::claim_fault;
use super::{Caller, Node, ProgressSender, Survey, build, queue, request, waiting};
use crate::error::{ErrorClass, Fault, class_of, flatten};
use crate::facts::at_work::check_not_at_work;
use crate::host::crash;
use crate::ledger::{Ledger, NewTicket};
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
        let groups = self.limit_groups(&found.owner).await?;
        let lease = self.limited_lease((&found.owner, &groups), lease, request.lease.is_some()).await?;
        let id = found.id;
        let length = waiting::checked(request.wait)?;
        let patience = if length.is_zero() { Patience::None } else { Patience::Waits };
        // What it can be started on is known for certain once it is marked; until then this is what it waits for.
        let wish = asked_cards(&found);
        let ticket = NewTicket {
            owner: found.owner,
            berth: Some(found.name),
            wish,
            lease,
            unattended: request.unattended,
            request: None,
        };
        let had = self.came_back(request.ticket, &ticket, caller).await?;
        let mut wait = self.wait(caller, ticket, length, had, progress)?;
        loop {
            wait.looks();
            // While it waits for cards, others may release it.
            let busy = self.enter_berth(id, name).await?;
            let berth = self.ledger_berth(id).await?;
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
            let kept = self.kept(&berth).await?.ok_or_else(|| is_gone(&berth, name))?;
            let asked = Again {
                kept: &kept,
                groups: &groups,
                lease,
                unattended: request.unattended,
                patience,
                ticket: wait.ticket(),
            };
            let refused = match self.claim_again(caller, &berth, &asked).await {
                Ok(claimed) => {
                    wait.is_served();
                    let back = Box::pin(self.bring_back(&claimed, &kept, &caller.name, progress)).await;
                    if let Err(error) = &back {
                        self.forget_ticket(claimed.0.id).await;
                        self.back_to_stopped(&claimed.0, error).await;
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
        match self.container_state(&berth).await? {
            None => Err(is_gone(&berth, name).into()),
            Some(state) if !state.running => self.revive(&berth).await,
            Some(_) => Ok(berth),
        }
    }

    /// Claims cards for it, by the same decision as for a request: those that it had, or else others.
    async fn claim_again(
        &self,
        caller: &Caller,
        berth: &Berth,
        again: &Again<'_>,
    ) -> Result<(Berth, Survey)> {
        let settings = self.settings();
        let max_age = settings.config.tools.npu_smi_max_age;
        let _deciding = self.decide_after(async { self.survey(max_age).await.map(drop) }).await?;
        check_not_at_work(&*self.host(), &settings.config.paths.state)?;
        let held = self.ledger(Ledger::standing_berths).await?;
        let cards = usize::try_from(berth.size).unwrap_or(usize::MAX);
        let more = More { cards, memory: berth.memory, berths: 0 };
        self.check_limit((&berth.owner, again.groups), &held, more).await?;
        let survey = self.survey(max_age).await?;
        let turn = self.turn_again(&survey, berth, again).await?;
        let (cards, ticket, lease, unattended) = (turn.cards, again.ticket, again.lease, again.unattended);
        let text = format!("{} is started on {}", berth.label(), card::named(&cards));
        let event = self.about(berth, "berth.starting", &caller.name, text);
        let (id, queue) = (berth.id, (ticket, turn.overtaken));
        let begin = move |ledger: &Ledger| {
            let (lease, queue) = (Some(lease.as_secs()), (queue.0, &queue.1[..]));
            ledger.begin_start(id, &cards, lease, unattended, queue, &event).map_err(claim_fault)
        };
        let claimed = self.ledger(begin).await?;
        crash::point("start.claimed");
        Ok((claimed, survey))
    }

    async fn turn_again(&self, survey: &Survey, berth: &Berth, again: &Again<'_>) -> Result<queue::Served> {
        let had = &again.kept.cards;
        let (same, any) = (same_cards(had), asked_cards(berth));
        let asked = |wish| queue::CardsAsked {
            owner: &berth.owner,
            wish,
            lease: again.lease,
            unattended: again.unattended,
            last: had,
            ticket: again.ticket,
            patience: again.patience,
        };
        let is_same_size = u32::try_from(had.len()).is_ok_and(|size| size == berth.size);
        // Whoever asked for certain cards gets these and no others.
        let on_same = if is_same_size && berth.next_cards.is_none() {
            Some(self.turn(survey, &asked(&same)).await)
        } else {
            None
        };
        match on_same {
            Some(Ok(turn)) => Ok(turn),
            Some(Err(error)) if !again.kept.is_movable || class_of(&error) != ErrorClass::Busy => Err(error),
            Some(Err(_)) | None => self.turn(survey, &asked(&any)).await,
        }
    }

    /// Starts its container, checks that the container has what it should, and then lets its owner in.
    async fn bring_back(
        &self,
        (berth, survey): &(Berth, Survey),
        kept: &Kept,
        actor: &str,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        let since = self.now().boot;
        let berth = if berth.cards == kept.cards {
            berth.clone()
        } else {
            self.move_to_cards(berth, kept, survey, progress).await?
        };
        let berth = &berth;
        self.refit(berth).await?;
        self.start_kept(berth, progress).await?;
        crash::point("start.started");
        if let Some(npu) = self.npu_of(berth, since).await? {
            choose::check_health(self.accel(), &npu, &berth.cards, &self.rulings().await?)?;
            self.check_alone(berth).await?;
        }
        self.let_owner_in(berth).await?;
        crash::point("start.let-in");
        self.commit_started(berth, actor, progress).await
    }

    /// The end of every start.
    pub(super) async fn commit_started(
        &self,
        berth: &Berth,
        actor: &str,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        progress.check_listener()?;
        let text =
            format!("{} is live again on {}, port {}", berth.label(), card::named(&berth.cards), berth.port);
        let (id, event) = (berth.id, self.about(berth, "berth.live", actor, text));
        let host_key = berth.host_key.clone().unwrap_or_default();
        self.note_seen(id);
        let live = self.ledger(move |ledger| ledger.commit_live(id, &host_key, &event)).await?;
        self.write_lease_files().await;
        Ok(live)
    }

    /// Starts the kept container.
    async fn start_kept(&self, berth: &Berth, progress: &ProgressSender) -> Result<()> {
        let engine = self.engine().await?;
        let container =
            berth.container_id.clone().ok_or_else(|| Fault::bug("a stopped berth without a container"))?;
        progress.step("starting its container");
        self.leave_port(berth.port).await;
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
    pub(super) async fn back_to_stopped(&self, berth: &Berth, why: &anyhow::Error) {
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

/// What a stopped berth is started with.
struct Again<'a> {
    kept: &'a Kept,
    /// Those of its owner's that the profile has limits for.
    groups: &'a [String],
    lease: Duration,
    unattended: bool,
    patience: Patience,
    ticket: Option<i64>,
}

/// What a start asks for where the cards that it had are not free, or are not what its owner wants.
fn asked_cards(berth: &Berth) -> CardWish {
    match &berth.next_cards {
        Some(cards) => same_cards(cards),
        None => CardWish::Count(i64::from(berth.size)),
    }
}

fn same_cards(had: &[CardId]) -> CardWish {
    if had.is_empty() {
        return CardWish::Count(0);
    }
    CardWish::Ids(had.iter().map(|card| i64::from(card.0)).collect())
}

fn is_gone(berth: &Berth, name: &str) -> Fault {
    Fault::refused(format!("{}'s container is gone, so that there is nothing to start", berth.label())).help(
        format!("berth release {name}, and request a new one: files in personal storage are still there"),
    )
}
