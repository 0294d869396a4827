//! Brings back berths whose containers ended with Docker or with the machine. Each keeps its cards in the meantime.
//!
//! Such a berth has the condition `returning`, which is on the disk before anything is done and goes when it is back. So
//! a crash in between loses nothing: the next look begins again.

use super::conditions::{Changes, Found};
use super::pulse::CONTAINER;
use super::{Caller, Node, build};
use crate::engine::ContainerState;
use crate::error::{Fault, flatten};
use crate::host::crash;
use crate::model::{Berth, BerthState, Condition, ConditionCode, card};
use anyhow::Result;
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, PoisonError};

/// Whoever ends Docker or the machine ends the containers first. A container that ended at most so long before them
/// ended with them.
const BEFORE: SignedDuration = SignedDuration::from_mins(2);
/// A container that cannot be started is tried so often. After that its owner decides.
const MOST_FAILURES: u32 = 3;
/// How many containers are started at a time.
const AT_A_TIME: usize = 4;
/// The most time that a lease gets back.
const MOST_GIVEN_BACK: SignedDuration = SignedDuration::from_hours(24);

/// Why a berth is not back yet.
enum Blocked {
    /// It comes back by itself, as soon as this is over.
    Yet(String),
    /// Its container was started, or was to be, and that went wrong.
    Failed(anyhow::Error),
}

/// What is wrong with a berth whose container does not run: it comes back by itself, or its owner decides. `outage`:
/// Docker, or the agent, was away from this time on, and its containers were not looked at since.
pub(super) fn down(known: &[Condition], outage: Option<Timestamp>) -> ConditionCode {
    let since = |code| known.iter().find(|condition| condition.code == code).map(|condition| condition.since);
    if since(ConditionCode::Returning).is_some() {
        return ConditionCode::Returning;
    }
    let began = |outage: Timestamp| outage.checked_sub(BEFORE).unwrap_or(Timestamp::MIN);
    let with_docker = match (outage, since(ConditionCode::Dead)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(outage), Some(died)) => died >= began(outage),
    };
    if with_docker { ConditionCode::Returning } else { ConditionCode::Dead }
}

impl Node {
    /// Notes that Docker went away, and its containers with it, as far as anybody can tell.
    pub(super) fn note_outage(&self) {
        let now = self.now().wall;
        self.pulse.outage.lock().unwrap_or_else(PoisonError::into_inner).begin(now);
    }

    /// Brings all berths back that are to come back, and tells whether one is left that cannot yet.
    pub async fn return_berths(self: &Arc<Self>) -> Result<bool> {
        let standing = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        let ids: Vec<i64> =
            standing.iter().filter(|berth| is_returning(berth)).map(|berth| berth.id).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        self.ensure_reconciled().await?;
        let back = |id| {
            let node = self.clone();
            // A task of its own: what it holds across its waits is large.
            async move { tokio::spawn(async move { node.return_by_id(id).await }).await }
        };
        let all: Vec<_> =
            futures_util::stream::iter(ids).map(back).buffer_unordered(AT_A_TIME).collect().await;
        let mut is_left = false;
        for back in all {
            is_left |= !back??;
        }
        Ok(is_left)
    }

    /// Whether it is back, or need not come back any more.
    async fn return_by_id(&self, id: i64) -> Result<bool> {
        let Some(_busy) = self.busy.enter(id) else { return Ok(false) };
        let berth = self.ledger_berth(id).await?;
        if !is_returning(&berth) {
            return Ok(true);
        }
        match self.bring_back_live(&berth).await {
            Ok(_) => Ok(true),
            Err(Blocked::Yet(why)) => self.note_blocked(&berth, why).await.map(|()| false),
            Err(Blocked::Failed(error)) => self.note_failed(&berth, &error).await,
        }
    }

    /// Brings a live berth back whose container does not run, because its owner asks. The caller has marked it busy.
    pub(super) async fn revive(&self, berth: &Berth) -> Result<Berth> {
        let returning = Found::new(ConditionCode::Returning, None);
        let changes = Changes::of(&berth.conditions, &CONTAINER, vec![returning]).anew();
        self.settle(berth, changes).await?;
        let berth = self.ledger_berth(berth.id).await?;
        match self.bring_back_live(&berth).await {
            Ok(berth) => Ok(berth),
            Err(Blocked::Yet(why)) => {
                Err(Fault::host(format!("{} cannot be started yet: {why}", berth.label()))
                    .help("it is started as soon as that is over")
                    .into())
            }
            Err(Blocked::Failed(error)) => {
                self.give_up(&berth, flatten(&error).message).await?;
                Err(error)
            }
        }
    }

    /// Starts its container, checks that it has what it should, and lets its owner in again. Every step may have
    /// been done already.
    async fn bring_back_live(&self, berth: &Berth) -> Result<Berth, Blocked> {
        let state =
            self.container_state(berth).await.map_err(|error| Blocked::Yet(flatten(&error).message))?;
        let state = state.ok_or_else(|| Blocked::Failed(Fault::docker("its container is gone").into()))?;
        if state.paused {
            return Err(Blocked::Yet("its container is paused".into()));
        }
        if !state.running {
            self.check_own_nodes(berth).map_err(Blocked::Yet)?;
            // Whoever took a card in the meantime is told of by its own condition.
            self.check_alone(berth).await.map_err(|error| Blocked::Yet(flatten(&error).message))?;
        }
        self.start_verified(berth, &state).await.map_err(Blocked::Failed)?;
        self.note_back(berth).await.map_err(Blocked::Failed)
    }

    fn check_own_nodes(&self, berth: &Berth) -> Result<(), String> {
        // Paths of the host may hang.
        tokio::task::block_in_place(|| build::own_devices(self, berth))
            .map(drop)
            .map_err(|error| flatten(&error).message)
    }

    async fn start_verified(&self, berth: &Berth, state: &ContainerState) -> Result<()> {
        let engine = self.engine().await?;
        if !state.running {
            // Until it was verified, nobody can log in.
            self.take_keys(berth).await?;
            crash::point("return.keys-taken");
            engine.start(&state.id).await?;
            crash::point("return.started");
        }
        if let Some(wrong) = self.wrong_devices(berth, &state.id).await? {
            engine.stop(&state.id, super::release::STOP_SECONDS).await?;
            return Err(
                Fault::docker(format!("its container got other devices than its own: {wrong}")).into()
            );
        }
        self.keep_apart().await?;
        build::wait_answer(&engine, &state.id).await?;
        self.let_owner_in(berth).await?;
        crash::point("return.let-in");
        Ok(())
    }

    async fn note_back(&self, berth: &Berth) -> Result<Berth> {
        let (id, now) = (berth.id, self.now().wall);
        self.note_seen(id);
        self.pulse.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let was_down =
            berth.condition(ConditionCode::Returning).map(|condition| now.duration_since(condition.since));
        let given_back = was_down.unwrap_or_default().clamp(SignedDuration::ZERO, MOST_GIVEN_BACK);
        let text = format!("{} is back on {}, port {}", berth.label(), card::named(&berth.cards), berth.port);
        tracing::info!(berth = berth.label(), "back");
        let event = self.about(berth, "berth.back", &Caller::agent().name, text);
        self.ledger(move |ledger| ledger.returned(id, given_back, &event)).await
    }

    async fn note_blocked(&self, berth: &Berth, why: String) -> Result<()> {
        let Some(known) = berth.condition(ConditionCode::Returning) else { return Ok(()) };
        if known.detail.as_ref() == Some(&why) {
            return Ok(());
        }
        let condition = Condition { detail: Some(why), ..known.clone() };
        let (id, event) = (berth.id, self.begins(berth, &condition));
        self.ledger(move |ledger| ledger.begin_condition(id, &condition, &event)).await
    }

    /// Whether it was tried often enough.
    async fn note_failed(&self, berth: &Berth, error: &anyhow::Error) -> Result<bool> {
        let why = flatten(error).message;
        tracing::warn!(berth = berth.label(), error = format!("{error:#}"), "could not be brought back");
        let failures = {
            let mut failures = self.pulse.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let count = failures.entry(berth.id).or_default();
            *count += 1;
            *count
        };
        if failures < MOST_FAILURES {
            return self.note_blocked(berth, why).await.map(|()| false);
        }
        self.pulse.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&berth.id);
        self.give_up(berth, why).await?;
        Ok(true)
    }

    /// Leaves it to its owner. It does not run half verified, and whoever starts it by hand finds its keys.
    async fn give_up(&self, berth: &Berth, why: String) -> Result<()> {
        if let Some(state) = self.container_state(berth).await?.filter(|state| state.running) {
            self.engine().await?.stop(&state.id, super::release::STOP_SECONDS).await?;
        }
        self.let_owner_in(berth).await?;
        let dead = Found::new(ConditionCode::Dead, Some(why));
        self.settle(berth, Changes::of(&berth.conditions, &CONTAINER, vec![dead])).await
    }
}

fn is_returning(berth: &Berth) -> bool {
    berth.state == BerthState::Live && berth.condition(ConditionCode::Returning).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConditionCode::{Dead, Oom, Returning};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn known(code: ConditionCode, seconds: i64) -> Condition {
        Condition { code, since: at(seconds), cards: Vec::new(), detail: None }
    }

    #[test]
    fn what_ended_with_docker_comes_back_and_what_ended_by_itself_does_not() {
        assert_eq!(down(&[], None), Dead);
        assert_eq!(down(&[], Some(at(1000))), Returning);
        assert_eq!(down(&[known(Oom, 990)], Some(at(1000))), Returning);
        // Docker ends containers before it goes.
        assert_eq!(down(&[known(Dead, 990)], Some(at(1000))), Returning);
        assert_eq!(down(&[known(Dead, 879)], Some(at(1000))), Dead);
        assert_eq!(down(&[known(Dead, 990)], None), Dead);
        // Until it is back.
        assert_eq!(down(&[known(Returning, 990)], None), Returning);
    }
}
