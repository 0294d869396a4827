//! Base images in the engine: inspect, list, pull, import, load, remove. The catalogue decides which of them users
//! may have.

use super::archive::ArchiveKind;
use super::client::{Engine, LONG, SHORT, clean};
use super::registry::{checked, repository, split_tag, with_tag};
use crate::error::Fault;
use anyhow::{Context as _, Result};
use bollard::auth::DockerCredentials;
use bollard::body_try_stream;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptions, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// A pull or an upload without progress for this long has failed.
const STALLED: Duration = Duration::from_mins(5);
const CHUNK: usize = 256 << 10;
const MAX_LOADED: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    pub id: String,
    pub tags: Vec<String>,
    /// `repository@sha256:…`: the names under which registries have this very content.
    pub digests: Vec<String>,
    pub size: u64,
    /// The image's `USER`: a name, a number, or `user:group`. Empty means root.
    pub user: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// Docker's word: amd64, arm64.
    pub arch: String,
    pub created: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedImage {
    pub id: String,
    pub tags: Vec<String>,
    pub size: u64,
}

/// One layer's state, or the whole pull's when it names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    pub layer: Option<String>,
    pub status: String,
    pub current: Option<u64>,
    pub total: Option<u64>,
}

impl ImageInfo {
    /// The digest under which this reference's repository has the image; `None` for an image that was made on this
    /// node.
    pub fn digest_in(&self, reference: &str) -> Option<String> {
        let wanted = repository(reference);
        self.digests.iter().find_map(|known| {
            let (name, digest) = known.split_once('@')?;
            (repository(name) == wanted).then(|| digest.to_owned())
        })
    }
}

impl Engine {
    /// `None` when there is no such image here.
    pub async fn inspect_image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        let docker = self.docker();
        let found = self
            .call_optional(SHORT, docker.inspect_image(checked(reference)?))
            .await
            .with_context(|| format!("inspecting image {reference}"))?;
        Ok(found.map(info_of))
    }

    /// Every image that has a name.
    pub async fn list_images(&self) -> Result<Vec<ListedImage>> {
        let docker = self.docker();
        let listed =
            self.call(LONG, docker.list_images(None::<ListImagesOptions>)).await.context("listing images")?;
        let mut images: Vec<ListedImage> = listed
            .into_iter()
            .map(|image| ListedImage {
                id: image.id,
                tags: image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect(),
                size: u64::try_from(image.size).unwrap_or(0),
            })
            .filter(|image| !image.tags.is_empty())
            .collect();
        images.sort_by(|a, b| a.tags.cmp(&b.tags));
        Ok(images)
    }

    /// Pulls the image and returns it. An error unless Docker's stream ended and said that it succeeded.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<DockerCredentials>,
        mut progress: impl FnMut(PullProgress) + Send,
    ) -> Result<ImageInfo> {
        let doing = || format!("pulling {reference}");
        let reference = with_tag(checked(reference)?);
        let docker = self.docker();
        let options = CreateImageOptionsBuilder::default().from_image(&reference).build();
        let stream = docker.create_image(Some(options), None, credentials);
        let mut succeeded = false;
        self.drain(stream, |message| {
            let update = progress_of(message);
            // Docker's last word: "Status: Downloaded newer image for …" or "Status: Image is up to date for …".
            succeeded |= update.layer.is_none() && update.status.starts_with("Status: ");
            progress(update);
        })
        .await
        .map_err(|fault| explain(&reference, fault))
        .with_context(doing)?;
        if !succeeded {
            return Err(Fault::docker("Docker ended the pull without saying that it succeeded"))
                .with_context(doing);
        }
        self.present(&reference).await
    }

    /// Makes an image named `reference` from the tar of a root file system. The tar is streamed, never held in
    /// memory.
    pub async fn import_rootfs(
        &self,
        tar: std::fs::File,
        reference: &str,
        sent: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImageInfo> {
        let (repo, tag) = split_tag(reference)?;
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(&repo).tag(&tag).build();
        let docker = self.docker();
        let stream = docker.create_image(Some(options), Some(body_try_stream(chunks(tar, sent))), None);
        self.drain(stream, |_| {})
            .await
            .with_context(|| format!("importing a root file system as {reference}"))?;
        self.present(&format!("{repo}:{tag}")).await
    }

    /// Loads what `docker save` wrote and returns the references, or ids, of the images in it.
    pub async fn load(
        &self,
        tar: std::fs::File,
        sent: impl FnMut(u64) + Send + 'static,
    ) -> Result<Vec<String>> {
        let docker = self.docker();
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let stream = docker.import_image_stream(options, chunks(tar, sent), None);
        let mut text = String::new();
        self.drain(stream, |message| text.push_str(message.stream.as_deref().unwrap_or_default()))
            .await
            .context("loading images")?;
        let loaded = loaded_from(&text);
        if loaded.is_empty() {
            return Err(Fault::docker("Docker found no image in the archive").into());
        }
        Ok(loaded)
    }

    /// Imports or loads the archive, depending on its kind. A saved archive of one image gets the name `reference`
    /// besides its own. `sent` is told how many bytes Docker has taken.
    pub async fn add_archive(
        &self,
        mut tar: std::fs::File,
        reference: &str,
        sent: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImageInfo> {
        checked(reference)?;
        let looked =
            tokio::task::spawn_blocking(move || super::archive::detect(&mut tar).map(|kind| (kind, tar)));
        let (kind, tar) = looked.await.context("looking into the image archive")??;
        if kind == ArchiveKind::RootFs {
            return self.import_rootfs(tar, reference, sent).await;
        }
        let loaded = self.load(tar, sent).await?;
        match loaded.as_slice() {
            [one] => self.tag(one, reference).await,
            many => {
                Err(Fault::usage(format!("the archive holds {} images: {}", many.len(), many.join(", ")))
                    .help("they are loaded; add each one to the catalogue by its reference")
                    .into())
            }
        }
    }

    /// Gives an image a further name.
    pub async fn tag(&self, image: &str, reference: &str) -> Result<ImageInfo> {
        let (repo, tag) = split_tag(reference)?;
        let options =
            bollard::query_parameters::TagImageOptionsBuilder::default().repo(&repo).tag(&tag).build();
        let docker = self.docker();
        self.call(SHORT, docker.tag_image(checked(image)?, Some(options)))
            .await
            .with_context(|| format!("naming {image} {reference}"))?;
        self.present(&format!("{repo}:{tag}")).await
    }

    /// Removes the image. No error when it is absent; Docker refuses while a container uses it.
    pub async fn remove_image(&self, reference: &str) -> Result<()> {
        let docker = self.docker();
        let options = RemoveImageOptionsBuilder::default().build();
        self.call_optional(LONG, docker.remove_image(checked(reference)?, Some(options), None))
            .await
            .with_context(|| format!("removing image {reference}"))?;
        Ok(())
    }

    async fn present(&self, reference: &str) -> Result<ImageInfo> {
        self.inspect_image(reference).await?.ok_or_else(|| {
            Fault::docker(format!("Docker reported success, but there is no image {reference}")).into()
        })
    }

    /// Reads a stream of messages to its end. Fails at an error message in it, and after [`STALLED`] without a
    /// message.
    async fn drain<T>(
        &self,
        stream: impl Stream<Item = Result<T, Error>>,
        mut each: impl FnMut(T),
    ) -> Result<(), Fault> {
        let mut stream = std::pin::pin!(stream);
        loop {
            match tokio::time::timeout(STALLED, stream.next()).await {
                Ok(Some(Ok(message))) => each(message),
                Ok(Some(Err(error))) => return Err(self.fault(&error)),
                Ok(None) => return Ok(()),
                Err(_) => return Err(self.too_slow(STALLED)),
            }
        }
    }
}

/// The file, chunk by chunk, as Docker takes it.
fn chunks(
    file: std::fs::File,
    sent: impl FnMut(u64) + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(
        (tokio::fs::File::from_std(file), sent, 0),
        |(mut file, mut sent, before)| async move {
            // It is asked for the next when the last was taken.
            sent(before);
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
            Ok((read > 0).then(|| (Bytes::from(chunk), (file, sent, before + read as u64))))
        },
    )
}

fn progress_of(message: CreateImageInfo) -> PullProgress {
    let detail = message.progress_detail.unwrap_or_default();
    let count =
        |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0);
    let status = clean(&message.status.unwrap_or_default());
    // "v1: Pulling from …" carries the tag where layers carry their id.
    let layer = message.id.map(|id| clean(&id)).filter(|_| !status.starts_with("Pulling from"));
    PullProgress { layer, status, current: count(detail.current), total: count(detail.total) }
}

/// The images in Docker's answer to a load: lines such as `Loaded image: name:tag` and `Loaded image ID: sha256:…`.
fn loaded_from(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: "))
        })
        .map(|reference| reference.trim().to_owned())
        .filter(|reference| checked(reference).is_ok())
        .take(MAX_LOADED)
        .collect()
}

/// Adds to a fault of a registry what the reader can do about it, by Docker's message.
fn explain(reference: &str, fault: Fault) -> Fault {
    let server = super::registry::server_of(reference);
    let said = fault.message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let help = if has(&[
        "unauthorized",
        "no basic auth",
        "access denied",
        "authentication required",
        "denied:",
    ]) {
        format!("log in as root, then pull again: docker login {server}")
    } else if has(&["manifest unknown", "not found", "name unknown", "does not exist"]) {
        "look at its name and tag: the registry has no such image".to_owned()
    } else if has(&[
        "no such host",
        "connection refused",
        "timeout",
        "deadline exceeded",
        "no route",
        "unreachable",
        "x509",
        "tls",
        "eof",
        "gave http response",
    ]) {
        format!(
            "the registry {server} cannot be reached from this node; look at DNS, proxy and certificates, or import the image from a file"
        )
    } else if has(&["no space left"]) {
        "free space on the disk of Docker's data directory".to_owned()
    } else {
        return fault;
    };
    fault.help(help)
}

fn info_of(image: ImageInspect) -> ImageInfo {
    let config = image.config.unwrap_or_default();
    ImageInfo {
        id: image.id.unwrap_or_default(),
        tags: image.repo_tags.unwrap_or_default(),
        digests: image.repo_digests.unwrap_or_default(),
        size: u64::try_from(image.size.unwrap_or(0)).unwrap_or(0),
        user: config.user.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        arch: image.architecture.unwrap_or_default(),
        created: image.created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_images_are_read_from_dockers_text() {
        let text = "Loaded image: a/b:1\nLoaded image ID: sha256:00ff\nother\nLoaded image: ../x\n";
        assert_eq!(loaded_from(text), ["a/b:1", "sha256:00ff"]);
    }

    #[test]
    fn a_digest_counts_for_its_own_repository() {
        let info = info_of(ImageInspect {
            repo_digests: Some(vec![
                "other@sha256:00".into(),
                "ubuntu@sha256:11".into(),
                "r:5000/a/b@sha256:22".into(),
            ]),
            ..ImageInspect::default()
        });
        for (reference, digest) in [
            ("ubuntu:22.04", Some("sha256:11")),
            ("docker.io/library/ubuntu", Some("sha256:11")),
            ("r:5000/a/b:1", Some("sha256:22")),
            ("r:5000/a/b@sha256:22", Some("sha256:22")),
            ("r:5000/a/c:1", None),
        ] {
            assert_eq!(info.digest_in(reference).as_deref(), digest, "{reference}");
        }
    }

    #[test]
    fn registry_troubles_say_what_to_do() {
        for (said, help) in [
            ("Head \"http://r:1/v2/a/manifests/1\": no basic auth credentials", "docker login r:1"),
            ("manifest for r:1/a:1 not found: manifest unknown", "name and tag"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached"),
        ] {
            let fault = explain("r:1/a:1", Fault::docker(said));
            assert!(fault.help.clone().unwrap().contains(help), "{fault:?}");
            assert_eq!(fault.message, said);
        }
        assert_eq!(explain("a", Fault::docker("odd")).help, None);
    }
}
