//! Memory and NUMA nodes.

use super::outcome::{Outcome, bad, doubtful, good, list, looked};
use super::{Check, Need, On, Scope};
use crate::model::Size;
use crate::model::check::Severity;
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
];

/// In one unit, so that seen and wanted compare at a glance.
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
