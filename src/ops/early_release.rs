//! Releases stopped berths sooner where the disk with their containers runs full. `life::early` decides; this module looks,
//! writes down what is decided, and does it.
//!
//! Looking and deciding are two loops: a disk that hangs holds up no lease, and no decision is made before the time of the
//! clock was counted.

use super::{Caller, Node, ProgressSender};
use crate::error::Fault;
use crate::host::room::{self, Space};
use crate::life::early::{Disk, Relief, Resting, Shelf, make_room};
use crate::model::clock::BootTime;
use crate::model::{Berth, BerthState, Size, Stop};
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where this driver of Docker's has what containers wrote, below its data root. Of others it is not known.
const DRIVER: &str = "overlay2";
/// How old a look at the disk may be when something is decided.
const MAX_AGE: Duration = Duration::from_mins(2);

/// What was seen last of the disk with the containers of berths.
#[derive(Default)]
pub(super) struct DataDisk(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// When, and what. `None` where it could not be looked at, and after a release: what that freed was not seen yet.
    space: Option<(BootTime, Space)>,
    /// How many were released. A look that began before a release does not see what that freed.
    releases: u64,
    /// What the release of a stopped berth would free: a container that does not run writes no more.
    sizes: BTreeMap<Stopped, u64>,
}

/// One stop of one berth.
type Stopped = (i64, Timestamp);

impl DataDisk {
    /// A look, for a test that has no such disk.
    #[cfg(test)]
    pub(super) fn note(&self, at: BootTime, space: Space, berth: &Berth, bytes: u64) {
        self.with(|seen| {
            seen.space = Some((at, space));
            seen.sizes.extend(stop_of(berth).map(|stopped| (stopped, bytes)));
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Seen) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Node {
    /// Looks at the disk with the containers; where it is nearly full, also how much each stopped berth has there.
    pub async fn look_at_data_disk(&self) -> Result<()> {
        let releases = self.data_disk.with(|seen| seen.releases);
        let stopped = self.stopped_berths().await?;
        let containers: BTreeMap<Stopped, String> =
            stopped.into_iter().filter_map(|berth| Some((stop_of(&berth)?, berth.container_id?))).collect();
        self.data_disk.with(|seen| seen.sizes.retain(|stopped, _| containers.contains_key(stopped)));
        let looked = if containers.is_empty() { Ok(None) } else { self.data_space(&containers).await };
        let space = *looked.as_ref().unwrap_or(&None);
        let now = self.now().boot;
        self.data_disk.with(|seen| {
            seen.space = space.filter(|_| seen.releases == releases).map(|space| (now, space));
        });
        looked.map(drop)
    }

    async fn data_space(&self, containers: &BTreeMap<Stopped, String>) -> Result<Option<Space>> {
        if !self.has_engine().await {
            return Ok(None);
        }
        let engine = self.engine().await?;
        let facts = engine.facts().await?;
        if facts.storage_driver.as_deref() != Some(DRIVER) {
            return Ok(None);
        }
        let Some(root) = facts.data_root else { return Ok(None) };
        let path = Path::new(&root).join(DRIVER);
        let space = space_of(&path).await?;
        if !is_low(&space, self.floor(&space)) {
            return Ok(Some(space));
        }
        let is_known = |stopped: &Stopped| self.data_disk.with(|seen| seen.sizes.contains_key(stopped));
        for (stopped, container) in containers.iter().filter(|(stopped, _)| !is_known(stopped)) {
            // The engine walks all of it, which may take a while: once for each stop.
            if let Some(bytes) = engine.layer_size(container).await? {
                self.data_disk.with(|seen| seen.sizes.insert(*stopped, bytes));
            }
        }
        space_of(&path).await.map(Some)
    }

    fn floor(&self, space: &Space) -> u64 {
        self.settings().profile.lease.keep_free.of(space.total)
    }

    /// One decision about stopped berths and the disk, and what comes of it.
    pub(super) async fn release_sooner(&self) -> Result<()> {
        let Some(shelf) = self.shelf().await? else { return Ok(()) };
        for relief in make_room(&shelf) {
            let (Relief::Announce { berth: id, .. }
            | Relief::Withdraw { berth: id, .. }
            | Relief::Release { berth: id }) = relief;
            // Whoever works on it may be starting it, or keep it.
            let Some(_busy) = self.busy.enter(id) else { continue };
            let berth = self.ledger_berth(id).await?;
            if berth.state != BerthState::Stopped || berth.stop.as_ref().is_none_or(|stop| stop.kept) {
                continue;
            }
            match relief {
                Relief::Announce { release_at, .. } => {
                    self.tell_of_release(&berth, release_at, &shelf).await?;
                }
                Relief::Withdraw { needed, .. } => self.tell_of_no_release(&berth, needed).await?,
                Relief::Release { .. } => self.release_for_room(berth).await?,
            }
        }
        Ok(())
    }

    /// What is decided from; `None` where no berth is stopped.
    pub(super) async fn shelf(&self) -> Result<Option<Shelf>> {
        let (standing, tickets) =
            self.ledger(|ledger| Ok((ledger.standing_berths()?, ledger.tickets()?))).await?;
        let is_releasing = standing.iter().any(|berth| berth.state == BerthState::Releasing);
        let stopped: Vec<Berth> =
            standing.into_iter().filter(|berth| berth.state == BerthState::Stopped).collect();
        if stopped.is_empty() {
            return Ok(None);
        }
        let (now, lease) = (self.now(), self.settings().profile.lease.clone());
        let is_fresh = |at: BootTime| now.boot <= at + MAX_AGE;
        let (space, sizes) = self.data_disk.with(|seen| (seen.space, seen.sizes.clone()));
        let space = space.filter(|(at, _)| is_fresh(*at)).map(|(_, space)| space);
        let resting = stopped.iter().filter_map(|berth| {
            let waits = tickets.iter().any(|ticket| {
                ticket.owner == berth.owner && ticket.berth.as_deref() == Some(berth.name.as_str())
            });
            resting(berth, now.wall, sizes.get(&stop_of(berth)?).copied(), waits)
        });
        let shelf = Shelf {
            now: now.wall,
            disk: space.map(|space| Disk {
                total: space.total,
                free: space.available,
                floor: lease.keep_free.of(space.total),
            }),
            notice: lease.release_notice,
            stopped: resting.collect(),
            is_releasing,
            hold: self.ends_are_held(),
        };
        Ok(Some(shelf))
    }

    async fn tell_of_release(&self, berth: &Berth, at: Timestamp, shelf: &Shelf) -> Result<()> {
        let Some(disk) = shelf.disk else { return Ok(()) };
        let (label, name) = (berth.label(), &berth.name);
        let text = format!(
            "{label} is released in {}: Docker's disk has {} free, and {} are to be. Keep it: berth keep {name}; files in personal \
             storage stay in any case",
            humantime::format_duration(shelf.notice),
            Size(disk.free),
            Size(disk.floor)
        );
        tracing::info!(berth = label, release_at = %at, "the disk runs full: it is released sooner");
        let (id, event) = (berth.id, self.about(berth, "berth.release-soon", &Caller::agent().name, text));
        self.ledger(move |ledger| ledger.note_early_release(id, Some(at), &event)).await
    }

    async fn tell_of_no_release(&self, berth: &Berth, needed: bool) -> Result<()> {
        let why = if needed { "it is needed" } else { "Docker's disk has room again" };
        let text = format!("{} is not released sooner: {why}", berth.label());
        let (id, event) =
            (berth.id, self.about(berth, "berth.release-withdrawn", &Caller::agent().name, text));
        self.ledger(move |ledger| ledger.note_early_release(id, None, &event)).await
    }

    async fn release_for_room(&self, berth: Berth) -> Result<()> {
        let now = self.now().wall;
        let is_due = |stop: &Stop| stop.release_at.is_some_and(|at| at <= now);
        let is_locked = berth.lock.as_ref().is_some_and(|lock| lock.until > now);
        if is_locked || !berth.stop.as_ref().is_some_and(is_due) {
            return Ok(());
        }
        // Somebody may have started its container by hand. Where Docker cannot be asked, nothing is released.
        match self.container_state(&berth).await {
            Ok(Some(state)) if !state.running => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                let (berth, error) = (berth.label(), format!("{error:#}"));
                tracing::warn!(
                    berth,
                    error,
                    "not released to make room: its container could not be looked at"
                );
                return Ok(());
            }
        }
        let label = berth.label();
        tracing::info!(berth = label, "released, because Docker's disk is full");
        let released = self
            .release_marked(
                berth,
                &Caller::agent(),
                Some("Docker's disk was full"),
                &ProgressSender::nobody(),
            )
            .await;
        // The next one has to wait for a look that sees what this one freed.
        self.data_disk.with(|seen| {
            seen.space = None;
            seen.releases += 1;
        });
        if let Err(error) = released {
            let error = format!("{error:#}");
            tracing::warn!(berth = label, error, "a berth could not be released to make room");
        }
        Ok(())
    }

    /// Its owner needs a stopped berth that is to be released sooner.
    pub(super) async fn keep_stopped(&self, caller: &Caller, berth: Berth) -> Result<Berth> {
        if berth.stop.as_ref().is_none_or(|stop| stop.release_at.is_none()) {
            return Ok(berth);
        }
        let text = format!("{} is kept: it is not released sooner", berth.label());
        let (id, event) = (berth.id, self.about(&berth, "berth.kept", &caller.name, text));
        self.ledger(move |ledger| ledger.keep_stopped(id, &event)).await
    }
}

fn is_low(space: &Space, floor: u64) -> bool {
    space.available < floor
}

async fn space_of(path: &Path) -> Result<Space> {
    let looked = path.to_path_buf();
    let space = tokio::task::spawn_blocking(move || room::space(&looked)).await?;
    space.map_err(|error| {
        Fault::host(format!("cannot look how much room {} has: {error}", path.display())).into()
    })
}

/// `None` where the ledger does not say when it was stopped.
fn stop_of(berth: &Berth) -> Option<Stopped> {
    Some((berth.id, berth.stop.as_ref()?.at))
}

fn resting(berth: &Berth, now: Timestamp, bytes: Option<u64>, waits: bool) -> Option<Resting> {
    let stop = berth.stop.as_ref()?;
    let is_locked = berth.lock.as_ref().is_some_and(|lock| lock.until > now);
    Some(Resting {
        id: berth.id,
        stopped_at: stop.at,
        kept_until: stop.kept_until,
        bytes,
        is_needed: is_locked || stop.kept || waits,
        release_at: stop.release_at,
    })
}
