//! Stopped berths whose containers somebody started by hand. Each is taken up with the cards that its container has, where
//! nobody else has them; otherwise it is told of, and nothing is ended.

use super::moves::Kept;
use super::request::claim_fault;
use super::{Caller, Node, ProgressSender, build};
use crate::engine::ContainerState;
use crate::error::{ErrorClass, Fault, class_of, flatten};
use crate::facts::at_work::check_not_at_work;
use crate::host::crash;
use crate::ledger::Ledger;
use crate::model::{Berth, BerthState, card};
use anyhow::Result;
use std::sync::PoisonError;

impl Node {
    pub async fn take_up_started(&self) -> Result<()> {
        let mut stopped = self.ledger(Ledger::standing_berths).await?;
        stopped.retain(|berth| berth.state == BerthState::Stopped);
        if stopped.is_empty() {
            return Ok(());
        }
        self.ensure_reconciled().await?;
        let owned = self.engine().await?.list_owned(&self.instance).await?;
        let runs = |berth: &Berth| {
            owned.iter().any(|own| own.running && berth.container_id.as_ref() == Some(&own.container_id))
        };
        for berth in stopped.into_iter().filter(runs) {
            if let Err(error) = self.take_up_one(berth.id).await {
                let (berth, error) = (berth.label(), format!("{error:#}"));
                tracing::warn!(berth, error, "its container was started by hand, and could not be looked at");
            }
        }
        Ok(())
    }

    async fn take_up_one(&self, id: i64) -> Result<()> {
        let Some(_busy) = self.busy.enter(id) else { return Ok(()) };
        let berth = self.ledger_berth(id).await?;
        if berth.state != BerthState::Stopped {
            return Ok(());
        }
        let state = self.container_state(&berth).await?.filter(|state| state.running);
        let (Some(state), Some(kept)) = (state, self.kept(&berth).await?) else { return Ok(()) };
        let claimed = match self.claim_what_it_has(&berth, &kept).await {
            Ok(claimed) => claimed,
            Err(error) if matches!(class_of(&error), ErrorClass::Busy | ErrorClass::Refused) => {
                return self.tell_started(&berth, &state, &flatten(&error).message).await;
            }
            Err(error) => return Err(error),
        };
        crash::point("by-hand.claimed");
        let live = self.let_in_again(&claimed, &kept).await;
        if let Err(error) = &live {
            self.back_to_stopped(&claimed, error).await;
        }
        live
    }

    /// Claims the cards that its container has: the only ones that it can have.
    async fn claim_what_it_has(&self, berth: &Berth, kept: &Kept) -> Result<Berth> {
        let groups = self.limit_groups(&berth.owner).await?;
        let _deciding = self.deciding.lock().await;
        let settings = self.settings();
        check_not_at_work(&*self.host(), &settings.config.paths.state)?;
        self.check_nobody_else(kept).await?;
        let with_cards = Berth { cards: kept.cards.clone(), ..berth.clone() };
        if let Some(wrong) = self.wrong_devices(&with_cards, &kept.id).await? {
            return Err(Fault::refused(format!("it has other devices than its own: {wrong}")).into());
        }
        let lease = settings.profile.berth.default_lease;
        let lease = self.limited_lease((&berth.owner, &groups), lease, false).await?;
        let text = format!("{} was started by hand on {}", berth.label(), card::named(&kept.cards));
        let event = self.about(berth, "berth.starting", &Caller::agent().name, text);
        let (id, cards) = (berth.id, kept.cards.clone());
        self.ledger(move |ledger| {
            let lease = Some(lease.as_secs());
            ledger.begin_start(id, &cards, lease, false, (None, &[]), &event).map_err(claim_fault)
        })
        .await
    }

    /// An error when anybody but this container has one of its cards, or that cannot be seen.
    async fn check_nobody_else(&self, kept: &Kept) -> Result<()> {
        if kept.cards.is_empty() {
            return Ok(());
        }
        let held = self.ledger(Ledger::standing_berths).await?;
        let of_berth = held
            .iter()
            .find_map(|berth| Some((berth, kept.cards.iter().find(|card| berth.cards.contains(card))?)));
        if let Some((other, card)) = of_berth {
            return Err(Fault::busy(format!("card {card} is held by berth {}", other.label())).into());
        }
        match self.outsider_with(&kept.cards, Some(&kept.id)).await? {
            None => Ok(()),
            Some((card, holder)) => Err(Fault::busy(format!("card {card} is held by {holder}")).into()),
        }
    }

    async fn let_in_again(&self, berth: &Berth, kept: &Kept) -> Result<()> {
        self.refit(berth).await?;
        self.keep_apart().await?;
        build::wait_answer(&self.engine().await?, &kept.id).await?;
        self.let_owner_in(berth).await?;
        self.commit_started(berth, &Caller::agent().name, &ProgressSender::nobody()).await.map(drop)
    }

    /// Once for each start of its container.
    async fn tell_started(&self, berth: &Berth, state: &ContainerState, why: &str) -> Result<()> {
        let started = state.started_at.clone().unwrap_or_default();
        let known = {
            let mut told = self.pulse.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(berth.id, started.clone())
        };
        if known.as_ref() == Some(&started) {
            return Ok(());
        }
        let text = format!("{}'s container was started by hand, and is not taken up: {why}", berth.label());
        tracing::warn!(berth = berth.label(), "{text}");
        let event = self.about(berth, "berth.started-by-hand", &Caller::agent().name, text);
        self.ledger(move |ledger| ledger.record(&event)).await
    }
}
