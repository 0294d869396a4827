//! Measures how live berths work, and keeps what it saw in the last day in memory. `life::idle` judges it.
//!
//! What could not be looked at is no sample: neither a berth of which the server inside says nothing, nor any berth while
//! npu-smi fails.

use super::Node;
use super::locks::beside;
use super::usage_count::Spent;
use crate::host::readback;
use crate::ledger::Ledger;
use crate::life::idle::{self, IdleRules, Quiet};
use crate::model::clock::{BootTime, Moment as _, Now};
use crate::model::facts::NpuFacts;
use crate::model::idle::{IdleCode, IdleView, Sample};
use crate::model::inside_traffic::InsideTraffic;
use crate::model::{Berth, BerthState, CardId};
use crate::profile::Settings;
use anyhow::Result;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Older samples are dropped.
const KEPT: Duration = Duration::from_hours(24);
/// So are the oldest beyond so many: one a minute for [`KEPT`].
const MOST: usize = 24 * 60;
/// What a server inside said counts for so long. It speaks once a minute, or more often.
const TRAFFIC_COUNTS: Duration = Duration::from_secs(150);

/// What is known of all live berths.
#[derive(Default)]
pub(super) struct Samples(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    berths: BTreeMap<i64, Watch>,
    traffic: BTreeMap<i64, Traffic>,
    spent: Spent,
}

/// One berth, since its container was started or the agent was.
struct Watch {
    start: Start,
    since: BootTime,
    /// When it was last looked at, and the CPU time that its container had used.
    cpu: Option<(BootTime, Duration)>,
    /// Up to when its work is counted for `berth usage`.
    counted: BootTime,
    samples: Vec<Sample>,
}

/// Its container, and when that was started. With another one everything begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    container: String,
    started_at: Option<String>,
    cards: Vec<CardId>,
}

/// What the server inside said last.
struct Traffic {
    at: BootTime,
    /// The most bytes of a minute since the last sample.
    most: u64,
    /// Somebody typed at a terminal since then.
    typed: bool,
}

/// One look at the container of a berth.
pub(super) struct Looked {
    pub(super) start: Start,
    pub(super) at: BootTime,
    pub(super) cpu: Option<Duration>,
}

/// How its cards work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CardWork {
    /// By card, in percent.
    aicore: Vec<(CardId, u64)>,
    hbm_mib: u64,
    hbm_total_mib: u64,
    held: bool,
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spent(&self) -> Spent {
        std::mem::take(&mut self.lock().spent)
    }

    /// For another time: it could not be written.
    pub(super) fn spend_again(&self, spent: Spent) {
        self.lock().spent.merge(spent);
    }
}

impl Node {
    /// How often samples are taken.
    pub fn sample_interval(&self) -> Duration {
        self.settings().profile.idle.every()
    }

    /// One look at the work of all live berths.
    pub async fn take_samples(&self) -> Result<()> {
        let berths = self.watched_berths().await?;
        self.keep_watched(&berths);
        if berths.is_empty() || !self.has_engine().await {
            return Ok(());
        }
        // The loop that looks at the cards did so a moment ago, as a rule.
        let npu = self.npu(self.now().boot.before(self.sample_interval() / 2)).await?;
        let looks = berths.iter().map(|berth| beside(self.look_at_work(berth)));
        let looks: Vec<Option<Looked>> = join_all(looks).await;
        let is_wanted = !self.ledger(Ledger::tickets).await?.is_empty();
        for (berth, looked) in berths.iter().zip(looks) {
            if let Some(looked) = looked {
                self.sample(berth, looked, &npu, is_wanted);
            }
        }
        Ok(())
    }

    pub(super) async fn watched_berths(&self) -> Result<Vec<Berth>> {
        let mut berths = self.ledger(Ledger::standing_berths).await?;
        berths.retain(|berth| berth.state == BerthState::Live && !berth.cards.is_empty());
        Ok(berths)
    }

    fn keep_watched(&self, berths: &[Berth]) {
        let ids: BTreeSet<i64> = berths.iter().map(|berth| berth.id).collect();
        let mut watched = self.samples.lock();
        watched.berths.retain(|id, _| ids.contains(id));
        watched.traffic.retain(|id, _| ids.contains(id));
    }

    /// `None`: it does not run, or cannot be looked at.
    async fn look_at_work(&self, berth: &Berth) -> Option<Looked> {
        let state = self.container_state(berth).await.ok()??;
        let (container, pid) = (state.id.clone(), state.pid.filter(|_| state.running)?);
        let id = container.clone();
        let cpu = tokio::task::spawn_blocking(move || readback::cpu_time(pid, &id)).await.ok()?.ok()?;
        let start = Start { container, started_at: state.started_at, cards: berth.cards.clone() };
        Some(Looked { start, at: self.now().boot, cpu })
    }

    /// Adds a sample of a berth, where all of it was seen, and counts what its cards did.
    pub(super) fn sample(&self, berth: &Berth, looked: Looked, npu: &NpuFacts, is_wanted: bool) {
        let (settings, now) = (self.settings(), self.now());
        let limits = &settings.profile.idle;
        // A look that misses something is made up for by the next one.
        let Some(work) = card_work(&berth.cards, npu) else { return };
        let watched = &mut *self.samples.lock();
        let watch = watched.berths.entry(berth.id).or_insert_with(|| Watch::begin(&looked));
        if watch.start != looked.start {
            *watch = Watch::begin(&looked);
        }
        let (cores, passed) = watch.pass(&looked, limits.every());
        let ssh = watched.traffic.get_mut(&berth.id).and_then(|traffic| traffic.take(looked.at));
        if let (Some(cores), Some(ssh)) = (cores, ssh) {
            watch.add(work.sample(looked.at, cores, ssh));
        }
        let is_idle = is_wanted && !berth.unattended && watch.quiet(looked.at, &settings).is_some();
        watched.spent.add(berth, now.wall, passed, is_idle, |card| {
            work.aicore.iter().any(|(id, load)| *id == card && *load >= limits.aicore_percent)
        });
    }

    /// What the server inside a berth said of its traffic, at this time of the engine's clock.
    pub(super) fn note_traffic(&self, id: i64, at: Timestamp, traffic: &InsideTraffic) {
        let now = self.now();
        // What it printed long ago is read again when somebody begins to read.
        if now.wall.duration_since(at) > SignedDuration::try_from(TRAFFIC_COUNTS).unwrap_or_default() {
            return;
        }
        let mut watched = self.samples.lock();
        let last = watched.traffic.entry(id).or_insert(Traffic { at: now.boot, most: 0, typed: false });
        last.at = now.boot;
        last.most = last.most.max(traffic.bytes_per_minute());
        last.typed |= traffic.was_typed();
    }

    /// From now on its window begins anew: its owner needs it.
    pub(super) fn watch_anew(&self, id: i64) {
        self.samples.lock().berths.remove(&id);
    }

    /// Which live berths do nothing now.
    pub(super) fn quiet_berths(&self) -> BTreeMap<i64, Quiet> {
        let (settings, now) = (self.settings(), self.now().boot);
        let watched = self.samples.lock();
        let quiet = |(id, watch): (&i64, &Watch)| Some((*id, watch.quiet(now, &settings)?));
        watched.berths.iter().filter_map(quiet).collect()
    }

    /// What is shown of those of these berths that do nothing, by id.
    pub fn idle_views(&self, berths: &[Berth]) -> BTreeMap<i64, IdleView> {
        let (now, quiet) = (self.now(), self.quiet_berths());
        // An unattended one ends with its lease, whatever it does.
        let live = berths.iter().filter(|berth| berth.state == BerthState::Live && !berth.unattended);
        live.filter_map(|berth| Some((berth.id, view(quiet.get(&berth.id)?, now)))).collect()
    }
}

fn view(quiet: &Quiet, now: Now) -> IdleView {
    IdleView {
        code: if quiet.parked { IdleCode::Parked } else { IdleCode::Idle },
        since: on_the_wall(quiet.since, now),
        evidence: quiet.evidence,
    }
}

/// The time on the wall of a moment that has passed.
pub(super) fn on_the_wall(at: BootTime, now: Now) -> Timestamp {
    let ago = SignedDuration::try_from(now.boot.since(at)).unwrap_or_default();
    now.wall.checked_sub(ago).unwrap_or(now.wall)
}

impl Watch {
    fn begin(looked: &Looked) -> Self {
        Self {
            start: looked.start.clone(),
            since: looked.at,
            cpu: None,
            counted: looked.at,
            samples: Vec::new(),
        }
    }

    /// The CPU cores that it used since the last look, where that is known, and the time that this look stands for.
    fn pass(&mut self, looked: &Looked, every: Duration) -> (Option<f64>, Duration) {
        let passed = looked.at.since(self.counted).min(every * 2);
        self.counted = looked.at;
        let before = std::mem::replace(&mut self.cpu, looked.cpu.map(|used| (looked.at, used)));
        let cores = before.zip(looked.cpu).and_then(|((at, before), used)| {
            let (passed, used) = (looked.at.since(at), used.checked_sub(before)?);
            (!passed.is_zero()).then(|| used.as_secs_f64() / passed.as_secs_f64())
        });
        (cores, passed)
    }

    fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
        let is_old = |old: &Sample| sample.at.since(old.at) > KEPT;
        let old = self.samples.iter().take_while(|old| is_old(old)).count();
        let many = self.samples.len().saturating_sub(MOST);
        self.samples.drain(..old.max(many));
    }

    fn quiet(&self, now: BootTime, settings: &Settings) -> Option<Quiet> {
        idle::quiet(&self.samples, self.since, now, self.start.cards.len(), &rules(settings))
    }
}

impl Traffic {
    /// The most bytes of a minute since it was last asked, and whether somebody typed; `None` where the server has been
    /// silent for long.
    fn take(&mut self, now: BootTime) -> Option<(u64, bool)> {
        let counts = now.since(self.at) <= TRAFFIC_COUNTS;
        counts.then(|| (std::mem::take(&mut self.most), std::mem::take(&mut self.typed)))
    }
}

impl CardWork {
    fn sample(&self, at: BootTime, cores: f64, (bytes, typed): (u64, bool)) -> Sample {
        Sample {
            at,
            aicore: self.aicore.iter().map(|(_, load)| *load).max().unwrap_or_default(),
            hbm_mib: self.hbm_mib,
            hbm_total_mib: self.hbm_total_mib,
            held: self.held,
            cores,
            bytes,
            typed,
        }
    }
}

/// `None` where npu-smi does not say it of each of these cards.
fn card_work(cards: &[CardId], npu: &NpuFacts) -> Option<CardWork> {
    if npu.error.is_some() {
        return None;
    }
    let mut work = CardWork { aicore: Vec::new(), hbm_mib: 0, hbm_total_mib: 0, held: false };
    for card in cards {
        let device = npu.devices.iter().find(|device| device.id == card.0)?;
        work.aicore.push((*card, device.aicore_percent?));
        work.hbm_mib = work.hbm_mib.saturating_add(device.hbm_used_mib?);
        work.hbm_total_mib = work.hbm_total_mib.saturating_add(device.hbm_total_mib?);
        work.held |= !device.processes.is_empty();
    }
    Some(work)
}

fn rules(settings: &Settings) -> IdleRules {
    let (idle, lease) = (&settings.profile.idle, &settings.profile.lease);
    IdleRules {
        window: idle.window,
        aicore: idle.aicore_percent,
        cpu: idle.cpu_percent,
        hbm: idle.hbm_percent,
        ssh_bytes: idle.ssh_bytes,
        every: idle.every(),
        protected: lease.protected,
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
