//! Images that users make of their berths. They are their owner's alone, and named `OWNER/NAME` beside the
//! catalogue, whose names have no slash: none can stand in for an image of the node's.
//!
//! A row in the ledger comes first, then the image, then the row says which content it is. What a crash leaves is
//! removed by [`Node::settle_snapshots`]. Personal storage, keys and all else that is mounted is in no image.

use super::images::{ImageView, ReadyImage};
use super::ration::Act;
use super::{Caller, Node, ProgressSender, files};
use crate::engine::image::ImageInfo;
use crate::engine::snapshot::CommitSpec;
use crate::error::{Fault, flatten};
use crate::host::{crash, room};
use crate::ledger::{NewEvent, NewSnapshot, Snapshot, SnapshotBase, SnapshotError, SnapshotState};
use crate::model::name::{check_image_name, check_user_name};
use crate::model::{Berth, BerthState, Size};
use crate::profile::Profile;
use anyhow::Result;
use std::path::PathBuf;

/// What stays free on the file system of Docker's data, whatever users make.
const KEPT_FREE: Size = Size::gib(1);

impl Node {
    /// What Docker calls the snapshots of this agent, before the colon; after it comes their number.
    fn snapshot_repository(&self) -> String {
        format!("berth-snapshot-{}", self.instance)
    }

    fn snapshot_reference(&self, snapshot: &Snapshot) -> String {
        format!("{}:{}", self.snapshot_repository(), snapshot.id)
    }

    /// Makes an image of a live or stopped berth. A live one is paused meanwhile.
    pub async fn snapshot(
        &self,
        caller: &Caller,
        given: &str,
        name: &str,
        progress: &ProgressSender,
    ) -> Result<ImageView> {
        self.ration(caller, Act::Snapshot)?;
        check_image_name(name).map_err(Fault::usage)?;
        self.check_room().await?;
        let (_busy, berth) = self.marked(caller, given).await?;
        let container = self.container_to_copy(&berth).await?;
        if self.catalogue().await?.images().iter().any(|image| image.name == name) {
            return Err(Fault::refused(format!("image {name} is in the node's catalogue"))
                .help("choose another name")
                .into());
        }
        let base = self.base_of(&berth).await?;
        progress.step(format!("measuring what {} wrote", berth.label()));
        let size = self.check_disk_for(&berth, &container).await?;
        let most = self.settings().profile.berth.max_snapshots;
        let new = NewSnapshot { owner: berth.owner.clone(), name: name.to_owned(), berth: berth.id, base };
        let label = format!("{}/{name}", berth.owner);
        let begun = self.about(
            &berth,
            "image.snapshot-begun",
            &caller.name,
            format!("image {label} is made of {}", berth.label()),
        );
        let ledger = self.ledger_handle();
        let begun = tokio::task::spawn_blocking(move || ledger.begin_snapshot(&new, most, &begun)).await?;
        let snapshot = begun.map_err(refusal)?;
        crash::point("snapshot.begun");
        progress.step(format!("making image {label}, {size}; {} stands still meanwhile", berth.label()));
        match self.make_snapshot(&snapshot, &berth, &container, &caller.name).await {
            Ok(info) => Ok(self.snapshot_view(&snapshot, Some(&info))),
            Err(error) => {
                self.undo_snapshot(&snapshot, &flatten(&error).message).await;
                Err(error)
            }
        }
    }

    /// The container of a berth that stands, or an error.
    async fn container_to_copy(&self, berth: &Berth) -> Result<String> {
        let label = berth.label();
        if !matches!(berth.state, BerthState::Live | BerthState::Stopped) {
            let text = format!("{label} is {}, so that no image can be made of it now", berth.state);
            return Err(Fault::refused(text).into());
        }
        match self.container_state(berth).await? {
            Some(state) => Ok(state.id),
            None => Err(Fault::refused(format!(
                "{label}'s container is gone: there is nothing to make an image of"
            ))
            .into()),
        }
    }

    /// What is to be known of the image that the berth was made of.
    async fn base_of(&self, berth: &Berth) -> Result<SnapshotBase> {
        let image_id = berth.image_id.clone();
        let earlier = self.ledger(|ledger| ledger.snapshots(None)).await?;
        if let Some(earlier) = earlier.into_iter().find(|known| known.image_id.as_ref() == Some(&image_id)) {
            return Ok(earlier.base);
        }
        let engine = self.engine().await?;
        let info = engine.inspect_image(&image_id).await?.ok_or_else(|| {
            Fault::refused(format!("the image that {} was made of is gone from this node", berth.label()))
        })?;
        let catalogue = self.catalogue().await?;
        let entry = catalogue.images().iter().find(|image| image.name == berth.image);
        Ok(SnapshotBase {
            // An image that left the catalogue gives nobody more than it has to.
            sudo: entry.is_some_and(|entry| entry.sudo),
            users: entry.and_then(|entry| entry.users.clone()),
            image_user: info.user,
            entrypoint: super::images::bounded_entrypoint(info.entrypoint),
        })
    }

    /// How large the image will be. An error when it would fill the disk.
    async fn check_disk_for(&self, berth: &Berth, container: &str) -> Result<Size> {
        let engine = self.engine().await?;
        let size = Size(engine.layer_size(container).await?.unwrap_or(0));
        let Some(root) = engine.facts().await?.data_root.map(PathBuf::from) else { return Ok(size) };
        let looked = root.clone();
        let free = tokio::task::spawn_blocking(move || room::free_for_us(&looked)).await?;
        let free = free.map_err(|error| {
            Fault::host(format!("cannot look how much room {} has: {error}", root.display()))
        })?;
        check_fits(&berth.label(), size, Size(free), &root.display().to_string())?;
        Ok(size)
    }

    async fn make_snapshot(
        &self,
        snapshot: &Snapshot,
        berth: &Berth,
        container: &str,
        actor: &str,
    ) -> Result<ImageInfo> {
        let named = files::card_environment(self.accel(), &berth.cards).into_iter().map(|(name, _)| name);
        let spec = CommitSpec {
            repository: self.snapshot_repository(),
            tag: snapshot.id.to_string(),
            // A container of this image is another berth.
            labels: self.labels(berth).build().into_keys().map(|label| (label, String::new())).collect(),
            empty_variables: named
                .chain([files::NAME_VARIABLE.into(), files::OWNER_VARIABLE.into()])
                .collect(),
        };
        let info = self.engine().await?.commit(container, &spec).await?;
        crash::point("snapshot.made");
        let label = format!("{}/{}", snapshot.owner, snapshot.name);
        let text = format!("image {label} is made of {}: {}", berth.label(), info.id);
        let (id, image_id) = (snapshot.id, info.id.clone());
        let event = self.about(berth, "image.snapshot", actor, text);
        self.ledger(move |ledger| ledger.finish_snapshot(id, &image_id, &event)).await?;
        Ok(info)
    }

    async fn undo_snapshot(&self, snapshot: &Snapshot, why: &str) {
        let label = format!("{}/{}", snapshot.owner, snapshot.name);
        let text = format!("image {label} was not made: {why}");
        let event = self.about_snapshot(snapshot, "image.snapshot-failed", &Caller::agent().name, text);
        if let Err(error) = self.end_snapshot(snapshot, event).await {
            tracing::warn!(image = label, error = format!("{error:#}"), "it is removed later");
            self.reconcile_again().await;
        }
    }

    /// Removes its image, and then its row.
    async fn end_snapshot(&self, snapshot: &Snapshot, event: NewEvent) -> Result<()> {
        self.engine().await?.remove_image(&self.snapshot_reference(snapshot)).await?;
        crash::point("unsnapshot.removed");
        let id = snapshot.id;
        self.ledger(move |ledger| ledger.forget_snapshot(id, &event)).await
    }

    fn about_snapshot(&self, snapshot: &Snapshot, kind: &'static str, actor: &str, text: String) -> NewEvent {
        NewEvent { owner: Some(snapshot.owner.clone()), ..self.event(kind, actor, text) }
    }

    /// Removes one of one's own images, or anybody's for an administrator. Not while a berth is made of it.
    pub async fn remove_snapshot(&self, caller: &Caller, owner: &str, name: &str) -> Result<()> {
        let snapshot = self.visible_snapshot(caller, owner, name).await?;
        let snapshot = snapshot.ok_or_else(|| no_such_image(&format!("{owner}/{name}")))?;
        let label = format!("{owner}/{name}");
        let text = format!("image {label} is being removed");
        let (id, begun) = (snapshot.id, self.about_snapshot(&snapshot, "image.removing", &caller.name, text));
        if let Some(berth) = self.ledger(move |ledger| ledger.begin_snapshot_removal(id, &begun)).await? {
            return Err(Fault::refused(format!("berth {berth} is made of image {label}"))
                .help(format!("release that first: berth release {berth}"))
                .into());
        }
        crash::point("unsnapshot.written");
        let text = format!("image {label} is removed");
        let event = self.about_snapshot(&snapshot, "image.removed", &caller.name, text);
        if let Err(error) = self.end_snapshot(&snapshot, event).await {
            self.reconcile_again().await;
            return Err(error.context(format!("removing image {label}; it is tried again")));
        }
        Ok(())
    }

    /// A snapshot that is there and that this caller may see. What is somebody else's and what is not there are the
    /// same.
    async fn visible_snapshot(&self, caller: &Caller, owner: &str, name: &str) -> Result<Option<Snapshot>> {
        let is_own = caller.user.as_deref() == Some(owner);
        if !is_own && !caller.admin || check_user_name(owner).is_err() || check_image_name(name).is_err() {
            return Ok(None);
        }
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.ledger(move |ledger| ledger.snapshot(&owner, &name)).await
    }

    /// A snapshot that is ready, for its owner and administrators; for everybody else it is not there.
    pub(super) async fn own_snapshot(&self, caller: &Caller, owner: &str, name: &str) -> Result<Snapshot> {
        let found = self.visible_snapshot(caller, owner, name).await?;
        let ready = found.filter(|snapshot| snapshot.state == SnapshotState::Ready);
        Ok(ready.ok_or_else(|| no_such_image(&format!("{owner}/{name}")))?)
    }

    /// The snapshot that `--image` names in a request for `owner`: `OWNER/NAME`, or a `NAME` that the catalogue does
    /// not have.
    pub(super) async fn named_snapshot(
        &self,
        caller: &Caller,
        owner: &str,
        named: &str,
    ) -> Result<Option<Snapshot>> {
        let (whose, name) = match named.split_once('/') {
            Some(parts) => parts,
            None if self.catalogue().await?.images().iter().any(|image| image.name == named) => {
                return Ok(None);
            }
            None => (owner, named),
        };
        let found = self.visible_snapshot(caller, whose, name).await?;
        match found.filter(|snapshot| snapshot.state == SnapshotState::Ready) {
            Some(snapshot) => Ok(Some(snapshot)),
            None if named.contains('/') => Err(no_such_image(named).into()),
            None => Ok(None),
        }
    }

    /// The image of a request that named a snapshot.
    pub(super) async fn ready_snapshot(
        &self,
        profile: &Profile,
        snapshot: Snapshot,
        progress: &ProgressSender,
    ) -> Result<ReadyImage> {
        let label = format!("{}/{}", snapshot.owner, snapshot.name);
        let (info, users) = self.snapshot_content(profile, &snapshot).await?;
        self.ready(label, info, (snapshot.base.sudo, users), progress).await
    }

    /// What the engine has of a snapshot, and the accounts that a session may run as.
    pub(super) async fn snapshot_content(
        &self,
        profile: &Profile,
        snapshot: &Snapshot,
    ) -> Result<(ImageInfo, Vec<String>)> {
        let gone = || {
            let label = format!("{}/{}", snapshot.owner, snapshot.name);
            Fault::refused(format!("image {label} is gone from this node, and no registry has it"))
                .help(format!("berth image remove {label}"))
        };
        let id = snapshot.image_id.as_ref().ok_or_else(gone)?;
        let info = self.engine().await?.inspect_image(id).await?.ok_or_else(gone)?;
        let base = snapshot.base.clone();
        // In the image are those of berth's own server.
        let info = ImageInfo { user: base.image_user, entrypoint: base.entrypoint, ..info };
        Ok((info, base.users.unwrap_or_else(|| profile.berth.users.clone())))
    }

    /// The snapshots that this caller may see.
    pub(super) async fn snapshot_views(&self, caller: &Caller) -> Result<Vec<ImageView>> {
        let owner = caller.sees_only().map(str::to_owned);
        let snapshots = self.ledger(move |ledger| ledger.snapshots(owner.as_deref())).await?;
        let engine = self.engine().await?;
        let mut views = Vec::new();
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Ready) {
            let info = match &snapshot.image_id {
                Some(id) => engine.inspect_image(id).await?,
                None => None,
            };
            views.push(self.snapshot_view(snapshot, info.as_ref()));
        }
        Ok(views)
    }

    fn snapshot_view(&self, snapshot: &Snapshot, info: Option<&ImageInfo>) -> ImageView {
        ImageView {
            name: format!("{}/{}", snapshot.owner, snapshot.name),
            reference: self.snapshot_reference(snapshot),
            description: Some(format!(
                "of berth {}/{}, image {}",
                snapshot.owner, snapshot.berth, snapshot.image
            )),
            image_id: info.map(|info| info.id.clone()),
            size_bytes: info.map(|info| info.size),
            default: false,
            owner: Some(snapshot.owner.clone()),
            made_at: Some(snapshot.made_at),
        }
    }

    /// Ends what was interrupted: an image that was being made, one that was being removed, and one that the ledger
    /// does not know.
    pub(super) async fn settle_snapshots(&self) -> Result<()> {
        let known = self.ledger(|ledger| ledger.snapshots(None)).await?;
        for snapshot in known.iter().filter(|snapshot| snapshot.state != SnapshotState::Ready) {
            // Who makes one has its berth marked.
            let Some(_busy) = self.busy.enter(snapshot.berth_id) else { continue };
            let id = snapshot.id;
            let Some(now) = self.ledger(move |ledger| ledger.snapshot_by_id(id)).await? else { continue };
            match now.state {
                SnapshotState::Ready => {}
                SnapshotState::Making => self.undo_snapshot(&now, "the agent was interrupted").await,
                SnapshotState::Removing => {
                    let text = format!("image {}/{} is removed", now.owner, now.name);
                    let event = self.about_snapshot(&now, "image.removed", &Caller::agent().name, text);
                    self.end_snapshot(&now, event).await?;
                }
            }
        }
        self.remove_unknown_snapshots().await
    }

    /// The engine may complete a commit after the agent that asked for it has died.
    async fn remove_unknown_snapshots(&self) -> Result<()> {
        let (engine, repository) = (self.engine().await?, self.snapshot_repository());
        for tag in engine.tags_of(&repository).await? {
            let Ok(id) = tag.parse::<i64>() else { continue };
            if self.ledger(move |ledger| ledger.snapshot_by_id(id)).await?.is_none() {
                tracing::info!(image = format!("{repository}:{tag}"), "removing an image that nobody has");
                engine.remove_image(&format!("{repository}:{tag}")).await?;
            }
        }
        Ok(())
    }
}

fn refusal(error: SnapshotError) -> Fault {
    let text = error.to_string();
    match error {
        SnapshotError::Ledger(fault) => fault,
        SnapshotError::NameTaken { owner, name } => Fault::refused(text)
            .help(format!("choose another name, or remove that one: berth image remove {owner}/{name}")),
        SnapshotError::TooMany { most: 0, .. } => {
            Fault::refused("this node lets nobody make images of berths (berth.max-snapshots is 0)")
        }
        SnapshotError::TooMany { owner, names, .. } => {
            let oldest = names.first().map_or("NAME", String::as_str);
            Fault::refused(text).help(format!("remove one: berth image remove {owner}/{oldest}"))
        }
    }
}

fn no_such_image(named: &str) -> Fault {
    let shown: String = named.chars().take(80).collect();
    Fault::usage(format!("there is no image {shown:?}")).help("`berth image list` shows those there are")
}

fn check_fits(label: &str, size: Size, free: Size, root: &str) -> Result<(), Fault> {
    if size.0.checked_add(KEPT_FREE.0).is_some_and(|needed| needed <= free.0) {
        return Ok(());
    }
    Err(Fault::host(format!(
        "an image of {label} takes {size}, and {root} has {free} free, of which {KEPT_FREE} stay free"
    ))
    .help("remove what nobody needs: files in the berth outside its personal storage, or images"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn an_image_that_would_fill_the_disk_is_refused_with_numbers() {
        let check = |size, free| check_fits("alice/dev", size, free, "/var/lib/docker");
        assert!(check(Size::gib(3), Size::gib(4)).is_ok() && check(Size(0), Size::gib(1)).is_ok());
        let fault = check(Size::gib(3), Size::mib(3584)).unwrap_err();
        assert_eq!(fault.class, ErrorClass::Host);
        assert_eq!(
            fault.message,
            "an image of alice/dev takes 3GiB, and /var/lib/docker has 3.5GiB free, of which 1GiB stay free"
        );
        assert!(check(Size(u64::MAX), Size(u64::MAX)).is_err());
    }

    #[test]
    fn who_has_too_many_hears_which() {
        let many = |names: &[&str], most| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            refusal(SnapshotError::TooMany { owner: "alice".into(), names, most })
        };
        let fault = many(&["a", "b"], 2);
        assert_eq!(fault.message, "alice has 2 of 2 images: a, b");
        assert_eq!(fault.help.as_deref(), Some("remove one: berth image remove alice/a"));
        assert!(many(&[], 0).message.contains("max-snapshots is 0"));
    }
}
