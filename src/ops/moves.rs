//! Makes the container of a stopped berth anew, for other cards, over the files that it has.
//!
//! Docker gives a container its devices when it is made. So there is a second container for a moment, and the two change
//! the directories with what was written in them: nothing is copied. Which directory is the berth's is told by its
//! inode, which is in the ledger before; whatever is interrupted, the container that has it is the berth's, and the other
//! one is removed.

use super::build::{self, container_name, is_its_container, next_name};
use super::{Node, ProgressSender, Survey};
use crate::engine::{Engine, OwnedContainer, Remade};
use crate::error::Fault;
use crate::host::{crash, exchange};
use crate::model::{Berth, CardId};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use tokio::task::block_in_place;

/// The container of a stopped berth.
pub(super) struct Kept {
    pub(super) id: String,
    /// The cards that it was made for.
    pub(super) cards: Vec<CardId>,
    /// Whether its files can go on in another one.
    pub(super) is_movable: bool,
}

impl Node {
    /// `None` where it is gone.
    pub(super) async fn kept(&self, berth: &Berth) -> Result<Option<Kept>> {
        let engine = self.engine().await?;
        let own = self.own_containers(&engine, berth).await?;
        let noted = own.into_iter().find(|own| berth.container_id.as_ref() == Some(&own.container_id));
        let Some(container) = noted else { return Ok(None) };
        let files = self.files(&engine, &container.container_id).await?;
        let cards = container.berth.map(|labels| labels.cards).unwrap_or_default();
        Ok(Some(Kept { id: container.container_id, cards, is_movable: files.is_some() }))
    }

    /// Makes the container anew for the cards that the berth has now. `survey` says which CPUs are near them.
    pub(super) async fn move_to_cards(
        &self,
        berth: &Berth,
        kept: &Kept,
        survey: &Survey,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        let engine = self.engine().await?;
        progress.step("making its container anew for other cards, over the files that it has");
        let (path, inode) = self.files(&engine, &kept.id).await?.ok_or_else(cannot_move)?;
        let remade = self.remade(berth, survey)?;
        let id = berth.id;
        self.ledger(move |ledger| ledger.begin_move(id, inode)).await?;
        crash::point("move.written");
        let next = engine.remake(&kept.id, &remade).await?;
        crash::point("move.made");
        let (next_path, _) = self.files(&engine, &next).await?.ok_or_else(cannot_move)?;
        // A container that runs has its directory mounted.
        for container in [&kept.id, &next] {
            if engine.inspect(container).await?.is_none_or(|state| state.running) {
                return Err(Fault::docker("somebody started or removed its container in the meantime").into());
            }
        }
        let exchanged = tokio::task::spawn_blocking(move || exchange::exchange(&path, &next_path)).await?;
        exchanged.context("handing the berth's files to its new container")?;
        crash::point("move.exchanged");
        self.settle_move(berth).await?;
        self.ledger_berth(id).await
    }

    fn remade(&self, berth: &Berth, survey: &Survey) -> Result<Remade> {
        let settings = self.settings();
        // Paths of the host may hang.
        block_in_place(|| {
            let devices = self.devices(&settings, berth)?;
            let cpuset = settings.profile.berth.cpus_near_cards.then(|| self.cpuset(berth, survey)).flatten();
            Ok(Remade {
                name: next_name(&self.instance, berth),
                labels: self.labels(berth).build(),
                env: build::environment(self.accel(), berth),
                groups: build::node_groups(&devices)?,
                devices,
                cpuset,
                memory: berth.memory,
                cpus: berth.cpus,
            })
        })
    }

    /// Completes a move that was begun, or takes it back where the files did not go.
    pub(super) async fn settle_move(&self, berth: &Berth) -> Result<()> {
        let id = berth.id;
        let Some(inode) = self.ledger(move |ledger| ledger.moving(id)).await? else { return Ok(()) };
        let engine = self.engine().await?;
        let own = self.own_containers(&engine, berth).await?;
        let mut with_files = None;
        for container in &own {
            let files = self.files(&engine, &container.container_id).await?;
            if files.is_some_and(|(_, found)| found == inode) {
                with_files = Some(container.clone());
            }
        }
        let Some(kept) = with_files else {
            return Err(Fault::host(format!(
                "no container of {} has the files that it had (inode {inode})",
                berth.label()
            ))
            .help(
                "nothing was removed; `docker ps --all` shows its containers, `berth release` gives them up",
            )
            .into());
        };
        let noted = kept.container_id.clone();
        self.ledger(move |ledger| ledger.note_container(id, &noted)).await?;
        crash::point("move.noted");
        for other in own.iter().filter(|other| other.container_id != kept.container_id) {
            engine.remove(&other.container_id, true).await?;
        }
        crash::point("move.removed");
        let name = container_name(&self.instance, berth);
        if kept.container_name != name {
            engine.rename(&kept.container_id, &name).await?;
        }
        crash::point("move.renamed");
        self.ledger(move |ledger| ledger.end_move(id)).await
    }

    async fn own_containers(&self, engine: &Engine, berth: &Berth) -> Result<Vec<OwnedContainer>> {
        let mut owned = engine.list_owned(&self.instance).await?;
        owned.retain(|owned| is_its_container(&self.instance, berth, owned));
        Ok(owned)
    }

    /// The directory with what was written in a container, and its inode.
    async fn files(&self, engine: &Engine, container: &str) -> Result<Option<(PathBuf, u64)>> {
        let Some(path) = engine.files_of(container).await? else { return Ok(None) };
        let looked = tokio::task::spawn_blocking(move || (exchange::inode(&path), path)).await?;
        // An engine whose files are elsewhere, as in a container of its own, is no fault.
        Ok(looked.0.ok().map(|inode| (looked.1, inode)))
    }
}

fn cannot_move() -> Fault {
    Fault::docker("the engine does not keep its containers' files in directories that can change places")
}
