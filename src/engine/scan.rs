//! Which other containers have a card: those of this engine that this agent did not start, or does not know.
//!
//! When it could not look, that is an error, never an empty answer. It does not look at processes, and stops
//! nothing.

use super::claim::{Claim, Runtimes};
use super::client::{Engine, SHORT, clean};
use super::labels::{OwnedContainer, name_of, owned};
use super::lifecycle::short;
use crate::accel::{Accelerator, CardNode};
use crate::error::Fault;
use crate::host::{device_numbers, program_at};
use crate::model::holder::ContainerReason;
use crate::model::{CardId, Holder};
use anyhow::{Context as _, Result};
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::{BTreeMap, HashMap, HashSet};

const PARALLEL: usize = 8;

/// What one look found.
#[derive(Debug, Clone, Default)]
pub struct Foreign {
    /// Who has which card by the engine's record, one entry for each card.
    pub held: Vec<(CardId, Holder)>,
    /// Every container that may be running and is not a known berth.
    pub containers: Vec<Stranger>,
}

/// A container that berth did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub id: String,
    pub name: String,
    pub image: String,
    /// The node's config lists it as one that uses no cards: only cards that its processes have open count.
    pub exempt: bool,
}

/// Whether the list has the container's name, or its image's name with or without the tag.
fn is_exempt(exempt: &[String], name: &str, image: &str) -> bool {
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let untagged = image.get(last..).and_then(|short| image.get(..last + short.find([':', '@'])?));
    exempt.iter().any(|entry| entry == name || entry == image || Some(entry.as_str()) == untagged)
}

/// The berths that the caller knows: by container id, or by container name where the id is not in the ledger yet.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub containers: HashSet<String>,
    pub creating: HashSet<String>,
}

impl Known {
    fn has(&self, container: &OwnedContainer) -> bool {
        self.containers.contains(&container.container_id) || self.creating.contains(&container.container_name)
    }
}

/// Looks repeatedly, but inspects each container once: what it was given cannot change while it exists.
pub struct ForeignScan {
    engine: Engine,
    accel: &'static dyn Accelerator,
    instance: String,
    exempt: Vec<String>,
    inspected: HashMap<String, Claim>,
}

/// A container that may hold cards now.
struct Candidate {
    id: String,
    name: String,
    image: String,
    /// Set when it has our labels and the caller does not know it.
    stray: Option<OwnedContainer>,
}

impl ForeignScan {
    pub fn new(engine: Engine, accel: &'static dyn Accelerator, instance: impl Into<String>) -> Self {
        Self { engine, accel, instance: instance.into(), exempt: Vec::new(), inspected: HashMap::new() }
    }

    /// Sets the names of containers and images that use no cards, whatever access they have.
    #[must_use]
    pub fn exempting(self, exempt: &[String]) -> Self {
        Self { exempt: exempt.to_vec(), ..self }
    }

    /// Every container that is not a known berth, and which of these cards each has. An error when the engine
    /// cannot be asked.
    pub async fn look(&mut self, cards: &[CardNode], known: &Known) -> Result<Foreign> {
        self.try_look(cards, known).await.context("looking for other containers that have cards")
    }

    async fn try_look(&mut self, cards: &[CardNode], known: &Known) -> Result<Foreign> {
        let candidates = self.candidates(known).await?;
        let here: HashSet<&str> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        self.inspected.retain(|id, _| here.contains(id.as_str()));
        self.inspect_new(&candidates).await?;
        let work: Vec<(Candidate, Claim)> = candidates
            .into_iter()
            .filter_map(|candidate| {
                let claim = self.inspected.get(&candidate.id)?.clone();
                Some((candidate, claim))
            })
            .collect();
        let containers = work.iter().map(|(candidate, _)| self.stranger(candidate)).collect();
        let (cards, accel) = (cards.to_vec(), self.accel);
        let held = tokio::task::spawn_blocking(move || holders(&work, &cards, accel));
        Ok(Foreign { held: held.await.context("looking at device nodes")??, containers })
    }

    fn stranger(&self, candidate: &Candidate) -> Stranger {
        let Candidate { id, name, image, stray } = candidate;
        // One that says it is a berth of ours is no monitor.
        let exempt = stray.is_none() && is_exempt(&self.exempt, name, image);
        Stranger { id: id.clone(), name: name.clone(), image: image.clone(), exempt }
    }

    async fn candidates(&self, known: &Known) -> Result<Vec<Candidate>> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let docker = self.engine.docker();
        let listed = self.engine.call(SHORT, docker.list_containers(Some(options))).await?;
        Ok(listed.into_iter().filter_map(|container| self.candidate(container, known)).collect())
    }

    fn candidate(&self, container: ContainerSummary, known: &Known) -> Option<Candidate> {
        // Whatever is not certainly at rest may hold a card, states that we never heard of included.
        if matches!(container.state, Some(State::CREATED | State::EXITED | State::DEAD)) {
            return None;
        }
        let labels = container.labels.as_ref();
        let ours = labels.and_then(|labels| labels.get("berth.instance")) == Some(&self.instance);
        let (id, name) = (container.id.clone()?, name_of(&container));
        let image = clean(container.image.as_deref().unwrap_or_default());
        let stray = if ours { owned(container) } else { None };
        if stray.as_ref().is_some_and(|container| known.has(container)) {
            return None;
        }
        Some(Candidate { id, name, image, stray })
    }

    async fn inspect_new(&mut self, candidates: &[Candidate]) -> Result<()> {
        let new: Vec<String> =
            candidates.iter().map(|c| c.id.clone()).filter(|id| !self.inspected.contains_key(id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let docker = self.engine.docker();
        let info = self.engine.call(SHORT, docker.info()).await?;
        let runtimes = Runtimes::of(&info, &program_at, self.accel.words());
        let engine = &self.engine;
        let inspected: Vec<_> = stream::iter(new)
            .map(|id| async move { engine.inspect_raw(&id).await.map(|inspect| (id, inspect)) })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        // One that is gone between the list and the look holds nothing any more.
        for (id, inspect) in inspected {
            let Some(inspect) = inspect else { continue };
            let claim = Claim::of(&inspect, &runtimes, self.accel).ok_or_else(|| {
                Fault::docker(format!("Docker does not say what container {} has", short(&id)))
            })?;
            self.inspected.insert(id, claim);
        }
        Ok(())
    }
}

fn holders(
    work: &[(Candidate, Claim)],
    cards: &[CardNode],
    accel: &dyn Accelerator,
) -> Result<Vec<(CardId, Holder)>> {
    let mut found = Vec::new();
    for (candidate, claim) in work {
        let held = claim
            .cards(cards, &|path| device_numbers(path), accel)
            .map_err(|error| Fault::host(format!("the devices of container {}: {error}", candidate.name)))?;
        for (card, reason) in with_labels(held, candidate.stray.as_ref(), cards) {
            let holder = Holder::Container {
                id: candidate.id.clone(),
                name: candidate.name.clone(),
                image: candidate.image.clone(),
                reason,
            };
            found.push((card, holder));
        }
    }
    found.sort_by_key(|(card, _)| *card);
    Ok(found)
}

/// Adds the cards in the labels of an unknown container with our labels to those that it was given.
fn with_labels(
    held: BTreeMap<CardId, ContainerReason>,
    stray: Option<&OwnedContainer>,
    cards: &[CardNode],
) -> BTreeMap<CardId, ContainerReason> {
    let Some(stray) = stray else { return held };
    let said = stray.berth.iter().flat_map(|berth| berth.cards.iter().copied());
    let exist = said.filter(|card| cards.iter().any(|node| node.id == *card));
    held.into_keys().chain(exist).map(|card| (card, ContainerReason::UnknownBerth)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_are_names_and_images_as_a_whole() {
        let exempt = ["node-exporter".to_owned(), "registry.lab:5000/cadvisor".into(), "busybox:1.36".into()];
        for (name, image) in [
            ("node-exporter", "x"),
            ("a", "registry.lab:5000/cadvisor"),
            ("a", "registry.lab:5000/cadvisor:v0.49"),
            ("a", "registry.lab:5000/cadvisor@sha256:00"),
            ("a", "busybox:1.36"),
        ] {
            assert!(is_exempt(&exempt, name, image), "{name} {image}");
        }
        for (name, image) in [
            ("node-exporter2", "x"),
            ("a", "cadvisor"),
            ("a", "busybox:1.37"),
            ("a", "registry.lab"),
            ("", ""),
        ] {
            assert!(!is_exempt(&exempt, name, image), "{name} {image}");
        }
    }
}
