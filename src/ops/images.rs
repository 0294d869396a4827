//! Base images: the catalogue, which of its images the engine has, and which of them berths can be made from.

use super::{Caller, Node, Progress, ProgressSender, image_pin};
use crate::engine::image::{ImageInfo, PullProgress};
use crate::engine::probe::{PROBE_LIMIT, Probe};
use crate::engine::registry;
use crate::error::{ErrorClass, Fault, class_of};
use crate::model::image::{ImageProbe, ProbedUser};
use crate::model::name::{check_account_name, check_image_name};
use crate::profile::{Catalogue, CatalogueImage, Pin, Profile, import_name};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// An image of the catalogue and what the engine has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView {
    pub name: String,
    pub reference: String,
    pub description: Option<String>,
    /// `null` while the engine does not have it.
    pub image_id: Option<String>,
    pub size_bytes: Option<u64>,
    /// Whether a request that names no image gets this one.
    pub default: bool,
    /// Whose it is, where somebody made it of a berth; `null` for the catalogue's.
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub made_at: Option<Timestamp>,
}

/// The arguments of `add`, `pull` and `import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    pub name: String,
    pub reference: Option<String>,
    pub description: Option<String>,
    pub sudo: bool,
}

/// The longest entrypoint, in bytes, that is given to the server inside.
const MOST_ENTRYPOINT: usize = 16 << 10;

/// An image that the engine has and that was probed.
pub(super) struct ReadyImage {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) sudo: bool,
    pub(super) users: Vec<String>,
    pub(super) image_user: Option<String>,
    /// The image's entrypoint; empty where it is longer than [`MOST_ENTRYPOINT`].
    pub(super) entrypoint: Vec<String>,
    user: ProbedUser,
}

impl ReadyImage {
    /// The account that sessions run as.
    pub(super) fn user(&self) -> &ProbedUser {
        &self.user
    }
}

/// The name of the image for requests that name none; `None` when the catalogue is empty.
fn default_image<'a>(profile: &'a Profile, catalogue: &'a Catalogue) -> Option<&'a str> {
    catalogue.default_name(profile.berth.default_image.as_deref())
}

impl Node {
    pub(super) async fn catalogue(&self) -> Result<Catalogue> {
        let (host, path) = (self.host(), self.settings().config.paths.images.clone());
        tokio::task::spawn_blocking(move || Catalogue::load(&*host, &path)).await?
    }

    /// The catalogue, and the images of berths that this caller may see.
    pub async fn images(&self, caller: &Caller) -> Result<Vec<ImageView>> {
        let (catalogue, engine) = (self.catalogue().await?, self.engine().await?);
        let mut views = Vec::new();
        for image in catalogue.images() {
            let info = match image_pin::look(&engine, image).await {
                Ok(info) => info,
                // People edit the catalogue: one wrong entry must not hide the others.
                Err(error) if class_of(&error) == ErrorClass::Usage => {
                    tracing::warn!(image = image.name, error = %crate::error::flatten(&error), "a catalogue entry is wrong");
                    None
                }
                Err(error) => return Err(error),
            };
            views.push(self.image_view(image, info.as_ref(), &catalogue));
        }
        views.extend(self.snapshot_views(caller).await?);
        Ok(views)
    }

    fn image_view(
        &self,
        image: &CatalogueImage,
        info: Option<&ImageInfo>,
        catalogue: &Catalogue,
    ) -> ImageView {
        ImageView {
            name: image.name.clone(),
            reference: image.reference.clone(),
            description: image.description.clone(),
            image_id: info.map(|info| info.id.clone()),
            size_bytes: info.map(|info| info.size),
            default: default_image(&self.settings().profile, catalogue) == Some(image.name.as_str()),
            owner: None,
            made_at: None,
        }
    }

    /// Requests that name no image get this one from now on.
    pub async fn set_default_image(&self, caller: &Caller, name: &str) -> Result<ImageView> {
        caller.require_admin("choosing the default image")?;
        let chosen = name.to_owned();
        self.edit_catalogue(move |catalogue| catalogue.set_default(&chosen)).await?;
        let text = format!("image {name} is what requests get that name none");
        let event = self.event("image.default", &caller.name, text);
        self.ledger(move |ledger| ledger.record(&event)).await?;
        let catalogue = self.catalogue().await?;
        let image = catalogue.resolve(name)?;
        let info = image_pin::look(&self.engine().await?, image).await?;
        Ok(self.image_view(image, info.as_ref(), &catalogue))
    }

    /// The image of a request. It is pulled when the engine does not have it, and probed once.
    pub(super) async fn ready_image(
        &self,
        profile: &Profile,
        named: Option<&str>,
        progress: &ProgressSender,
    ) -> Result<ReadyImage> {
        let catalogue = self.catalogue().await?;
        let name = match named {
            Some(name) => name.to_owned(),
            None => default_image(profile, &catalogue).map(str::to_owned).ok_or_else(no_default)?,
        };
        let image = match (catalogue.resolve(&name), named) {
            (Ok(image), _) => image.clone(),
            (Err(_), None) => return Err(lost_default(&name, &catalogue).into()),
            (Err(error), Some(_)) => return Err(error),
        };
        let engine = self.engine().await?;
        let info = match image_pin::look(&engine, &image).await? {
            Some(info) => info,
            None => self.fetch(&image, progress).await.map_err(|error| match class_of(&error) {
                ErrorClass::Docker => error.context(format!("image {name} is not on this node")),
                _ => error,
            })?,
        };
        self.pin_first_use(&image, &info).await;
        let users = image.users.clone().unwrap_or_else(|| profile.berth.users.clone());
        self.ready(name, info, (image.sudo, users), progress).await
    }

    /// An image that the engine has, once it was probed. An error where no session can run in it.
    pub(super) async fn ready(
        &self,
        name: String,
        info: ImageInfo,
        (sudo, users): (bool, Vec<String>),
        progress: &ProgressSender,
    ) -> Result<ReadyImage> {
        check_arch(&name, &info.arch)?;
        let probe = self.probe(&info, &users, progress).await?;
        let user = probe.user.ok_or_else(|| {
            let reason = probe.user_error.unwrap_or_else(|| "no account fits".into());
            Fault::docker(format!("image {name} has nobody to run a session as: {reason}"))
        })?;
        // The answer came out of the image, or was kept by a version that did not ask this.
        check_account_name(&user.name).map_err(|reason| Fault::docker(format!("image {name}: {reason}")))?;
        let image_user = Some(info.user).filter(|user| !user.is_empty());
        let entrypoint = bounded_entrypoint(info.entrypoint);
        Ok(ReadyImage { name, id: info.id, sudo, users, image_user, entrypoint, user })
    }

    pub(super) async fn pull(&self, reference: &str, progress: &ProgressSender) -> Result<ImageInfo> {
        let engine = self.engine().await?;
        progress.step(format!("pulling {reference}"));
        let host = self.host();
        let credentials = registry::credentials(&*host, &registry::credentials_file(), reference).await?;
        engine.pull(reference, credentials, |update| progress.send(layer(update))).await
    }

    /// What is in the image. The answer is stored by image id, because the content of an id never changes.
    pub(super) async fn probe(
        &self,
        info: &ImageInfo,
        users: &[String],
        progress: &ProgressSender,
    ) -> Result<ImageProbe> {
        // The same image under another rule has another answer.
        let key = format!("{} {} {}", info.id, users.join(","), info.user);
        let asked = key.clone();
        let kept = self.ledger(move |ledger| ledger.image_probe(&asked)).await?;
        if let Some(probe) = kept.and_then(|kept| serde_json::from_str(&kept).ok()) {
            return Ok(probe);
        }
        progress.step("looking into the image");
        let engine = self.engine().await?;
        let found = engine
            .probe(&Probe {
                image_id: &info.id,
                binary: &self.server,
                users,
                image_user: &info.user,
                instance: &self.instance,
                limit: PROBE_LIMIT,
            })
            .await?;
        let probe: ImageProbe = serde_json::from_value(found.clone())
            .map_err(|error| Fault::docker(format!("the look into the image is not understood: {error}")))?;
        let text = found.to_string();
        let now = self.now().wall;
        self.ledger(move |ledger| ledger.keep_image_probe(&key, &text, now)).await?;
        Ok(probe)
    }

    /// Writes an image into the catalogue; it need not be on the node yet.
    pub async fn add_image(&self, caller: &Caller, source: ImageSource) -> Result<ImageView> {
        caller.require_admin("adding an image")?;
        let reference = source
            .reference
            .clone()
            .ok_or_else(|| Fault::usage("say what Docker calls the image: registry/repository:tag"))?;
        // Looked at first: it says whether the reference is one.
        let info = self.engine().await?.inspect_image(&reference).await?;
        let pin = info.as_ref().map(|info| image_pin::pin_of(&reference, info));
        let entry = self.enter(caller, &source, &reference, None, pin).await?;
        let catalogue = self.catalogue().await?;
        Ok(self.image_view(&entry, info.as_ref(), &catalogue))
    }

    /// Pulls an image of the catalogue. A new name is added to the catalogue once its image is here. From then on
    /// the entry stands for what its tag names now.
    pub async fn pull_image(
        &self,
        caller: &Caller,
        source: ImageSource,
        progress: &ProgressSender,
    ) -> Result<ImageView> {
        caller.require_admin("pulling an image")?;
        check_image_name(&source.name).map_err(Fault::usage)?;
        let catalogue = self.catalogue().await?;
        let known = catalogue.images().iter().find(|image| image.name == source.name).cloned();
        let reference = match (&source.reference, &known) {
            (Some(asked), Some(known)) if *asked != known.reference => {
                return Err(Fault::refused(format!("image {} is {}", known.name, known.reference))
                    .help("choose another name, or remove that one first")
                    .into());
            }
            (Some(asked), _) => asked.clone(),
            (None, Some(known)) => known.reference.clone(),
            (None, None) => {
                return Err(Fault::usage(format!("image {} is not in the catalogue", source.name))
                    .help("berth image pull NAME REFERENCE adds it")
                    .into());
            }
        };
        if let Some(imported) = known.iter().find(|image| image.is_imported()) {
            return Err(image_pin::not_from_a_registry(imported).into());
        }
        self.check_catalogue_writable().await?;
        let info = self.pull(&reference, progress).await?;
        let pin = image_pin::pin_of(&reference, &info);
        let entry = match known {
            Some(entry) => {
                self.pin(&caller.name, &entry, &pin).await?;
                entry
            }
            None => self.enter(caller, &source, &reference, None, Some(pin)).await?,
        };
        let catalogue = self.catalogue().await?;
        Ok(self.image_view(&entry, Some(&info), &catalogue))
    }

    /// Makes an image from a root file system, or loads one from a `docker save` archive.
    pub async fn import_image(
        &self,
        caller: &Caller,
        source: ImageSource,
        path: &Path,
        progress: &ProgressSender,
    ) -> Result<ImageView> {
        caller.require_admin("importing an image")?;
        check_image_name(&source.name).map_err(Fault::usage)?;
        if self.catalogue().await?.images().iter().any(|image| image.name == source.name) {
            return Err(Fault::refused(format!("image {} is in the catalogue already", source.name))
                .help(format!("remove it first: berth image remove {}", source.name))
                .into());
        }
        let file = open_archive(path)?;
        self.check_catalogue_writable().await?;
        let reference = source.reference.clone().unwrap_or_else(|| import_name(&source.name));
        progress.step(format!("importing {}", path.file_name().unwrap_or(path.as_os_str()).display()));
        let total = file.metadata().map_or(0, |meta| meta.len());
        let info = self
            .engine()
            .await?
            .add_archive(file, &reference, tell_sent(progress, total))
            .await
            .with_context(|| format!("importing {}", path.display()))?;
        let from = Some(path.display().to_string());
        let pin = Some(Pin::Id(info.id.clone()));
        let entry = self.enter(caller, &source, &reference, from, pin).await?;
        let catalogue = self.catalogue().await?;
        Ok(self.image_view(&entry, Some(&info), &catalogue))
    }

    async fn enter(
        &self,
        caller: &Caller,
        source: &ImageSource,
        reference: &str,
        file: Option<String>,
        pin: Option<Pin>,
    ) -> Result<CatalogueImage> {
        let (digest, id) = match pin {
            Some(Pin::Digest(digest)) => (Some(digest), None),
            Some(Pin::Id(id)) => (None, Some(id)),
            None => (None, None),
        };
        let entry = CatalogueImage {
            name: source.name.clone(),
            reference: reference.to_owned(),
            description: source.description.clone(),
            sudo: source.sudo,
            users: None,
            source: file,
            digest,
            id,
        };
        let added = entry.clone();
        self.edit_catalogue(move |catalogue| catalogue.add(added)).await?;
        let event = self.event("image.added", &caller.name, format!("image {} is {reference}", entry.name));
        self.ledger(move |ledger| ledger.record(&event)).await?;
        Ok(entry)
    }

    /// An error where the catalogue's file cannot be written. To be called before a long upload or pull.
    async fn check_catalogue_writable(&self) -> Result<()> {
        let _editing = self.editing_catalogue.lock().await;
        let path = self.settings().config.paths.images.clone();
        let dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        tokio::task::spawn_blocking(move || crate::host::dirs::check_writable(&dir))
            .await?
            .context("checking that the catalogue of images can be written")
    }

    pub(super) async fn edit_catalogue(
        &self,
        edit: impl FnOnce(&mut Catalogue) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        // Read, change and write are one step: two edits at once would lose one.
        let _editing = self.editing_catalogue.lock().await;
        let mut catalogue = self.catalogue().await?;
        let host = self.host();
        tokio::task::spawn_blocking(move || {
            edit(&mut catalogue)?;
            catalogue.save(&*host)
        })
        .await?
    }

    /// Removes an image from the catalogue: the engine keeps it, and berths made from it go on. Where the catalogue
    /// has none of that name, it is one that the caller made of a berth, and is removed for good.
    pub async fn remove_image(&self, caller: &Caller, name: &str) -> Result<()> {
        if let Some(own) = &caller.user
            && let Some(snapshot) = self.named_snapshot(caller, own, name).await?
        {
            return self.remove_snapshot(caller, &snapshot.owner, &snapshot.name).await;
        }
        caller.require_admin("removing an image")?;
        let gone = name.to_owned();
        self.edit_catalogue(move |catalogue| {
            catalogue.resolve(&gone)?;
            catalogue.remove(&gone);
            Ok(())
        })
        .await?;
        let text = format!("image {name} is out of the catalogue; the engine still has it");
        let event = self.event("image.removed", &caller.name, text);
        self.ledger(move |ledger| ledger.record(&event)).await
    }
}

/// The entrypoint; empty where it is longer than [`MOST_ENTRYPOINT`].
pub(super) fn bounded_entrypoint(entrypoint: Vec<String>) -> Vec<String> {
    let is_short = entrypoint.iter().map(String::len).sum::<usize>() <= MOST_ENTRYPOINT;
    if is_short { entrypoint } else { Vec::new() }
}

/// Docker's name for this machine's architecture.
pub(super) fn node_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An error for an image of another architecture. An image that does not say its architecture is accepted.
fn check_arch(name: &str, arch: &str) -> Result<(), Fault> {
    if arch.is_empty() || arch == node_arch() {
        return Ok(());
    }
    Err(Fault::docker(format!("image {name} is for {arch}, this node is {}", std::env::consts::ARCH))
        .help(format!("pull or import the image's variant for {}", node_arch())))
}

fn no_default() -> Fault {
    Fault::usage("no image was named, and this node has none")
        .help("the catalogue is empty; an administrator adds one: berth image import FILE --name NAME")
}

/// The fault for a default image that is not in the catalogue.
fn lost_default(name: &str, catalogue: &Catalogue) -> Fault {
    let names: Vec<&str> = catalogue.images().iter().map(|image| image.name.as_str()).collect();
    let fault = Fault::usage(format!("no image was named, and the default {name:?} is not in the catalogue"));
    if names.is_empty() {
        return fault.help("an administrator adds it: berth image import FILE --name NAME");
    }
    fault.help(format!(
        "--image with one of: {}; an administrator chooses the default: berth image default NAME",
        names.join(", ")
    ))
}

fn open_archive(path: &Path) -> Result<std::fs::File> {
    if !path.is_absolute() {
        return Err(Fault::usage(format!("{} is not an absolute path", path.display())).into());
    }
    Ok(crate::host::files::open_regular(path)?)
}

/// Reports at intervals how much of an archive was sent to Docker. It does not report the end, because the next
/// step does.
fn tell_sent(progress: &ProgressSender, total: u64) -> impl FnMut(u64) + Send + 'static {
    const EVERY: u64 = 4 << 20;
    let (progress, mut next) = (progress.clone(), 0);
    move |sent| {
        if sent >= next && sent < total {
            next = sent + EVERY;
            progress.send(Progress::Layer {
                id: "archive".into(),
                status: "to Docker".into(),
                current: Some(sent),
                total: Some(total),
            });
        }
    }
}

fn layer(update: PullProgress) -> Progress {
    match update.layer {
        Some(id) => {
            Progress::Layer { id, status: update.status, current: update.current, total: update.total }
        }
        None => Progress::Step { text: update.status, ticket: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_tells_how_far_it_is_now_and_then() {
        let (sender, mut told) = tokio::sync::mpsc::channel(64);
        let mut sent = tell_sent(&ProgressSender::new(sender), 10 << 20);
        (0..=160).for_each(|chunk| sent(chunk << 16));
        drop(sent);
        let mut seen = Vec::new();
        while let Ok(Progress::Layer { current, total, .. }) = told.try_recv() {
            assert_eq!(total, Some(10 << 20));
            seen.extend(current);
        }
        assert_eq!(seen, [0, 4 << 20, 8 << 20]);
    }

    #[test]
    fn an_image_for_another_machine_is_refused() {
        assert!(check_arch("x", "").is_ok() && check_arch("x", node_arch()).is_ok());
        let fault = check_arch("x", "s390x").unwrap_err();
        assert!(fault.message.starts_with("image x is for s390x, this node is "), "{fault:?}");
        assert_eq!(fault.class, ErrorClass::Docker);
    }
}
