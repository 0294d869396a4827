//! Writes `lease.json` of live berths, from what the ledger says. It can be called at any time: a file that says
//! the same already is left as it is.

use super::Node;
use super::files::BerthDirs;
use crate::host::Host;
use crate::ledger::{LeaseNotes, Ledger};
use crate::model::lease_file::{LEASE_FILE, LEASE_SCHEMA, LeaseFile, Message};
use crate::model::notice::{About, Clock, Notice};
use crate::model::{Berth, BerthState};
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The berths whose file could not be written at the last try; this is reported once.
pub(super) type Unwritten = BTreeSet<i64>;

impl Node {
    /// Writes the files of all live berths that do not say what the ledger says. What the ledger has was decided
    /// before, so that no error here fails anything.
    pub(super) async fn write_lease_files(&self) {
        if let Err(error) = self.try_to_write_lease_files().await {
            let error = format!("{error:#}");
            tracing::warn!(error, "what berths say of their leases could not be written; it is tried again");
        }
    }

    async fn try_to_write_lease_files(&self) -> Result<()> {
        // Reading the ledger and writing the files are one step, or an older reading could be written last.
        let mut unwritten = self.writing_leases.lock().await;
        let files = self.lease_files().await?;
        let host = self.host();
        let places: Vec<(i64, PathBuf, LeaseFile)> =
            files.into_iter().map(|(id, file)| (id, BerthDirs::of(&self.berth_dir(id)).info, file)).collect();
        let failed = tokio::task::spawn_blocking(move || -> Vec<(i64, String)> {
            let write =
                |(id, info, file): &(i64, PathBuf, LeaseFile)| Some((*id, write(&*host, info, file).err()?));
            places.iter().filter_map(write).collect()
        })
        .await?;
        for (id, error) in failed.iter().filter(|(id, _)| !unwritten.contains(id)) {
            tracing::warn!(
                berth = id,
                error,
                "what it says of its lease could not be written; it is tried again"
            );
        }
        *unwritten = failed.into_iter().map(|(id, _)| id).collect();
        Ok(())
    }

    async fn lease_files(&self) -> Result<Vec<(i64, LeaseFile)>> {
        let storage = self.settings().profile.berth.storage_mount.clone();
        let utc_offset = self.wall_clock().utc_offset;
        self.ledger(move |ledger| {
            let live = ledger.standing_berths()?.into_iter().filter(|berth| berth.state == BerthState::Live);
            let (mut notes, mut messages) = (ledger.standing_notes()?, ledger.messages()?);
            let tickets = ledger.tickets()?;
            Ok(live
                .map(|berth| {
                    let waiting = tickets.iter().filter(|ticket| ticket.owner != berth.owner).count();
                    let (id, notes) = (berth.id, notes.remove(&berth.id).unwrap_or_default());
                    let file = file_of(berth, &notes, messages.remove(&id));
                    (id, LeaseFile { waiting, utc_offset, storage: storage.clone(), ..file })
                })
                .collect())
        })
        .await
    }

    /// The time, as the node's people read it.
    pub(super) fn wall_clock(&self) -> Clock {
        let now = self.now().wall;
        Clock { now, utc_offset: jiff::tz::TimeZone::system().to_offset(now).seconds() }
    }

    /// What the owner of this berth is told, for open terminals and `lease.json`.
    pub(super) fn notice(&self, berth: &Berth, notice: &Notice) -> String {
        notice.text(&About { owner: &berth.owner, name: &berth.name, clock: self.wall_clock() })
    }

    /// Tells the open terminals of a berth whose stop had been announced that its lease was renewed.
    pub(super) async fn tell_renewed(&self, berth: &Berth, until: Timestamp) -> Result<()> {
        let (id, at, text) = (berth.id, self.now().wall, self.notice(berth, &Notice::Renewed { until }));
        self.ledger(move |ledger: &Ledger| ledger.put_message(id, at, &text)).await
    }
}

fn file_of(berth: Berth, notes: &LeaseNotes, message: Option<Message>) -> LeaseFile {
    LeaseFile {
        schema: LEASE_SCHEMA,
        berth: berth.label(),
        cards: berth.cards,
        since: notes.live_at.unwrap_or(berth.created_at),
        until: berth.until,
        lease: berth.lease,
        stops_at: berth.stops_at,
        reason: notes.asked.map(|(_, _, reason)| reason),
        waiting: 0,
        storage: PathBuf::new(),
        utc_offset: 0,
        message,
    }
}

/// Writes one file, by another that takes its place: the directory is mounted into the container.
fn write(host: &dyn Host, info: &Path, file: &LeaseFile) -> Result<(), String> {
    let content = serde_json::to_vec_pretty(file).map_err(|error| error.to_string())?;
    let path = info.join(LEASE_FILE);
    if host.read(&path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    host.write_atomic(&path, &content, 0o644).map_err(|error| format!("writing {}: {error}", path.display()))
}
