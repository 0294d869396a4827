//! Memory, NUMA nodes, and whether there is as much as the profile promises.

use super::outcome::{Outcome, bad, doubtful, good, list, looked};
use super::{Check, Need, On, Scope};
use crate::check::report::Severity;
use crate::model::Size;
use crate::model::check_facts::NotLooked;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "memory.total",
        title: "Memory",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Memory],
        wants: |wants| match wants.profile.check.memory {
            Some(least) => Ok(format!("{} or more", gib(least))),
            None => Err("the profile names no memory".into()),
        },
        judge: total,
    },
    Check {
        id: "numa.nodes",
        title: "NUMA nodes",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Cpu],
        wants: |wants| match wants.profile.check.numa_nodes {
            Some(count) => Ok(format!("{count} nodes, each with CPUs and memory")),
            None => Err("the profile names no NUMA nodes".into()),
        },
        judge: numa,
    },
    Check {
        id: "profile.fits",
        title: "Profile fits the machine",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Cpu],
        wants: |_| Ok("no more promised to berths than there is, and nothing that contradicts itself".into()),
        judge: fits,
    },
];

/// Whether the profile's numbers for berths fit each other and the node's CPUs.
fn fits(scope: &Scope) -> Result<Outcome, NotLooked> {
    let cpu = looked(&scope.facts.cpu)?;
    let (rules, devices) = (&scope.profile.berth, &scope.profile.devices);
    let mut wrong = Vec::new();
    let promised = rules.cpus_per_card * f64::from(devices.cards);
    if promised > f64::from(cpu.logical) {
        wrong.push(format!(
            "berth.cpus-per-card promises {promised} CPUs on all cards, and there are {}",
            cpu.logical
        ));
    }
    if rules.shm_size > rules.memory_per_card {
        let (shm, memory) = (rules.shm_size, rules.memory_per_card);
        wrong.push(format!("berth.shm-size is {shm}, and a berth of one card has {memory} of memory in all"));
    }
    if rules.default_lease > rules.max_lease {
        wrong.push("berth.default-lease is longer than berth.max-lease".into());
    }
    let grouped = devices.groups.iter().flatten();
    let strange: Vec<String> =
        grouped.filter(|card| card.0 >= devices.cards).map(ToString::to_string).collect();
    if !strange.is_empty() {
        wrong
            .push(format!("devices.groups names cards that devices.cards leaves out: {}", strange.join(",")));
    }
    if wrong.is_empty() {
        let cpus = cpu.logical;
        return Ok(good(format!("{promised} of {cpus} CPUs promised")));
    }
    Ok(doubtful(list(wrong), "change these keys of the profile"))
}

/// A size in GiB, so that seen and wanted have the same unit.
fn gib(size: Size) -> String {
    format!("{} GiB", size.0 >> 30)
}

fn total(scope: &Scope) -> Result<Outcome, NotLooked> {
    let memory = looked(&scope.facts.memory)?;
    let total = Size::mib(memory.total_mib);
    let seen = format!("{}, {} available", gib(total), gib(Size::mib(memory.available_mib)));
    if scope.profile.check.memory.is_some_and(|least| total < least) {
        return Ok(bad(
            seen,
            "dmidecode -t memory | grep Size; a module that is missing there has failed or is loose",
        ));
    }
    let rules = &scope.profile.berth;
    let given = Size(rules.memory_per_card.0.saturating_mul(u64::from(scope.profile.devices.cards)));
    if given > total {
        let seen = format!("{}, and berths on all cards may use {}", gib(total), gib(given));
        return Ok(doubtful(seen, "lower berth.memory-per-card in the profile"));
    }
    Ok(good(seen))
}

fn numa(scope: &Scope) -> Result<Outcome, NotLooked> {
    let cpu = looked(&scope.facts.cpu)?;
    let nodes = &cpu.numa_nodes;
    let wanted = scope.profile.check.numa_nodes.unwrap_or_default();
    let seen = format!("NUMA nodes: {}, CPUs: {}", nodes.len(), cpu.logical);
    let bare: Vec<String> = nodes
        .iter()
        .filter(|node| node.cpus.is_empty() || node.memory_mib == Some(0))
        .map(|node| {
            format!("node {} has no {}", node.id, if node.cpus.is_empty() { "CPUs" } else { "memory" })
        })
        .collect();
    if !bare.is_empty() {
        return Ok(bad(list(bare), "dmidecode -t memory; a node without memory has lost its modules"));
    }
    if nodes.len() != wanted {
        return Ok(bad(
            seen,
            "switch NUMA on in the firmware's setup; until then berths are not kept near their cards",
        ));
    }
    Ok(good(seen))
}
