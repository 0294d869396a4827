//! Makes one row for each card from what was seen, and the list of cards that the allocator may give out. Pure.

use super::kernel::Outsiders;
use crate::accel::Accelerator;
use crate::alloc::Slot;
use crate::host::procs::OpenDevice;
use crate::model::facts::{NpuDevice, NpuFacts, NpuTopology};
use crate::model::holder::{ContainerReason, Unseen};
use crate::model::{Berth, CardId, CardVerdict, CardView, Holder, Ruling};
use crate::profile::Profile;
use std::collections::{BTreeMap, BTreeSet};

/// How many holders of one kind are named for a card.
const MOST_NAMED: usize = 16;

/// A process with a card's device node open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCard {
    pub card: CardId,
    pub device: OpenDevice,
    /// The account it runs as.
    pub user: Option<String>,
}

/// All that was looked at besides npu-smi.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Device numbers of the cards that have a node.
    pub nodes: BTreeMap<CardId, (u32, u32)>,
    /// Cards whose path has something other than a card's device node, and why.
    pub bad_nodes: Vec<(CardId, String)>,
    /// Berths that hold cards.
    pub berths: Vec<Berth>,
    pub outside: Outsiders,
    /// vNPUs that have a node.
    pub vnpus: BTreeMap<CardId, BTreeSet<u32>>,
    pub open: Vec<OpenCard>,
    /// Processes that have too many open files to look at all of them, and so may have a card open.
    pub unfinished: Vec<OpenCard>,
    /// Processes whose open files cannot be looked at, and so may have a card open.
    pub hidden: Vec<OpenCard>,
    /// The administrators' rulings in force.
    pub rulings: BTreeMap<CardId, Ruling>,
    /// Why processes could not be looked at; `None` when they could.
    pub not_looked: Option<String>,
}

/// One row for each card that the profile counts, the card's tool lists, or a device node exists for. `listed` are
/// the containers of the processes that the tool lists.
pub fn view(
    accel: &dyn Accelerator,
    profile: &Profile,
    npu: &NpuFacts,
    seen: &Snapshot,
    listed: &Listed,
) -> Vec<CardView> {
    let mut ids: Vec<CardId> = (0..profile.devices.cards).map(CardId).collect();
    ids.extend(npu.devices.iter().map(|device| CardId(device.id)));
    ids.extend(seen.nodes.keys());
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(|id| row(accel, id, npu, seen, listed)).collect()
}

/// Container ids by process.
pub type Listed = BTreeMap<u32, String>;

fn row(accel: &dyn Accelerator, id: CardId, npu: &NpuFacts, seen: &Snapshot, listed: &Listed) -> CardView {
    let device = npu.devices.iter().find(|device| device.id == id.0);
    let holders = holders(id, device, npu, seen, listed);
    let unusable = unusable(accel, id, npu, device, seen);
    CardView {
        id,
        name: device.map(|device| device.name.clone()),
        health: device.map(|device| device.health),
        bus_id: device.and_then(|device| device.bus_id.clone()),
        hbm_used_mib: device.and_then(|device| device.hbm_used_mib),
        hbm_total_mib: device.and_then(|device| device.hbm_total_mib),
        temperature_c: device.and_then(|device| device.temperature_c),
        power_w: device.and_then(|device| device.power_w),
        aicore_percent: device.and_then(|device| device.aicore_percent),
        numa_node: npu.topology.iter().find(|near| near.id == id.0).and_then(|near| near.numa_node),
        free: holders.is_empty() && unusable.is_none(),
        holders,
        exempt: of_card(id, &seen.outside.exempt),
        unusable,
        ruling: seen.rulings.get(&id).cloned(),
    }
}

/// Why a card cannot be given out, apart from who holds it; `None` when it can. A card that could not be looked at
/// cannot.
fn unusable(
    accel: &dyn Accelerator,
    id: CardId,
    npu: &NpuFacts,
    device: Option<&NpuDevice>,
    seen: &Snapshot,
) -> Option<String> {
    if let Some(error) = &npu.error {
        return Some(error.meaning.clone());
    }
    let ruling = seen.rulings.get(&id);
    if let Some(blocked) = ruling.filter(|ruling| ruling.verdict == CardVerdict::Block) {
        return Some(blocked.to_string());
    }
    let Some(device) = device else {
        return Some(not_listed(accel));
    };
    if !device.health.usable() && ruling.is_none() {
        return Some(format!("its health is {}", device.health));
    }
    if let Some((_, reason)) = seen.bad_nodes.iter().find(|(bad, _)| *bad == id) {
        return Some(format!("its device node cannot be used: {reason}"));
    }
    if !seen.nodes.contains_key(&id) {
        return Some(no_node(accel, id));
    }
    seen.not_looked.as_ref().map(|reason| format!("who has cards could not be looked at: {reason}"))
}

pub(super) fn not_listed(accel: &dyn Accelerator) -> String {
    format!("{} does not list it", accel.tool())
}

pub(super) fn no_node(accel: &dyn Accelerator, id: CardId) -> String {
    format!("its device node {} is not there", accel.node_name(id))
}

fn of_card(id: CardId, all: &[(CardId, Holder)]) -> Vec<Holder> {
    capped(all.iter().filter(|(card, _)| *card == id).map(|(_, holder)| holder.clone()))
}

/// The first holders, and how many more there are: one user may have thousands of processes. Holders that only may
/// have the card are counted separately.
fn capped(all: impl Iterator<Item = Holder>) -> Vec<Holder> {
    let (sure, unsure): (Vec<Holder>, Vec<Holder>) = all.partition(Holder::is_sure);
    let mut named = Vec::new();
    for (mut holders, sure) in [(sure, true), (unsure, false)] {
        let count = holders.len().saturating_sub(MOST_NAMED);
        holders.truncate(MOST_NAMED);
        named.extend(holders);
        named.extend((count > 0).then_some(Holder::More { count, sure }));
    }
    named
}

pub(super) fn holders(
    id: CardId,
    device: Option<&NpuDevice>,
    npu: &NpuFacts,
    seen: &Snapshot,
    listed: &Listed,
) -> Vec<Holder> {
    let berth = seen.berths.iter().find(|berth| berth.cards.contains(&id));
    let mut holders: Vec<Holder> = berth
        .map(|berth| Holder::Berth {
            owner: berth.owner.clone(),
            name: berth.name.clone(),
            since: berth.created_at,
            until: berth.until,
        })
        .into_iter()
        .collect();
    holders.extend(of_card(id, &seen.outside.held));
    let outside = seen.outside.held.iter().filter(|(card, _)| *card == id);
    let known: BTreeSet<&str> = berth
        .and_then(|berth| berth.container_id.as_deref())
        .into_iter()
        .chain(outside.filter_map(|(_, holder)| match holder {
            Holder::Container { id, .. } => Some(id.as_str()),
            _ => None,
        }))
        .collect();
    let processes = processes(id, device, seen, &known, listed);
    holders.extend(capped(processes.into_iter()));
    let nodes = seen.vnpus.get(&id).into_iter().flatten().copied();
    let told = npu.vnpus.iter().filter(|cut| cut.card == id.0).flat_map(|cut| cut.ids.iter().copied());
    let vnpus: BTreeSet<u32> = nodes.chain(told).collect();
    if !vnpus.is_empty() {
        holders.push(Holder::Vnpu { ids: vnpus.into_iter().collect() });
    }
    for (whose, what) in [(&seen.unfinished, Unseen::OpenFiles), (&seen.hidden, Unseen::HiddenFiles)] {
        let whose = whose.iter().filter(|open| open.card == id);
        holders.extend(capped(whose.map(|open| not_looked(open, what, seen))));
    }
    holders
}

fn not_looked(open: &OpenCard, what: Unseen, seen: &Snapshot) -> Holder {
    Holder::NotLooked {
        pid: open.device.pid,
        name: open.device.name.clone(),
        user: open.user.clone(),
        berth: berth_of(open.device.container_id.as_deref(), seen)
            .map(|berth| format!("{}/{}", berth.owner, berth.name)),
        what,
    }
}

fn berth_of<'a>(container: Option<&str>, seen: &'a Snapshot) -> Option<&'a Berth> {
    seen.berths.iter().find(|berth| container.is_some() && berth.container_id.as_deref() == container)
}

/// Processes that hold the card and are not in a container that is already listed: they have its node open, or
/// npu-smi lists them. A process in a berth or in a container of the engine is named by that.
fn processes(
    id: CardId,
    device: Option<&NpuDevice>,
    seen: &Snapshot,
    known: &BTreeSet<&str>,
    listed: &Listed,
) -> Vec<Holder> {
    let mut found = BTreeMap::<u32, Holder>::new();
    for open in seen.open.iter().filter(|open| open.card == id) {
        let container = open.device.container_id.as_deref();
        if container.is_some_and(|container| known.contains(container)) {
            continue;
        }
        let holder = named(open.device.pid, &open.device.name, open.user.clone(), container, seen);
        found.insert(open.device.pid, holder);
    }
    // npu-smi says nothing of containers but in its newest release. A process it lists on a card that a
    // container holds is that container's, unless it was seen elsewhere.
    for process in device.map(|device| device.processes.as_slice()).unwrap_or_default() {
        if known.is_empty() && !found.contains_key(&process.pid) {
            let container = listed.get(&process.pid).map(String::as_str);
            found.insert(process.pid, named(process.pid, &process.name, None, container, seen));
        }
    }
    let mut containers = BTreeSet::new();
    let mut told: Vec<Holder> = found.into_values().collect();
    // A container with many processes is one holder.
    told.retain(|holder| match holder {
        Holder::Container { id, .. } => containers.insert(id.clone()),
        _ => true,
    });
    told
}

fn named(pid: u32, name: &str, user: Option<String>, container: Option<&str>, seen: &Snapshot) -> Holder {
    if let Some(berth) = berth_of(container, seen) {
        let (owner, berth) = (berth.owner.clone(), berth.name.clone());
        return Holder::BerthProcess { owner, name: berth, pid, process: name.to_owned() };
    }
    match seen.outside.strangers.iter().find(|stranger| Some(stranger.id.as_str()) == container) {
        Some(stranger) => Holder::Container {
            id: stranger.id.clone(),
            name: stranger.name.clone(),
            image: stranger.image.clone(),
            reason: ContainerReason::Open,
        },
        None => Holder::Process { pid, name: name.to_owned(), user },
    }
}

/// The cards that the allocator may choose from, with their groups. A card without a node is never offered by
/// count; a request for it by id is told what is wrong with it.
pub fn slots(accel: &dyn Accelerator, profile: &Profile, npu: &NpuFacts, view: &[CardView]) -> Vec<Slot> {
    view.iter()
        .map(|card| Slot {
            id: card.id,
            free: card.free,
            link: accel.link_group(card.id, &npu.topology),
            numa: numa_group(card.id, profile, npu),
        })
        .collect()
}

/// The NUMA group of a card. Cards with the same NUMA node and the same list of nearby CPUs share the lowest id
/// among them, because either of the two can be the finer one. Where neither is known, the profile says the group.
fn numa_group(id: CardId, profile: &Profile, npu: &NpuFacts) -> u32 {
    let place = |near: &NpuTopology| (near.numa_node, near.cpu_affinity.clone());
    let near = npu.topology.iter().find(|near| near.id == id.0).map(place);
    if let Some(near) = near.filter(|near| *near != (None, None)) {
        let alike = npu.topology.iter().filter(|other| place(other) == near).map(|other| other.id);
        return alike.min().unwrap_or(id.0);
    }
    let group = profile.devices.groups.iter().position(|group| group.contains(&id));
    group.and_then(|index| u32::try_from(index).ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "cards_tests.rs"]
pub(super) mod tests;
