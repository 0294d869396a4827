//! Full file systems: existing berths go on, and users and administrators are told why no new one can be made.

use super::{Caller, Node};
use crate::error::Fault;
use crate::host::room;
use crate::model::{FullPlace, Kept};
use anyhow::Result;
use std::path::Path;
use std::sync::PoisonError;

impl Node {
    /// The places that were full at the last look. It answers from memory, because a file system may hang.
    pub fn full_places(&self) -> Vec<FullPlace> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error when a file system is full, so that nothing is begun that could not be completed.
    pub(super) async fn check_room(&self) -> Result<()> {
        let state = self.settings().config.paths.state.clone();
        let full = tokio::task::spawn_blocking(move || state_place(&state)).await?;
        match full {
            Some(full) => Err(Fault::host(full.to_string()).help(full.help()).into()),
            None => Ok(()),
        }
    }

    /// Looks at the file systems. Reports once that one is full, and once that it no longer is.
    pub async fn look_at_room(&self) -> Result<()> {
        let paths = self.settings().config.paths.clone();
        let (storage, state) = (paths.storage, paths.state);
        let looking = tokio::task::spawn_blocking(move || [storage_place(&storage), state_place(&state)]);
        let now: Vec<FullPlace> = looking.await?.into_iter().flatten().collect();
        let before = {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *full, now.clone())
        };
        if !now.iter().any(|full| full.kept == Kept::State) {
            // What could not be kept while it was full, or was used up since.
            self.ledger(crate::ledger::Ledger::keep_room).await?;
        }
        let begun =
            now.iter().filter(|full| !before.contains(full)).map(|full| ("disk.full", full.to_string()));
        let over = before.iter().filter(|full| !now.contains(full)).map(|full| ("disk.room", full.over()));
        for (kind, text) in begun.chain(over).collect::<Vec<_>>() {
            tracing::warn!("{text}");
            let event = self.event(kind, &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        Ok(())
    }
}

fn storage_place(path: &Path) -> Option<FullPlace> {
    place(Kept::Storage, path, room::is_full_for_users)
}

fn state_place(path: &Path) -> Option<FullPlace> {
    place(Kept::State, path, room::is_full_for_us)
}

/// The place, if its file system is full. `None` also where it cannot be looked at: whoever needs it reports that.
fn place(kept: Kept, path: &Path, is_full: fn(&Path) -> std::io::Result<bool>) -> Option<FullPlace> {
    let full = || FullPlace { kept, path: path.to_path_buf(), file_system: room::file_system_of(path) };
    is_full(path).unwrap_or(false).then(full)
}
