//! Gives a berth another name. The ledger has it first; then its files and its container follow.
//!
//! Docker cannot change the labels and the hostname of a container: both keep the name that it was made with. The
//! container is recognised by its id.

use super::build::container_name;
use super::ration::Act;
use super::{Caller, Node, files};
use crate::engine::OwnedContainer;
use crate::error::Fault;
use crate::host::crash;
use crate::ledger::ClaimError;
use crate::model::{Berth, BerthState, name};
use anyhow::Result;

impl Node {
    pub async fn rename_berth(&self, caller: &Caller, given: &str, new: &str) -> Result<Berth> {
        self.ration(caller, Act::Rename)?;
        name::check_name("berth name", new).map_err(Fault::usage)?;
        let (_busy, berth) = self.marked(caller, given).await?;
        if berth.name == new {
            return Ok(berth);
        }
        if !matches!(berth.state, BerthState::Live | BerthState::Stopped) {
            let text = format!("{} is {} and cannot be renamed", berth.label(), berth.state);
            return Err(Fault::refused(text).into());
        }
        let text = format!("{} is called {}/{new} from now on", berth.label(), berth.owner);
        let mut event = self.about(&berth, "berth.renamed", &caller.name, text);
        event.berth = Some(new.to_owned());
        let (ledger, chosen) = (self.ledger_handle(), new.to_owned());
        let renamed = tokio::task::spawn_blocking(move || ledger.rename(&berth, &chosen, &event)).await?;
        let renamed = renamed.map_err(|error| match error {
            ClaimError::Ledger(fault) => fault,
            other => Fault::refused(other.to_string()).help("choose another name, or release that one"),
        })?;
        crash::point("rename.written");
        if let Err(error) = self.follow_rename(&renamed).await {
            // Nothing but names waits for it.
            tracing::warn!(
                berth = renamed.label(),
                error = format!("{error:#}"),
                "its container still has its earlier name; it is tried again"
            );
            self.reconcile_again().await;
        }
        Ok(renamed)
    }

    /// Writes the berth's name into its files, and then renames its container, whose name so says whether all of it
    /// is done.
    async fn follow_rename(&self, berth: &Berth) -> Result<()> {
        let Some(container) = berth.container_id.clone() else { return Ok(()) };
        let (host, dir, renamed) = (self.host(), self.berth_dir(berth.id), berth.clone());
        tokio::task::spawn_blocking(move || files::rename(&*host, &dir, &renamed)).await??;
        crash::point("rename.files-written");
        self.engine().await?.rename(&container, &container_name(&self.instance, berth)).await
    }

    /// Completes a rename that was interrupted.
    pub(super) async fn finish_rename(&self, id: i64, container: &OwnedContainer) -> Result<()> {
        // Whoever changes the berth may give its container a name of another kind.
        let Some(_busy) = self.busy.enter(id) else { return Ok(()) };
        let berth = self.ledger_berth(id).await?;
        let is_its = berth.container_id.as_ref() == Some(&container.container_id);
        let stands = matches!(berth.state, BerthState::Live | BerthState::Stopped);
        if !is_its || !stands {
            return Ok(());
        }
        // Since the containers were listed it may have got its name.
        match self.container_state(&berth).await? {
            Some(state) if state.name != container_name(&self.instance, &berth) => {
                self.follow_rename(&berth).await
            }
            _ => Ok(()),
        }
    }
}
