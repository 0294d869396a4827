//! Undoes a berth: removes its container first, and ends its claim only when the container is gone.

use super::Node;
use super::build::is_its_container;
use crate::ledger::NewEvent;
use crate::model::{Berth, BerthState};
use anyhow::{Context, Result};

impl Node {
    /// Removes the berth's container, even one that the ledger has not noted: when Docker's answer to a create was
    /// lost, such a container exists.
    pub(super) async fn remove_containers(&self, berth: &Berth, stop_first: bool) -> Result<()> {
        let engine = self.engine().await?;
        let owned = engine.list_owned(&self.instance).await?;
        for container in owned.iter().filter(|owned| is_its_container(&self.instance, berth, owned)) {
            if stop_first && container.running {
                engine.stop(&container.container_id, super::release::STOP_SECONDS).await?;
            }
            engine.remove(&container.container_id, true).await?;
        }
        // Whoever gets its address next is somebody else.
        self.try_to_keep_apart().await;
        Ok(())
    }

    /// Records that nothing of the berth is left, and frees its cards. Personal storage is never touched.
    pub(super) async fn end(
        &self,
        berth: &Berth,
        state: BerthState,
        note: &str,
        event: NewEvent,
    ) -> Result<()> {
        self.remove_files(berth).await?;
        let (id, note) = (berth.id, note.to_owned());
        self.ledger(move |ledger| ledger.end(id, state, &note, &event)).await?;
        self.tell_freed();
        tracing::info!(berth = format!("{}/{}", berth.owner, berth.name), %state, "ended");
        Ok(())
    }

    /// Removes what the agent has of it on the disk; personal storage is elsewhere.
    pub(super) async fn remove_files(&self, berth: &Berth) -> Result<()> {
        let dir = self.berth_dir(berth.id);
        let host = self.host();
        let _writing = self.writing_keys.lock().await;
        tokio::task::spawn_blocking(move || host.remove(&dir))
            .await?
            .with_context(|| format!("removing the files of berth {}", berth.label()))
    }

    /// Removes all that a failed request made. While Docker does not answer, the intent stays, so that the cards
    /// are not given out while a container may have them. The reconciler completes it when Docker is back.
    pub(super) async fn undo(&self, berth: &Berth, actor: &str, why: &str) {
        let label = format!("{}/{}", berth.owner, berth.name);
        let event = self.about(berth, "berth.undone", actor, format!("{label} was undone: {why}"));
        let undone = match self.remove_containers(berth, false).await {
            Ok(()) => self.end(berth, BerthState::Undone, why, event).await,
            Err(error) => Err(error),
        };
        self.leave_to_reconciler(berth, undone).await;
    }

    /// The same for a request that waited without a connection: it waits again, at its place.
    pub(super) async fn undo_to_wait(&self, berth: &Berth, why: &str) {
        let undone = match self.remove_containers(berth, false).await {
            Ok(()) => self.end_cut(berth, why).await,
            Err(error) => Err(error),
        };
        self.leave_to_reconciler(berth, undone).await;
    }

    async fn leave_to_reconciler(&self, berth: &Berth, undone: Result<()>) {
        if let Err(error) = undone {
            tracing::warn!(
                berth = berth.label(),
                error = format!("{error:#}"),
                "could not be undone now; its cards stay reserved until the reconciler can"
            );
            self.reconcile_again().await;
        }
    }

    /// An event about a berth.
    pub(super) fn about(&self, berth: &Berth, kind: &'static str, actor: &str, text: String) -> NewEvent {
        NewEvent {
            owner: Some(berth.owner.clone()),
            berth: Some(berth.name.clone()),
            ..self.event(kind, actor, text)
        }
    }
}
