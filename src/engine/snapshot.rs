//! Images made of containers: how large the layer is that a container wrote, and its commit as an image.

use super::client::{Engine, LONG, clean};
use super::image::ImageInfo;
use super::lifecycle::{checked, short};
use crate::error::Fault;
use anyhow::{Context as _, Result};
use bollard::models::ContainerConfig;
use bollard::query_parameters::{CommitContainerOptionsBuilder, InspectContainerOptionsBuilder};
use std::collections::HashMap;
use std::time::Duration;

/// How long a commit may take: the engine reads all of the layer and writes it anew.
const COMMIT: Duration = Duration::from_mins(30);

/// An image that is to be made of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSpec {
    pub repository: String,
    pub tag: String,
    /// Docker copies the labels and the environment of the container and drops none: what is to mean nothing in the
    /// image gets an empty value.
    pub labels: Vec<(String, String)>,
    pub empty_variables: Vec<String>,
}

impl Engine {
    /// How many bytes the container wrote on top of its image. The engine walks all of it.
    pub async fn layer_size(&self, id: &str) -> Result<Option<u64>> {
        let options = InspectContainerOptionsBuilder::default().size(true).build();
        let docker = self.docker();
        let found = self
            .call_optional(COMMIT, docker.inspect_container(checked(id)?, Some(options)))
            .await
            .with_context(|| format!("measuring what container {} wrote", short(id)))?;
        Ok(found.map(|found| u64::try_from(found.size_rw.unwrap_or(0)).unwrap_or(0)))
    }

    /// Makes an image of the container, which is paused meanwhile if it runs. Its mounts are not in the image.
    pub async fn commit(&self, id: &str, spec: &CommitSpec) -> Result<ImageInfo> {
        let options = CommitContainerOptionsBuilder::default()
            .container(checked(id)?)
            .repo(&spec.repository)
            .tag(&spec.tag)
            .pause(true)
            .build();
        let config = ContainerConfig {
            labels: Some(spec.labels.iter().cloned().collect::<HashMap<_, _>>()),
            env: Some(spec.empty_variables.iter().map(|name| format!("{name}=")).collect()),
            ..ContainerConfig::default()
        };
        let docker = self.docker();
        let doing = || format!("making an image of container {}", short(id));
        let made = self.call(COMMIT, docker.commit_container(options, config)).await.with_context(doing)?;
        self.inspect_image(&made.id).await?.ok_or_else(|| {
            Fault::docker(format!("Docker reported success, but there is no image {}", clean(&made.id)))
                .into()
        })
    }

    /// Every tag of this repository on the engine.
    pub async fn tags_of(&self, repository: &str) -> Result<Vec<String>> {
        let images =
            tokio::time::timeout(LONG, self.list_images()).await.map_err(|_| self.too_slow(LONG))??;
        let tags = images.iter().flat_map(|image| &image.tags);
        Ok(tags
            .filter_map(|name| name.strip_prefix(repository)?.strip_prefix(':').map(str::to_owned))
            .collect())
    }
}
