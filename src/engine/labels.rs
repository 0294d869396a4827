//! The labels that mark berth's containers. Anybody who can use Docker can write labels, so parsing trusts nothing.

use super::client::{Engine, SHORT, clean};
use crate::model::{CardId, card};
use anyhow::{Context as _, Result};
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

pub const SCHEMA: &str = "1";
const MAX_CARDS: usize = 128;
const MAX_TEXT: usize = 256;

/// What a container's labels say of its berth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BerthLabels {
    /// The agent that made it. Two agents on one node leave each other's containers alone.
    pub instance: String,
    pub id: i64,
    pub owner: String,
    pub name: String,
    pub cards: Vec<CardId>,
    pub port: u16,
    pub image: String,
    pub until: Option<Timestamp>,
    pub created: Timestamp,
}

impl BerthLabels {
    pub fn build(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = [
            ("schema", SCHEMA.to_owned()),
            ("instance", self.instance.clone()),
            ("id", self.id.to_string()),
            ("owner", self.owner.clone()),
            ("name", self.name.clone()),
            ("cards", card::join(&self.cards)),
            ("port", self.port.to_string()),
            ("image", self.image.clone()),
            ("created", self.created.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (format!("berth.{key}"), value))
        .collect();
        if let Some(until) = self.until {
            labels.insert("berth.until".into(), until.to_string());
        }
        labels
    }

    /// Reads the labels. `None` for any that [`BerthLabels::build`] would not have written.
    pub fn parse(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| {
            labels
                .get(&format!("berth.{key}"))
                .filter(|value| value.len() <= MAX_TEXT && !value.chars().any(char::is_control))
        };
        if text("schema")? != SCHEMA {
            return None;
        }
        Some(Self {
            instance: text("instance")?.clone(),
            id: text("id")?.parse().ok().filter(|id| *id > 0)?,
            owner: text("owner")?.clone(),
            name: text("name")?.clone(),
            cards: parse_cards(labels.get("berth.cards")?)?,
            port: text("port")?.parse().ok()?,
            image: text("image")?.clone(),
            // An image that was made of a berth gives its containers an empty one.
            until: match text("until").filter(|until| !until.is_empty()) {
                Some(until) => Some(until.parse().ok()?),
                None => None,
            },
            created: text("created")?.parse().ok()?,
        })
    }
}

fn parse_cards(text: &str) -> Option<Vec<CardId>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let cards: Vec<CardId> = text
        .split(',')
        .take(MAX_CARDS + 1)
        .map(|card| card.parse().ok().map(CardId))
        .collect::<Option<_>>()?;
    (cards.len() <= MAX_CARDS).then_some(cards)
}

/// A container with our instance's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedContainer {
    pub container_id: String,
    pub container_name: String,
    /// `None` when its other labels are not valid: berth did not write them.
    pub berth: Option<BerthLabels>,
    pub running: bool,
    /// Docker's word: created, running, paused, exited, …
    pub status: String,
}

impl Engine {
    /// Every container of this instance, also stopped ones and those that never started.
    pub async fn list_owned(&self, instance: &str) -> Result<Vec<OwnedContainer>> {
        let filters = HashMap::from([("label", vec![format!("berth.instance={instance}")])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.docker();
        let found = self
            .call(SHORT, docker.list_containers(Some(options)))
            .await
            .context("listing the containers of berths")?;
        Ok(found.into_iter().filter_map(owned).collect())
    }
}

impl Engine {
    /// Every container that is labelled as a berth, of whichever agent. Anybody who can use Docker can write that
    /// label.
    pub async fn list_labelled(&self) -> Result<Vec<OwnedContainer>> {
        let filters = HashMap::from([("label", vec!["berth.instance".to_owned()])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let docker = self.docker();
        let found = self.call(SHORT, docker.list_containers(Some(options))).await;
        Ok(found.context("listing the containers of berths")?.into_iter().filter_map(owned).collect())
    }
}

pub(crate) fn owned(container: ContainerSummary) -> Option<OwnedContainer> {
    let status = container.state.map(|state| state.to_string()).unwrap_or_default();
    Some(OwnedContainer {
        container_name: name_of(&container),
        container_id: container.id?,
        berth: container.labels.as_ref().and_then(BerthLabels::parse),
        running: status == "running",
        status,
    })
}

/// The container's name, without the `/` that Docker writes before it and without names from old-style links.
pub(crate) fn name_of(container: &ContainerSummary) -> String {
    let names = container.names.as_deref().unwrap_or_default();
    let own = names.iter().find(|name| name.matches('/').count() == 1).or(names.first());
    clean(own.map_or("", |name| name.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BerthLabels {
        BerthLabels {
            instance: "a1".into(),
            id: 7,
            owner: "alice".into(),
            name: "train".into(),
            cards: vec![CardId(0), CardId(3)],
            port: 20001,
            image: "torch".into(),
            until: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn map(labels: &BerthLabels) -> HashMap<String, String> {
        labels.build().into_iter().collect()
    }

    #[test]
    fn labels_survive_the_way_through_docker() {
        assert_eq!(BerthLabels::parse(&map(&labels())), Some(labels()));
        let open = BerthLabels { until: None, cards: Vec::new(), ..labels() };
        assert_eq!(BerthLabels::parse(&map(&open)), Some(open));
    }

    #[test]
    fn labels_that_we_would_not_write_are_no_berth() {
        for (key, value) in [
            ("schema", "2"),
            ("id", "-1"),
            ("id", "99999999999999999999"),
            ("cards", "0,x"),
            ("cards", ",".repeat(100_000).as_str()),
            ("cards", &["1"; 129].join(",")),
            ("port", "70000"),
            ("until", "tomorrow"),
            ("created", ""),
            ("owner", "\u{1b}[2J"),
            ("name", &"x".repeat(300)),
        ] {
            let mut hostile = map(&labels());
            hostile.insert(format!("berth.{key}"), value.into());
            assert_eq!(BerthLabels::parse(&hostile), None, "{key}");
        }
        assert_eq!(BerthLabels::parse(&HashMap::new()), None);
    }
}
