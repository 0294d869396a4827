//! What an engine has: containers, those that run, images. It decides nothing.

use super::client::{Engine, SHORT};
use super::labels::name_of;
use anyhow::{Context as _, Result};
use bollard::models::ContainerSummaryStateEnum as State;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub id: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub running: Vec<Named>,
    /// Ids of all containers, running or not.
    pub containers: Vec<String>,
    /// Ids of images, those between layers left out.
    pub images: Vec<String>,
}

impl Engine {
    pub async fn inventory(&self) -> Result<Inventory> {
        let docker = self.docker();
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let listed =
            self.call(SHORT, docker.list_containers(Some(all))).await.context("listing containers")?;
        let images = ListImagesOptionsBuilder::default().all(false).build();
        let images = self.call(SHORT, docker.list_images(Some(images))).await.context("listing images")?;
        let mut found = Inventory::default();
        for container in listed {
            let Some(id) = container.id.clone() else { continue };
            // Whatever is not certainly at rest is running, states that we never heard of included.
            if !matches!(container.state, Some(State::CREATED | State::EXITED | State::DEAD)) {
                found.running.push(Named { id: id.clone(), name: name_of(&container) });
            }
            found.containers.push(id);
        }
        found.images = images.into_iter().map(|image| image.id).collect();
        found.running.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}
