//! A look at the cards: what npu-smi says, who holds what, which can be given out.

use super::cards::{self, OpenCard, Sightings};
use super::{Node, build};
use crate::alloc::Slot;
use crate::engine::scan::CardNode;
use crate::engine::{ForeignScan, Known};
use crate::facts;
use crate::host::{Host, nodes, procs};
use crate::model::facts::NpuFacts;
use crate::model::{CardId, CardView, Holder};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Device numbers of cards.
pub(super) type Numbers = Vec<(CardId, (u32, u32))>;

/// What was seen last, so that a request need not wait for a slow npu-smi.
#[derive(Default)]
pub(super) struct Looks {
    npu: tokio::sync::Mutex<Option<Look>>,
    pub(super) foreign: tokio::sync::Mutex<Option<ForeignScan>>,
}

/// One run of npu-smi.
struct Look {
    began: Instant,
    ended: Instant,
    facts: Arc<NpuFacts>,
}

/// The cards now.
#[derive(Debug, Clone)]
pub struct Survey {
    pub cards: Vec<CardView>,
    pub npu: Arc<NpuFacts>,
    pub slots: Vec<Slot>,
}

impl Survey {
    pub fn card(&self, id: CardId) -> Option<&CardView> {
        self.cards.iter().find(|card| card.id == id)
    }
}

impl Node {
    /// Health and load of the cards, seen after `since`. Several callers share one look.
    pub(super) async fn npu(&self, since: Instant) -> Result<Arc<NpuFacts>> {
        let asked = Instant::now();
        let mut last = self.looks.npu.lock().await;
        if let Some(look) = &*last {
            // A look that failed serves those who asked while it ran: with an npu-smi that hangs, each would hang anew.
            let serves = if look.facts.error.is_none() { look.began >= since } else { look.ended >= asked };
            if serves {
                return Ok(look.facts.clone());
            }
        }
        let (host, tools) = (self.host(), self.config.tools.clone());
        let before = last.as_ref().map(|look| look.facts.clone()).filter(|facts| facts.error.is_none());
        let began = Instant::now();
        let facts = tokio::task::spawn_blocking(move || match before {
            Some(before) => facts::refresh_npu(&*host, &tools, &before),
            None => facts::gather_npu(&*host, &tools),
        })
        .await?;
        let facts = Arc::new(facts);
        *last = Some(Look { began, ended: Instant::now(), facts: facts.clone() });
        Ok(facts)
    }

    /// For what changes rarely, such as versions.
    pub(super) async fn npu_lately(&self) -> Result<Arc<NpuFacts>> {
        let now = Instant::now();
        self.npu(now.checked_sub(self.config.tools.npu_smi_max_age).unwrap_or(now)).await
    }

    /// Everything about the cards. Containers and processes are always looked at anew, and npu-smi too when a process
    /// that it listed has ended since.
    pub async fn survey(&self, max_age: Duration) -> Result<Survey> {
        let now = Instant::now();
        let since = now.checked_sub(max_age).unwrap_or(now);
        let (npu, sightings) = tokio::join!(self.npu(since), self.sight());
        let (mut npu, sightings) = (npu?, sightings?);
        if self.lists_ended(&npu) {
            npu = self.npu(now).await?;
        }
        let view = cards::view(&self.profile, &npu, &sightings);
        Ok(Survey { slots: cards::slots(&self.profile, &npu, &view), cards: view, npu })
    }

    fn lists_ended(&self, npu: &NpuFacts) -> bool {
        let mut listed = npu.devices.iter().flat_map(|device| &device.processes);
        listed.any(|process| !self.host().exists(&Path::new("/proc").join(process.pid.to_string())))
    }

    /// Device nodes, berths, containers and processes: all but npu-smi.
    pub(super) async fn sight(&self) -> Result<Sightings> {
        let (rdevs, bad_nodes) = self.card_nodes().await?;
        let (host, numbers) = (self.host(), rdevs.clone());
        let processes = tokio::task::spawn_blocking(move || open_cards(&*host, &numbers));
        let (berths, rulings, foreign) = tokio::join!(
            self.ledger(crate::ledger::Ledger::held_berths),
            self.rulings(),
            self.foreign(&rdevs)
        );
        let (open, not_looked) = processes.await?;
        Ok(Sightings {
            nodes: rdevs.into_iter().collect(),
            bad_nodes,
            berths: berths?,
            foreign: foreign?,
            open,
            rulings: rulings?,
            not_looked,
        })
    }

    /// The device numbers of the cards that have a node.
    pub(super) async fn card_numbers(&self) -> Result<Vec<(CardId, (u32, u32))>> {
        Ok(self.card_nodes().await?.0)
    }

    async fn card_nodes(&self) -> Result<(Numbers, Vec<(CardId, String)>)> {
        let (dev, count) = (self.config.paths.dev.clone(), self.profile.devices.cards);
        Ok(tokio::task::spawn_blocking(move || card_nodes(&dev, count)).await?)
    }

    /// Containers that have cards and are not ours.
    pub(super) async fn foreign(&self, rdevs: &[(CardId, (u32, u32))]) -> Result<Vec<(CardId, Holder)>> {
        let engine = self.engine().await?;
        let cards: Vec<CardNode> =
            rdevs.iter().map(|(id, number)| CardNode { id: *id, number: Some(*number) }).collect();
        let mut scan = self.looks.foreign.lock().await;
        // Read after the scan is ours: a berth that is made while another scan runs is known to this one.
        let known = self.known_containers().await?;
        let scan = scan.get_or_insert_with(|| ForeignScan::new(engine, self.instance.clone()));
        scan.look(&cards, &known).await
    }

    async fn known_containers(&self) -> Result<Known> {
        let berths = self.ledger(crate::ledger::Ledger::held_berths).await?;
        Ok(Known {
            containers: berths.iter().filter_map(|berth| berth.container_id.clone()).collect(),
            // Its container may be there before the ledger has its id.
            creating: berths
                .iter()
                .filter(|berth| berth.container_id.is_none())
                .map(|berth| build::container_name(&self.instance, berth))
                .collect(),
        })
    }
}

/// The numbers of the cards' nodes, and what is in the place of a node.
pub(super) fn card_nodes(dev: &Path, count: u32) -> (Numbers, Vec<(CardId, String)>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for id in 0..count {
        let path = dev.join(format!("davinci{id}"));
        match nodes::device_node(&path) {
            Ok(Some(node)) => found.push((CardId(id), (node.major, node.minor))),
            Ok(None) => {}
            // One bad path is one bad card.
            Err(error) => bad.push((CardId(id), error.to_string())),
        }
    }
    (found, bad)
}

/// Processes with a card open, and why they could not all be looked at, if so.
pub(super) fn open_cards(host: &dyn Host, rdevs: &[(CardId, (u32, u32))]) -> (Vec<OpenCard>, Option<String>) {
    let numbers: Vec<(u32, u32)> = rdevs.iter().map(|(_, rdev)| *rdev).collect();
    let by_number: BTreeMap<(u32, u32), CardId> = rdevs.iter().map(|(id, rdev)| (*rdev, *id)).collect();
    let found = procs::open_devices(Path::new("/proc"), &numbers);
    let cards = found.open.into_iter().filter_map(|device| {
        let user = device.uid.and_then(|uid| procs::user_name(host, uid));
        Some(OpenCard { card: *by_number.get(&device.rdev)?, device, user })
    });
    (cards.collect(), found.reason)
}
