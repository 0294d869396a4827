//! The state of one agent: its config, profile, ledger, engine, and what it saw last.

use super::apart::Kept;
use super::away::Away;
use super::caller::Caller;
use super::directory::Directory;
use super::doors::Doors;
use super::early_release::DataDisk;
use super::health::Health;
use super::lease_files::Unwritten;
use super::locks::{Ordered, Rank};
use super::marks::{Mark, Marks};
use super::pulse::Pulse;
use super::ration::{Rations, Readers, Waiting};
use super::samples::Samples;
use super::survey::Looks;
use super::tried::Tried;
use crate::accel::{self, Accelerator};
use crate::engine::Engine;
use crate::error::Fault;
use crate::host::clock::{Clock, SystemClock};
use crate::host::{Host, RealHost, dirs, elf, lock};
use crate::ledger::{Ledger, NewEvent};
use crate::model::clock::{BootTime, Now};
use crate::model::{Berth, FullPlace};
use crate::profile::{Config, Settings, load_profile};
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long to wait for another task that works on the berth. The reconciler marks each berth for a moment at each
/// change in Docker, and no user should notice that.
const BUSY_LIMIT: Duration = Duration::from_secs(20);

/// Everything that the use cases need, shared by all connections. The order of its locks is in [`locks`].
pub struct Node {
    /// Config and profile. Replaced as a whole; the lock is never held across an `.await`.
    settings: RwLock<Arc<Settings>>,
    /// The name that tells our containers from another agent's on the same engine.
    pub instance: String,
    /// The static binary that runs inside containers; by default, this program.
    pub(super) server: PathBuf,
    pub(super) looks: Looks,
    /// The accounts of the uids that call.
    pub(super) directory: Directory,
    pub(super) rations: Rations,
    pub(super) waiting: Waiting,
    /// Requests that waited when the agent ended, and whose clients may come back.
    pub(super) away: Away,
    /// The answers with events that are still open, by user.
    pub(super) readers: Readers,
    /// Held while cards are chosen and claimed: one decision at a time.
    pub(super) deciding: Ordered<()>,
    /// Berths that a task of this process is working on; the reconciler leaves them alone.
    pub(super) busy: BusyBerths,
    /// `true` once the ledger and the engine's containers were compared; `false` again when the engine went away.
    pub(super) reconciled: Ordered<Tried<bool>>,
    /// File systems that were full at the last look.
    pub(super) full: Mutex<Vec<FullPlace>>,
    /// Ids of unknown containers that were reported already.
    pub(super) reported: Mutex<BTreeSet<String>>,
    /// What is remembered of the containers of live berths.
    pub(super) pulse: Pulse,
    /// Held while the rules that keep berths apart are looked at and written.
    pub(super) apart: Ordered<Kept>,
    /// Held while keys are read from the ledger and written for berths.
    pub(super) writing_keys: Ordered<()>,
    /// Held while leases are read from the ledger and written for berths.
    pub(super) writing_leases: Ordered<Unwritten>,
    /// Held while a host key is read, or made.
    pub(super) making_host_keys: Ordered<()>,
    /// Held while the catalogue is read, changed and written.
    pub(super) editing_catalogue: Ordered<()>,
    /// The ports of stopped berths on which the agent answers.
    pub(super) doors: Doors,
    /// The agent's loops, in numbers.
    pub(super) health: Health,
    /// How full the disk with the containers is.
    pub(super) data_disk: DataDisk,
    /// How live berths work.
    pub(super) samples: Samples,
    /// No lease ends before this time, because the clock was set.
    pub(super) ends_held: Mutex<Option<BootTime>>,
    wanted: Notify,
    freed: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    host: Arc<dyn Host>,
    /// The kind of card. Chosen at the start; a running agent keeps it.
    accel: &'static dyn Accelerator,
    clock: Arc<dyn Clock>,
    ledger: Arc<Ledger>,
    engine: Ordered<Tried<Option<Engine>>>,
    _lock: lock::StateLock,
}

impl Node {
    /// Opens the state of one agent. Succeeds even if Docker does not answer.
    pub fn open(config: Config) -> Result<Self> {
        Self::open_with(config, Arc::new(SystemClock))
    }

    fn open_with(mut config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let host: Arc<dyn Host> = Arc::new(RealHost::default());
        let mut profile = load_profile(&*host, &config)?;
        let state = config.paths.state.clone();
        dirs::make_dir(&state, 0o711)?;
        let lock = lock::lock_state(&state)?;
        dirs::make_dir(&state.join("berths"), 0o711)?;
        let accel = accel::of(&profile);
        accel.prepare(&*host, &config, &profile)?;
        accel::attach(accel, &mut config, &mut profile)?;
        let server = server_binary(&config)?;
        let ledger = Ledger::open(&state.join("ledger.db"), clock.now().wall)?;
        let instance = ledger.instance()?;
        Ok(Self {
            server,
            looks: Looks::default(),
            directory: Directory::new(clock.clone()),
            rations: Rations::default(),
            waiting: Waiting::default(),
            away: Away::default(),
            readers: Readers::default(),
            deciding: Ordered::new(Rank::Deciding, ()),
            busy: BusyBerths::default(),
            reconciled: Ordered::new(Rank::Reconciled, Tried::new(false)),
            full: Mutex::default(),
            reported: Mutex::default(),
            pulse: Pulse::after(ledger.counted()?.map_or(Timestamp::MIN, |counted| counted.wall)),
            apart: Ordered::new(Rank::Apart, Kept::default()),
            writing_keys: Ordered::new(Rank::Keys, ()),
            writing_leases: Ordered::new(Rank::Leases, Unwritten::new()),
            making_host_keys: Ordered::new(Rank::HostKeys, ()),
            editing_catalogue: Ordered::new(Rank::Catalogue, ()),
            doors: Doors::default(),
            health: Health::default(),
            data_disk: DataDisk::default(),
            samples: Samples::default(),
            ends_held: Mutex::default(),
            wanted: Notify::new(),
            freed: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            engine: Ordered::new(Rank::Engine, Tried::default()),
            host,
            accel,
            clock,
            ledger: Arc::new(ledger),
            settings: RwLock::new(Arc::new(Settings { config, profile })),
            instance,
            _lock: lock,
        })
    }

    /// A node for a test, without an engine, in a temporary directory that lives as long as the returned guard.
    #[cfg(test)]
    pub fn for_test(clock: Arc<dyn Clock>) -> (Arc<Self>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let paths = &mut config.paths;
        for path in
            [&mut paths.state, &mut paths.run, &mut paths.storage, &mut paths.profiles, &mut paths.editors]
        {
            *path = dir.path().join(path.file_name().unwrap());
        }
        config.docker.socket = dir.path().join("docker.sock");
        config.tools.npu_smi = "/bin/false".into();
        (Arc::new(Self::open_with(config, clock).unwrap()), dir)
    }

    /// Records an event of the agent, for a test that looks back at it.
    #[cfg(test)]
    pub async fn tell(&self, kind: &'static str, text: &str) {
        let event = self.event(kind, "agent", text);
        self.ledger(move |ledger| ledger.record(&event)).await.unwrap();
    }

    /// An error when the program for containers is not static: it must not need a library of the image.
    pub fn check_server_binary(&self) -> Result<()> {
        let path = &self.server;
        if elf::is_static(path)? {
            return Ok(());
        }
        Err(Fault::host(format!(
            "{} is not a static program and would not run in every image",
            path.display()
        ))
        .help("install a released berth, or name a static one with ssh.server in the config")
        .into())
    }

    pub(super) fn host(&self) -> Arc<dyn Host> {
        self.host.clone()
    }

    /// Which kind of card this node has.
    pub(super) fn accel(&self) -> &'static dyn Accelerator {
        self.accel
    }

    /// Config and profile as they are now. A use case takes them once, so that all of it uses the same ones.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_settings(&self, new: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The time of the node's clocks. Every decision uses these, and no other clock.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The clock, for work that outlives a borrow of the node.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Runs ledger work on a thread that may block.
    pub(super) async fn ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let ledger = self.ledger.clone();
        Ok(tokio::task::spawn_blocking(move || work(&ledger)).await??)
    }

    pub(super) async fn ledger_berth(&self, id: i64) -> Result<Berth> {
        self.ledger(move |ledger| ledger.berth_by_id(id)).await
    }

    /// The berth of this name, marked as being worked on, and as it is from then on: it may have changed between looking
    /// it up and the mark.
    pub(super) async fn marked(&self, caller: &Caller, name: &str) -> Result<(BusyGuard, Berth)> {
        let id = self.find_berth(caller, name).await?.id;
        let busy = self.enter_berth(id, name).await?;
        Ok((busy, self.ledger_berth(id).await?))
    }

    /// The ledger, for work that [`Node::ledger`] does not fit.
    pub(super) fn ledger_handle(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// Changes whenever an event is added.
    pub fn subscribe_events(&self) -> watch::Receiver<i64> {
        self.ledger.subscribe()
    }

    pub(super) fn event(&self, kind: &'static str, actor: &str, text: impl Into<String>) -> NewEvent {
        NewEvent {
            at: self.now().wall,
            kind,
            actor: actor.to_owned(),
            owner: None,
            berth: None,
            text: text.into(),
        }
    }

    /// Records the event, or logs it where the ledger cannot be written: what it tells of has happened in any case.
    pub(super) async fn record_or_log(&self, event: NewEvent) {
        if let Err(error) = self.ledger(move |ledger| ledger.record(&event)).await {
            tracing::error!(error = format!("{error:#}"), "an event could not be written down");
        }
    }

    /// The Docker Engine. Connects where there is no connection; an error when it does not answer.
    pub async fn engine(&self) -> Result<Engine> {
        let asked = self.now().boot;
        let mut slot = self.engine.lock().await;
        if let Some(engine) = &slot.value {
            return Ok(engine.clone());
        }
        slot.check(asked)?;
        let connected = Engine::connect(&self.settings().config.docker.socket).await;
        let engine = slot.note(self.now().boot, connected)?;
        slot.value = Some(engine.clone());
        Ok(engine)
    }

    /// Whether an engine answered and has not gone away since.
    pub async fn has_engine(&self) -> bool {
        self.engine.lock().await.value.is_some()
    }

    /// Notes that the engine went away. It may come back as another version, and containers may have changed.
    pub async fn forget_engine(&self) {
        self.note_outage();
        self.engine.lock().await.value = None;
        self.looks.foreign.lock().await.value = None;
        self.reconcile_again().await;
    }

    /// What was not brought to its end is written down: the reconciler goes on with it.
    pub(super) async fn reconcile_again(&self) {
        self.reconciled.lock().await.value = false;
    }

    /// Marks the berth as being worked on. An error when another request works on it, and does not come to an end.
    pub(super) async fn enter_berth(&self, id: i64, name: &str) -> Result<BusyGuard, Fault> {
        self.busy.enter_within(id, BUSY_LIMIT).await.ok_or_else(|| {
            Fault::busy(format!("{name} is being changed by another request")).help("try again in a moment")
        })
    }

    pub(super) fn berth_dir(&self, id: i64) -> PathBuf {
        self.settings().config.paths.state.join("berths").join(id.to_string())
    }

    /// Tells requests that wait for cards to look again, because cards may have become free.
    pub(super) fn tell_freed(&self) {
        self.freed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells that a request waits for cards from now on, so that cards may have to be asked back.
    pub(super) fn tell_wanted(&self) {
        self.wanted.notify_one();
    }

    /// Resolves when a request begins to wait for cards.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Tells all tasks that only wait or listen to end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Resolves when the agent is about to end.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as the node that is borrowed here.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub(super) fn subscribe_freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// What users type as the node's name.
    pub fn ssh_host(&self) -> String {
        let named = self.settings().config.ssh.host.clone();
        if named.is_empty() {
            sysinfo::System::host_name().unwrap_or_else(|_| "localhost".into())
        } else {
            named
        }
    }
}

/// The path of the program for containers. To be asked once, at the start: later another file may be at the path of
/// the running program.
fn server_binary(config: &Config) -> Result<PathBuf> {
    let named = &config.ssh.server;
    if named.as_os_str().is_empty() {
        return std::env::current_exe().context("finding berth's own program");
    }
    Ok(named.clone())
}

/// The berths that a task works on, by id.
pub(super) type BusyBerths = Marks<i64>;
pub(super) type BusyGuard = Mark<i64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_berth_has_one_worker_and_others_wait_for_it() {
        let busy = BusyBerths::default();
        let first = busy.enter(7).unwrap();
        assert!(busy.enter(7).is_none() && busy.enter(8).is_some());
        assert!(busy.enter_within(7, Duration::from_millis(1)).await.is_none());
        let waiting = busy.clone();
        let second = tokio::spawn(async move { waiting.enter_within(7, Duration::from_mins(1)).await });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.unwrap().is_some());
    }
}
