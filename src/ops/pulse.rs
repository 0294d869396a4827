//! Checks the containers of live berths, one by one. For a while after a container died, the engine's list still
//! says that it runs; the engine's answer about the one container does not.

use super::conditions::{Changes, Found};
use super::locks::beside;
use super::{Node, build, returns};
use crate::engine::{ContainerState, readback};
use crate::host::{kernel_log, readback as kernel};
use crate::model::{Berth, BerthState, Condition, ConditionCode};
use anyhow::Result;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

pub(super) const CONTAINER: [ConditionCode; 4] =
    [ConditionCode::Gone, ConditionCode::Dead, ConditionCode::Returning, ConditionCode::Paused];
/// How long users are shown that the kernel killed a process in their berth for lack of memory.
const OOM_SHOWN: SignedDuration = SignedDuration::from_hours(24);
/// A berth that runs out of memory repeatedly causes one event in this time.
const OOM_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered between looks.
#[derive(Default)]
pub(super) struct Pulse {
    /// For each berth, the start of its container after which its devices were last read back.
    read_back: Mutex<BTreeMap<i64, String>>,
    /// Notified when anybody took a card or gave one back.
    pub(super) cards_moved: Notify,
    pub(super) outage: Mutex<Outage>,
    /// For each stopped berth, the start of its container by hand that was told last.
    pub(super) by_hand: Mutex<BTreeMap<i64, String>>,
    /// How often the start of each berth that is to come back went wrong.
    pub(super) failures: Mutex<BTreeMap<i64, u32>>,
}

/// A time in which containers could not be looked at, because Docker or the agent was away.
#[derive(Debug, Default)]
pub(super) struct Outage {
    began: Option<Timestamp>,
    /// The berths whose containers were looked at since.
    looked: BTreeSet<i64>,
}

impl Outage {
    pub(super) fn begin(&mut self, now: Timestamp) {
        // One that is not over for a berth has begun before.
        if self.began.is_none() || !self.looked.is_empty() {
            *self = Self { began: Some(now), looked: BTreeSet::new() };
        }
    }

    /// When it began; `None` for a berth that was looked at since.
    fn of(&self, berth: i64) -> Option<Timestamp> {
        self.began.filter(|_| !self.looked.contains(&berth))
    }
}

impl Pulse {
    /// Before the first look of an agent. `away`: since when no agent looked.
    pub(super) fn after(away: Timestamp) -> Self {
        let outage = Outage { began: Some(away), looked: BTreeSet::new() };
        Self { outage: Mutex::new(outage), ..Self::default() }
    }
}

impl Node {
    /// Checks all live berths at the same time, so that one container for which the engine does not answer delays
    /// no other.
    pub(super) async fn look_at_containers(&self) -> Result<()> {
        let mut live = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        live.retain(|berth| berth.state == BerthState::Live);
        let looks = live
            .iter()
            .map(|berth| async move { (berth.label(), beside(self.look_at_container(berth)).await) });
        for (berth, looked) in join_all(looks).await {
            if let Err(error) = looked {
                tracing::warn!(berth, error = format!("{error:#}"), "could not look at its container");
            }
        }
        Ok(())
    }

    /// Checks one berth. A live berth keeps its cards when its container ended or was removed: its owner decides.
    /// The berth is marked busy only where something changed, and is then looked at again. Otherwise each event of
    /// Docker could make a release fail.
    async fn look_at_container(&self, berth: &Berth) -> Result<()> {
        let state = self.container_state(berth).await?;
        if self.container_changes(berth, state.as_ref()).none()
            && !self.is_new_start(berth, state.as_ref())
            && !self.has_oom_news(berth, state.as_ref()).await?
        {
            self.note_seen(berth.id);
            return Ok(());
        }
        let id = berth.id;
        let Some(_busy) = self.busy.enter(id) else { return Ok(()) };
        let berth = self.ledger_berth(id).await?;
        self.renew_conditions(&berth).await?;
        self.note_seen(id);
        Ok(())
    }

    /// Its container was seen, or started by the agent, since an outage: whatever ends it from now on is something else.
    pub(super) fn note_seen(&self, berth: i64) {
        self.outage().looked.insert(berth);
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.pulse.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container_changes(&self, berth: &Berth, state: Option<&ContainerState>) -> Changes {
        let down = returns::down(&berth.conditions, self.outage().of(berth.id));
        let mut found = of_container(state, down);
        // Until it was verified and its owner let in, it is not back, whoever started it.
        let is_told = |found: &Found| matches!(found.code, ConditionCode::Gone | ConditionCode::Returning);
        if berth.condition(ConditionCode::Returning).is_some() && !found.iter().any(is_told) {
            found.push(Found::new(ConditionCode::Returning, None));
        }
        Changes::of(&berth.conditions, &CONTAINER, found)
    }

    /// Writes down the conditions of a berth that the caller has marked busy.
    pub(super) async fn renew_conditions(&self, berth: &Berth) -> Result<()> {
        if berth.state != BerthState::Live {
            return Ok(());
        }
        let state = self.container_state(berth).await?;
        let changes = self.container_changes(berth, state.as_ref());
        self.settle(berth, changes).await?;
        self.settle_oom(berth, state.as_ref()).await?;
        if self.is_new_start(berth, state.as_ref()) {
            self.read_devices_back(berth, state.as_ref()).await?;
        }
        Ok(())
    }

    pub(super) async fn container_state(&self, berth: &Berth) -> Result<Option<ContainerState>> {
        match &berth.container_id {
            Some(id) => self.engine().await?.inspect(id).await,
            None => Ok(None),
        }
    }

    /// Whether its container runs, and was started since its devices were last read from the kernel.
    fn is_new_start(&self, berth: &Berth, state: Option<&ContainerState>) -> bool {
        let Some(started) = state.filter(|state| state.running).and_then(|state| state.started_at.as_ref())
        else {
            return false;
        };
        let known = self.pulse.read_back.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&berth.id) != Some(started)
    }

    /// Checks the devices of a container that was started again: somebody may have edited its config in between.
    async fn read_devices_back(&self, berth: &Berth, state: Option<&ContainerState>) -> Result<()> {
        let Some((container, started)) =
            state.and_then(|state| Some((state.id.clone(), state.started_at.clone()?)))
        else {
            return Ok(());
        };
        let differences = self.wrong_devices(berth, &container).await?;
        let found = differences.map(|text| Found::new(ConditionCode::DevicesChanged, Some(text)));
        let found = found.into_iter().collect();
        let changes = Changes::of(&berth.conditions, &[ConditionCode::DevicesChanged], found);
        self.settle(berth, changes).await?;
        self.pulse.read_back.lock().unwrap_or_else(PoisonError::into_inner).insert(berth.id, started);
        Ok(())
    }

    /// How the devices that the kernel gave the container differ from the berth's own; `None` when they do not.
    pub(super) async fn wrong_devices(&self, berth: &Berth, container: &str) -> Result<Option<String>> {
        let own = tokio::task::block_in_place(|| build::own_devices(self, berth))?;
        let seen = readback::observe(&self.engine().await?, container, &[]).await?;
        let differences: Vec<String> =
            readback::compare_devices(&own, &seen).iter().map(ToString::to_string).collect();
        Ok((!differences.is_empty()).then(|| differences.join("; ")))
    }

    async fn has_oom_news(&self, berth: &Berth, state: Option<&ContainerState>) -> Result<bool> {
        let known = berth.condition(ConditionCode::Oom);
        if known.is_some_and(|known| self.now().wall.duration_since(known.since) > OOM_SHOWN) {
            return Ok(true);
        }
        let id = berth.id;
        let told = self.ledger(move |ledger| ledger.oom_kills(id)).await?;
        Ok(self.oom_kills(state).await.is_some_and(|kills| kills != told))
    }

    /// How often the kernel killed a process in it for lack of memory since the container was started; `None` where
    /// that is not known.
    async fn oom_kills(&self, state: Option<&ContainerState>) -> Option<u64> {
        let state = state?;
        let (pid, container) = (state.pid.filter(|_| state.running)?, state.id.clone());
        // A container that ends meanwhile is no reason to warn.
        tokio::task::spawn_blocking(move || kernel::oom_kills(pid, &container)).await.ok()?.ok()?
    }

    async fn settle_oom(&self, berth: &Berth, state: Option<&ContainerState>) -> Result<()> {
        let Some(state) = state else { return Ok(()) };
        let id = berth.id;
        let known = berth.condition(ConditionCode::Oom);
        let age = known.map(|known| self.now().wall.duration_since(known.since));
        let told = self.ledger(move |ledger| ledger.oom_kills(id)).await?;
        // The first process is told of by the engine alone: its cgroup is gone.
        let ended_by_it = !state.running && state.oom_killed && known.is_none();
        let kills = self.oom_kills(Some(state)).await;
        let news = kills.map_or(0, |kills| kills.saturating_sub(told));
        if ended_by_it || news > 0 {
            if age.is_some_and(|age| age < OOM_PAUSE) {
                return Ok(());
            }
            let condition = Condition {
                code: ConditionCode::Oom,
                since: self.now().wall,
                cards: Vec::new(),
                detail: killed(state.id.clone(), news.max(1)).await,
            };
            let event = self.begins(berth, &condition);
            self.ledger(move |ledger| ledger.begin_condition(id, &condition, &event)).await?;
        } else if age.is_some_and(|age| age > OOM_SHOWN) {
            self.ledger(move |ledger| ledger.end_condition(id, ConditionCode::Oom, None)).await?;
        }
        match kills.filter(|kills| *kills != told) {
            Some(kills) => self.ledger(move |ledger| ledger.note_oom_kills(id, kills)).await,
            None => Ok(()),
        }
    }
}

/// The names of the last processes that were killed in a container, where the kernel's log can be read.
async fn killed(container: String, count: u64) -> Option<String> {
    let names = tokio::task::spawn_blocking(move || kernel_log::killed_in(&container)).await.ok()?.ok()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut last: Vec<&str> = Vec::new();
    for name in names.iter().rev().take(count) {
        if !last.contains(&name.as_str()) {
            last.push(name);
        }
    }
    (!last.is_empty()).then(|| last.join(", "))
}

/// What is wrong with a live berth's container, if anything; `down` where it does not run.
fn of_container(state: Option<&ContainerState>, down: ConditionCode) -> Vec<Found> {
    let found = match state {
        None => Found::new(ConditionCode::Gone, None),
        Some(state) if state.paused => Found::new(ConditionCode::Paused, None),
        Some(state) if state.running => return Vec::new(),
        Some(state) => {
            let memory = if state.oom_killed { ", out of memory" } else { "" };
            let status = state.exit_code.map(|code| format!("it ended with status {code}{memory}"));
            Found::new(down, status)
        }
    };
    vec![found]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_well_only_while_it_runs() {
        let state = |running, paused| ContainerState {
            id: "c1".into(),
            name: "n".into(),
            image_id: "i".into(),
            running,
            paused,
            pid: None,
            exit_code: Some(137),
            error: None,
            oom_killed: false,
            address: None,
            started_at: None,
        };
        assert_eq!(of_container(Some(&state(true, false)), ConditionCode::Dead), []);
        let code = |state: Option<&ContainerState>| of_container(state, ConditionCode::Dead)[0].code;
        assert_eq!(code(None), ConditionCode::Gone);
        // Docker says of a paused container that it runs, too.
        assert_eq!(code(Some(&state(true, true))), ConditionCode::Paused);
        let dead = of_container(Some(&state(false, false)), ConditionCode::Dead);
        assert_eq!(dead, [Found::new(ConditionCode::Dead, Some("it ended with status 137".into()))]);
    }
}
