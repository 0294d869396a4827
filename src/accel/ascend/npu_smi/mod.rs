//! npu-smi, the driver's tool: its main table and its optional queries. Where a query is refused, sysfs is read
//! instead.
//!
//! Only the main table is needed. If a query is refused or not understood, the facts of the main table stay valid.

pub mod detail;
pub mod error;
pub mod map;
mod row;
pub mod table;
pub mod topo;
pub mod vnpu;

use super::{PCI, names};
use crate::facts::{cpu, pci};
use crate::host::{Host, Output, RunError, Tool};
use crate::model::CardId;
use crate::model::facts::{NpuCut, NpuDevice, NpuFacts, NpuTopology, NumaNode, PciDevice, Unreadable};
use crate::profile::{Config, Tools};
use std::collections::BTreeSet;
use table::Table;

/// All facts about the cards, and the list of those that could not be read.
pub fn gather(host: &dyn Host, config: &Config) -> (NpuFacts, Vec<Unreadable>) {
    let tools = &config.tools;
    let mut unreadable = Vec::new();
    let (mut facts, table) = look(host, tools);
    facts.pci = pci::gather(host, &PCI).unwrap_or_else(|reason| {
        unreadable.push(Unreadable { fact: "npu.pci".into(), reason });
        Vec::new()
    });
    let Some(mut table) = table else { return (facts, unreadable) };
    // A table with a Phy-ID or Device column says itself which node a card is.
    if table.cards.iter().any(|card| card.printed_id.is_none()) {
        match query(host, tools, &["info", "-m"]).map(|text| map::parse(&text)) {
            Ok(map) if !map.is_empty() => {
                let has_node = |id: u32| host.exists(&config.paths.dev.join(names::node(CardId(id))));
                map::apply(&mut table.cards, &map, &has_node);
            }
            Ok(_) => unreadable.push(refused("npu.ids", "npu-smi info -m printed no map")),
            Err(reason) => unreadable.push(refused("npu.ids", &reason)),
        }
    }
    finish(&mut facts, table);
    let nodes = cpu::numa_nodes(host).unwrap_or_default();
    let told = query(host, tools, &["info", "-t", "topo"]).and_then(|text| {
        let rows = topo::parse(&text);
        if rows.is_empty() { Err("npu-smi info -t topo printed no table".into()) } else { Ok(rows) }
    });
    let rows = told.unwrap_or_else(|reason| {
        unreadable.push(refused("npu.topology", &reason));
        Vec::new()
    });
    facts.topology = topology(&mut facts, &rows, &nodes);
    facts.vnpus = cuts(host, tools, &facts.devices, &[]);
    (facts, unreadable)
}

/// The cards that are cut into vNPUs. Some cards and releases have no vNPUs: after one refusal the others are not
/// asked. Without an answer, a card counts as cut if it was before.
fn cuts(host: &dyn Host, tools: &Tools, devices: &[NpuDevice], before: &[NpuCut]) -> Vec<NpuCut> {
    let mut found = Vec::new();
    for device in devices {
        let (npu, chip) = (device.npu.to_string(), device.chip.to_string());
        let before = before.iter().find(|cut| cut.card == device.id);
        match query(host, tools, &["info", "-t", "info-vnpu", "-i", &npu, "-c", &chip]) {
            Ok(text) => {
                let ids = vnpu::parse(&text);
                found.extend((!ids.is_empty()).then_some(NpuCut { card: device.id, ids }));
            }
            Err(_) if before.is_none() => break,
            Err(_) => found.extend(before.cloned()),
        }
    }
    found
}

/// The table alone, in one run: health, memory and processes, without ids of other sources and topology.
pub fn gather_table(host: &dyn Host, tools: &Tools) -> NpuFacts {
    let (mut facts, table) = look(host, tools);
    if let Some(table) = table {
        finish(&mut facts, table);
    }
    facts
}

/// A short look, for a caller that asks often: ids and topology are taken from the last full look while the same
/// cards are there. With other cards, it is a full look.
pub fn refresh(host: &dyn Host, config: &Config, last: &NpuFacts) -> NpuFacts {
    let tools = &config.tools;
    let (mut facts, table) = look(host, tools);
    facts.pci.clone_from(&last.pci);
    let Some(mut table) = table else { return facts };
    for card in &mut table.cards {
        let same = |old: &&NpuDevice| {
            (old.npu, old.chip, &old.bus_id) == (card.device.npu, card.device.chip, &card.device.bus_id)
        };
        match last.devices.iter().find(same) {
            Some(old) => card.device.id = old.id,
            None => return gather(host, config).0,
        }
    }
    finish(&mut facts, table);
    facts.topology =
        last.topology.iter().filter(|t| facts.devices.iter().any(|d| d.id == t.id)).cloned().collect();
    // A vNPU that is made has a node, which is looked at each time; only those that were there may have gone.
    let was_cut = |device: &&NpuDevice| last.vnpus.iter().any(|cut| cut.card == device.id);
    let was_cut: Vec<NpuDevice> = facts.devices.iter().filter(was_cut).cloned().collect();
    facts.vnpus = cuts(host, tools, &was_cut, &last.vnpus);
    facts
}

/// Runs `npu-smi info`; without a card in its output there is an error instead of a table.
fn look(host: &dyn Host, tools: &Tools) -> (NpuFacts, Option<Table>) {
    let mut facts = NpuFacts::default();
    let output = match run(host, tools, &["info"]) {
        Ok(output) => output,
        Err(run) => {
            facts.error = Some(error::from_run(&run));
            return (facts, None);
        }
    };
    let mut table = table::parse(&output.stdout);
    facts.tool_version = table.tool_version.take();
    facts.driver_version = table.driver_version.take();
    facts.warnings = std::mem::take(&mut table.warnings);
    for line in output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()) {
        row::warn(&mut facts.warnings, line);
    }
    if table.cards.is_empty() {
        facts.error = Some(error::from_output(&output));
        return (facts, None);
    }
    if output.status != 0 {
        let text = format!("npu-smi info ended with status {}; its table was read", output.status);
        row::warn(&mut facts.warnings, &text);
    }
    (facts, Some(table))
}

fn run(host: &dyn Host, tools: &Tools, args: &[&str]) -> Result<Output, RunError> {
    let tool = Tool::NpuSmi(tools.npu_smi.clone());
    host.run(&tool.cmd().args(args.iter().copied()).timeout(tools.npu_smi_timeout).allow_any_exit())
}

/// An optional query. npu-smi says `Usage:` to what it does not know.
fn query(host: &dyn Host, tools: &Tools, args: &[&str]) -> Result<String, String> {
    answer(args, run(host, tools, args))
}

fn answer(args: &[&str], ran: Result<Output, RunError>) -> Result<String, String> {
    let output = ran.map_err(|run| run.to_string())?;
    if output.status == 0 {
        return Ok(output.stdout);
    }
    let text = [output.stdout.as_str(), output.stderr.as_str()].join("\n");
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no output");
    let line: String = line.chars().take(200).collect();
    Err(format!("npu-smi {} was refused with status {}: {line}", args.join(" "), output.status))
}

fn refused(fact: &str, reason: &str) -> Unreadable {
    Unreadable { fact: fact.into(), reason: reason.into() }
}

/// Puts the cards in order; two cards with one id are both kept and warned about.
fn finish(facts: &mut NpuFacts, table: Table) {
    facts.devices = table.cards.into_iter().map(|card| card.device).collect();
    facts.devices.sort_by_key(|device| (device.id, device.npu, device.chip));
    let mut seen = BTreeSet::new();
    for device in &facts.devices {
        if !seen.insert(device.id) {
            let text = format!(
                "NPU {} chip {} and another card both have id {}",
                device.npu, device.chip, device.id
            );
            row::warn(&mut facts.warnings, &text);
        }
    }
}

/// One entry for each card with known topology: from the tool's rows, else from sysfs by bus id.
fn topology(facts: &mut NpuFacts, rows: &[topo::Row], nodes: &[NumaNode]) -> Vec<NpuTopology> {
    let id_of = |npu: u32| {
        let by_id = facts.devices.iter().find(|device| device.id == npu);
        by_id.or_else(|| facts.devices.iter().find(|device| device.npu == npu)).map(|device| device.id)
    };
    let mut topology = Vec::new();
    for device in &facts.devices {
        let row = rows.iter().find(|row| id_of(row.npu) == Some(device.id));
        let numa_of_bus = device.bus_id.as_deref().and_then(|bus| numa_by_bus(&facts.pci, bus));
        let affinity = row.and_then(|row| row.cpu_affinity.clone());
        let numa_node =
            numa_of_bus.or_else(|| affinity.as_deref().and_then(|cpus| numa_by_cpus(nodes, cpus)));
        let cpu_affinity = affinity
            .or_else(|| nodes.iter().find(|node| Some(node.id) == numa_node).map(|node| node.cpus.clone()));
        let hccs = row.map(|row| row.hccs.iter().filter_map(|npu| id_of(*npu)).collect()).unwrap_or_default();
        if row.is_some() || numa_node.is_some() {
            topology.push(NpuTopology { id: device.id, numa_node, cpu_affinity, hccs });
        }
    }
    topology
}

fn numa_by_bus(pci: &[PciDevice], bus: &str) -> Option<u32> {
    pci.iter().find(|device| device.address.eq_ignore_ascii_case(bus)).and_then(|device| device.numa_node)
}

fn numa_by_cpus(nodes: &[NumaNode], cpus: &str) -> Option<u32> {
    let near = crate::model::cpulist::parse(cpus)?;
    nodes
        .iter()
        .find(|node| {
            crate::model::cpulist::parse(&node.cpus)
                .is_some_and(|all| near.iter().all(|cpu| all.contains(cpu)))
        })
        .map(|node| node.id)
}

#[cfg(test)]
mod tests;
