//! The containers (all, and running ones) and images of an engine. It decides nothing.

use super::client::{Engine, SHORT};
use super::labels::name_of;
use anyhow::{Context as _, Result};
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum as State};
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
    /// Ids of images, without intermediate ones.
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

    /// Which of these containers Docker removes with their data as soon as they stop (`docker run --rm`).
    pub async fn removed_when_stopped(&self, running: &[Named]) -> Result<Vec<Named>> {
        let mut found = Vec::new();
        for named in running {
            // One that has gone meanwhile is nobody's loss.
            let inspect = self.inspect_raw(&named.id).await?;
            if inspect.as_ref().is_some_and(is_removed_when_stopped) {
                found.push(named.clone());
            }
        }
        Ok(found)
    }

    /// Whether the running engine keeps containers alive while it restarts (live-restore).
    pub async fn has_live_restore(&self) -> Result<bool> {
        let info =
            self.call(SHORT, self.docker().info()).await.context("asking the Docker Engine about itself")?;
        Ok(info.live_restore_enabled == Some(true))
    }
}

fn is_removed_when_stopped(inspect: &ContainerInspectResponse) -> bool {
    inspect.host_config.as_ref().and_then(|host| host.auto_remove) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_goes_with_its_stop_is_known() {
        let read = |text: &str| is_removed_when_stopped(&serde_json::from_str(text).unwrap());
        assert!(read(r#"{"Id":"a","HostConfig":{"AutoRemove":true}}"#));
        for stays in [r#"{"HostConfig":{"AutoRemove":false}}"#, r#"{"HostConfig":{}}"#, "{}"] {
            assert!(!read(stays), "{stays}");
        }
    }
}
