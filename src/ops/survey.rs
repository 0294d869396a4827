//! Looks at the cards: what npu-smi says, who holds them, which can be given out.

use super::cards::{self, OpenCard, Snapshot};
use super::kernel::{self, Outsiders, Own};
use super::locks::{Ordered, Rank, beside};
use super::tried::Tried;
use super::{Node, build};
use crate::accel::{self, Nodes, nodes::Numbers};
use crate::alloc::Slot;
use crate::engine::{ForeignScan, Known};
use crate::host::procs::{Fence, OpenDevice};
use crate::host::{Host, procs};
use crate::ledger::Ledger;
use crate::model::clock::BootTime;
use crate::model::facts::NpuFacts;
use crate::model::{Berth, CardId, CardView};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The results of the last looks, so that a request need not wait for a slow npu-smi.
pub(crate) struct Looks {
    npu: Ordered<Option<Look>>,
    /// The last look at everything else.
    sight: Ordered<Tried<Option<Sighting>>>,
    pub(super) foreign: Ordered<Tried<Option<ForeignScan>>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            npu: Ordered::new(Rank::Npu, None),
            sight: Ordered::new(Rank::Sight, Tried::default()),
            foreign: Ordered::new(Rank::Foreign, Tried::default()),
        }
    }
}

/// When a look began, and what it saw.
type Sighting = (BootTime, Arc<Snapshot>);

/// One run of npu-smi.
struct Look {
    began: BootTime,
    ended: BootTime,
    facts: Arc<NpuFacts>,
}

/// The cards as one look found them.
#[derive(Debug, Clone)]
pub struct Survey {
    pub cards: Vec<CardView>,
    pub npu: Arc<NpuFacts>,
    pub slots: Vec<Slot>,
    /// Why the holders could not be found out; `None` when they could.
    pub not_looked: Option<String>,
}

impl Survey {
    pub fn card(&self, id: CardId) -> Option<&CardView> {
        self.cards.iter().find(|card| card.id == id)
    }
}

impl Node {
    /// Health and load of the cards, read after `since`. Several callers share one look.
    pub(crate) async fn npu(&self, since: BootTime) -> Result<Arc<NpuFacts>> {
        let asked = self.now().boot;
        let mut last = self.looks.npu.lock().await;
        if let Some(look) = &*last {
            // A look that failed serves those who asked while it ran: with an npu-smi that hangs, each would hang anew.
            let serves = if look.facts.error.is_none() { look.began >= since } else { look.ended >= asked };
            if serves {
                return Ok(look.facts.clone());
            }
        }
        let (accel, host, settings) = (self.accel(), self.host(), self.settings());
        let before = last.as_ref().map(|look| look.facts.clone()).filter(|facts| facts.error.is_none());
        let began = self.now().boot;
        let facts = tokio::task::spawn_blocking(move || match before {
            Some(before) => accel.look_again(&*host, &settings.config, &before),
            None => accel.look(&*host, &settings.config).0,
        })
        .await?;
        let facts = Arc::new(facts);
        *last = Some(Look { began, ended: self.now().boot, facts: facts.clone() });
        Ok(facts)
    }

    /// As [`Node::npu`], with an answer that may be `npu-smi-max-age` old, for values that rarely change, such as
    /// versions.
    pub(crate) async fn npu_lately(&self) -> Result<Arc<NpuFacts>> {
        self.npu(self.now().boot.before(self.settings().config.tools.npu_smi_max_age)).await
    }

    /// Everything about the cards. Containers and processes are always looked at anew. npu-smi's answer may be up
    /// to `max_age` old, unless a process that it listed has ended since.
    pub async fn survey(&self, max_age: Duration) -> Result<Survey> {
        let now = self.now().boot;
        let (npu, snapshot) = tokio::join!(beside(self.npu(now.before(max_age))), beside(self.sight(now)));
        let (mut npu, snapshot) = (npu?, snapshot?);
        if self.lists_ended(&npu) {
            npu = self.npu(now).await?;
        }
        let listed = npu.clone();
        let listed = tokio::task::spawn_blocking(move || containers_of(&listed)).await?;
        let (accel, profile) = (self.accel(), &self.settings().profile);
        let view = cards::view(accel, profile, &npu, &snapshot, &listed);
        Ok(Survey {
            slots: cards::slots(accel, profile, &npu, &view),
            cards: view,
            npu,
            not_looked: snapshot.not_looked.clone(),
        })
    }

    fn lists_ended(&self, npu: &NpuFacts) -> bool {
        let mut listed = npu.devices.iter().flat_map(|device| &device.processes);
        listed.any(|process| !self.host().exists(&Path::new("/proc").join(process.pid.to_string())))
    }

    /// Device nodes, berths, containers and processes, read after `since`: all but npu-smi. A caller that asks
    /// during a look waits for the next one, which serves all such callers.
    pub(crate) async fn sight(&self, since: BootTime) -> Result<Arc<Snapshot>> {
        let asked = self.now().boot;
        let mut last = self.looks.sight.lock().await;
        if let Some((began, seen)) = &last.value
            && *began >= since
        {
            return Ok(seen.clone());
        }
        last.check(asked)?;
        let began = self.now().boot;
        let looked = self.look().await;
        let seen = Arc::new(last.note(self.now().boot, looked)?);
        last.value = Some((began, seen.clone()));
        Ok(seen)
    }

    async fn look(&self) -> Result<Snapshot> {
        let nodes = self.card_nodes().await?;
        let (berths, fences) = {
            let numbers = nodes.numbers();
            self.ledger(move |ledger| fenced(ledger, &numbers)).await?
        };
        let (host, its_nodes) = (self.host(), nodes.clone());
        let processes = tokio::task::spawn_blocking(move || open_cards(&*host, &its_nodes, &fences));
        let (outside, rulings) = tokio::join!(self.outsiders(&nodes), self.rulings());
        let (outside, rulings) = (outside?, rulings?);
        let open = processes.await?;
        let mut vnpus = BTreeMap::<CardId, BTreeSet<u32>>::new();
        for (card, vnpu, _) in &nodes.parts {
            vnpus.entry(*card).or_default().insert(*vnpu);
        }
        Ok(Snapshot {
            nodes: nodes.whole.into_iter().collect(),
            bad_nodes: nodes.bad,
            berths,
            vnpus,
            rulings,
            not_looked: open.not_looked.or_else(|| outside.not_looked.clone()),
            open: open.open,
            unfinished: open.unfinished,
            hidden: open.hidden,
            outside,
        })
    }

    pub(crate) async fn card_nodes(&self) -> Result<Nodes> {
        let (accel, settings) = (self.accel(), self.settings());
        let scan =
            move || accel::nodes::scan(accel, &settings.config.paths.dev, settings.profile.devices.cards);
        Ok(tokio::task::spawn_blocking(scan).await?)
    }

    /// Containers, and others beside the engine, that have cards and are not ours.
    pub(crate) async fn outsiders(&self, nodes: &Nodes) -> Result<Outsiders> {
        let engine = self.engine().await?;
        let asked = self.now().boot;
        let mut last = self.looks.foreign.lock().await;
        last.check(asked)?;
        // Read after the scan is ours: a berth that is made while another scan runs is known to this one.
        let (known, before) = self.known_containers().await?;
        let (nodes_again, ids) = (nodes.clone(), before.keys().cloned().collect());
        let granted = tokio::task::spawn_blocking(move || kernel::look(&nodes_again, &ids));
        let scan = last.value.get_or_insert_with(|| {
            let exempt = &self.settings().config.docker.exempt;
            ForeignScan::new(engine, self.accel(), self.instance.clone()).exempting(exempt)
        });
        let looked = scan.look(&nodes.each(), &known).await;
        let foreign = last.note(self.now().boot, looked)?;
        let granted = granted.await?;
        // A berth's container that started while we looked is known by now, one that ended was known before.
        let (_, after) = self.known_containers().await?;
        let own = before.into_iter().chain(after).collect();
        Ok(match granted {
            Ok(granted) => kernel::join(&foreign, &granted, &own),
            Err(reason) => Outsiders {
                not_looked: Some(reason),
                ..kernel::join(&foreign, &kernel::Record::default(), &own)
            },
        })
    }

    async fn known_containers(&self) -> Result<(Known, Own)> {
        let mut berths = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        // A stopped berth's container that somebody starts by hand has cards that are not the berth's any more.
        berths.retain(|berth| berth.state.holds_cards());
        let known = Known {
            containers: berths.iter().filter_map(|berth| berth.container_id.clone()).collect(),
            // Its container may be there before the ledger has its id.
            creating: berths
                .iter()
                .filter(|berth| berth.container_id.is_none())
                .map(|berth| build::container_name(&self.instance, berth))
                .collect(),
        };
        let own = berths.into_iter().filter_map(|berth| Some((berth.container_id.clone()?, berth)));
        Ok((known, own.collect()))
    }
}

/// The berths that hold cards, and for each the other cards that its processes may have.
fn fenced(ledger: &Ledger, numbers: &Numbers) -> Result<(Vec<Berth>, Vec<Fence>), crate::error::Fault> {
    // In this order: a berth that ends in between holds its cards here, or gave them back there.
    let mut berths = ledger.standing_berths()?;
    berths.retain(|berth| berth.state.holds_cards());
    let of = |cards: &[CardId]| {
        numbers.iter().filter(|(card, _)| cards.contains(card)).map(|(_, number)| *number).collect()
    };
    let mut fences = Vec::new();
    for berth in &berths {
        let Some(container_id) = berth.container_id.clone() else { continue };
        let handed = of(&ledger.cards_given_back(berth)?);
        fences.push(Fence { container_id, own: of(&berth.cards), handed });
    }
    Ok((berths, fences))
}

/// The containers of the processes that npu-smi lists.
pub(crate) fn containers_of(npu: &NpuFacts) -> BTreeMap<u32, String> {
    let pids = npu.devices.iter().flat_map(|device| &device.processes).map(|process| process.pid);
    pids.filter_map(|pid| Some((pid, procs::container_of(Path::new("/proc"), pid)?))).collect()
}

/// The cards that processes have open.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenCards {
    pub open: Vec<OpenCard>,
    /// Processes with too many open files, one entry for each card that may be among them.
    pub unfinished: Vec<OpenCard>,
    /// Processes whose open files cannot be looked at, in the same way.
    pub hidden: Vec<OpenCard>,
    /// Why not all processes could be looked at; `None` when they could.
    pub not_looked: Option<String>,
}

/// Finds the processes that have a card open.
pub(crate) fn open_cards(host: &dyn Host, nodes: &Nodes, fences: &[Fence]) -> OpenCards {
    let numbers = nodes.numbers();
    let rdevs: Vec<(u32, u32)> = numbers.iter().map(|(_, rdev)| *rdev).collect();
    let by_number: BTreeMap<(u32, u32), CardId> = numbers.iter().map(|(id, rdev)| (*rdev, *id)).collect();
    let found = procs::open_devices(Path::new("/proc"), &rdevs, &nodes.on_host(), fences);
    // A file of accounts is long, and an account has many processes.
    let mut names = BTreeMap::<u32, Option<String>>::new();
    let mut named = |devices: Vec<OpenDevice>| {
        let card = |device: OpenDevice| {
            let name = |uid| names.entry(uid).or_insert_with(|| procs::user_name(host, uid)).clone();
            let user = device.uid.and_then(name);
            Some(OpenCard { card: *by_number.get(&device.rdev)?, device, user })
        };
        devices.into_iter().filter_map(card).collect()
    };
    OpenCards {
        open: named(found.open),
        unfinished: named(found.unfinished),
        hidden: named(found.hidden),
        not_looked: found.reason,
    }
}
