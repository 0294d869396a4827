//! Other users of the cards: schedulers that hand out the same cards, and who has cards now.

use super::answer::shown;
use super::outcome::{Outcome, bad, doubtful, good, list, looked};
use super::{Check, Need, On, Scope};
use crate::check::report::Severity;
use crate::check::seen::OpenBy;
use crate::model::Holder;
use crate::model::check_facts::NotLooked;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "coexist.kubelet",
        title: "Kubernetes",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Conflicts],
        wants: |_| Ok("no kubelet that hands out the same cards".into()),
        judge: kubelet,
    },
    Check {
        id: "coexist.container-manager",
        title: "MindCluster's container-manager",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Conflicts],
        wants: |_| Ok("nobody else stops and starts containers with cards".into()),
        judge: container_manager,
    },
    Check {
        id: "coexist.slurm",
        title: "Slurm",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Conflicts],
        wants: |_| Ok("no slurmd that hands out the same cards".into()),
        judge: slurm,
    },
    Check {
        id: "holders.foreign",
        title: "Cards in use outside berths",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Holders, Need::Npu, Need::Driver],
        wants: |_| Ok("cards are used only by berths".into()),
        judge: foreign,
    },
];

fn kubelet(scope: &Scope) -> Result<Outcome, NotLooked> {
    let conflicts = looked(&scope.facts.conflicts)?;
    let sockets = looked(&conflicts.device_plugins)?;
    let plugins = list(sockets);
    Ok(match (conflicts.kubelet.first(), sockets.is_empty()) {
        (Some((pid, name)), false) => bad(
            format!("{name} runs (pid {pid}) with a device plugin for the cards: {plugins}"),
            "give the node to one of them: kubectl drain, and disable its service (kubelet, k3s, rke2-server, …); or do not use berth here",
        ),
        (Some((pid, name)), true) => doubtful(
            format!("{name} runs (pid {pid}); no device plugin for the cards was seen"),
            format!("keep pods with /dev/{}* off this node: kubectl cordon", scope.accel().words().nodes),
        ),
        (None, false) => doubtful(
            format!("no kubelet by a known name runs, and there is a device plugin's socket: {plugins}"),
            "look for a Kubernetes of another name; where none is left, remove the socket from /var/lib/kubelet/device-plugins",
        ),
        (None, true) => good("no kubelet runs"),
    })
}

fn container_manager(scope: &Scope) -> Result<Outcome, NotLooked> {
    let conflicts = looked(&scope.facts.conflicts)?;
    Ok(match conflicts.container_manager.first() {
        // On a fault it may stop the containers of a whole ring, and starts them again later.
        Some(pid) => bad(
            format!("container-manager runs (pid {pid}) and may stop berths when a card fails"),
            "start it with its default strategy, never; or systemctl disable --now container-manager",
        ),
        None => good("it does not run"),
    })
}

fn slurm(scope: &Scope) -> Result<Outcome, NotLooked> {
    let conflicts = looked(&scope.facts.conflicts)?;
    let Some(pid) = conflicts.slurmd.first() else { return Ok(good("no slurmd runs")) };
    if !*looked(&conflicts.slurm_has_cards)? {
        return Ok(good(format!("slurmd runs (pid {pid}); its gres.conf names no card")));
    }
    Ok(bad(
        format!("slurmd runs (pid {pid}), and gres.conf names /dev/{}*", scope.accel().words().nodes),
        "drain the node in Slurm (scontrol update NodeName=… State=DRAIN), or take the cards out of gres.conf",
    ))
}

/// A card, and who has it.
type Held = BTreeMap<u32, BTreeSet<String>>;

fn foreign(scope: &Scope) -> Result<Outcome, NotLooked> {
    let holders = looked(&scope.facts.holders)?;
    let mut held = Held::new();
    let containers = holders.containers.as_deref().unwrap_or_default();
    let open = holders.processes.as_deref().unwrap_or_default();
    for (card, holder, _) in containers.iter().filter(|(_, _, berth)| !berth) {
        held.entry(*card).or_default().insert(holder.to_string());
    }
    add_open(&mut held, containers, open);
    add_listed(&mut held, scope, containers, open);
    if !held.is_empty() {
        let seen = list(held.iter().map(|(card, who)| format!("card {card}: {}", list(who))));
        return Ok(bad(
            seen,
            "berth gives these cards to nobody; end what need not run: docker stop NAME, kill PID",
        ));
    }
    // Nobody was found: that counts only when all were looked at.
    looked(&holders.nodes)?;
    looked(&holders.containers)?;
    looked(&holders.processes)?;
    let in_berths: BTreeSet<u32> = containers.iter().map(|(card, ..)| *card).collect();
    Ok(good(format!("nobody; {} cards are in berths", in_berths.len())))
}

type Containers = [(u32, Holder, bool)];

fn add_open(held: &mut Held, containers: &Containers, open: &[OpenBy]) {
    let known = |id: &str| {
        containers
            .iter()
            .any(|(_, holder, _)| matches!(holder, Holder::Container { id: known, .. } if known == id))
    };
    for open in open.iter().filter(|open| !open.container_id.as_deref().is_some_and(known)) {
        let user = open.user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
        held.entry(open.card).or_default().insert(format!("process {} ({}{user})", open.pid, open.name));
    }
}

/// Adds the processes that npu-smi lists on cards that no container has. Without npu-smi, only the kernel's record of
/// open cards is used.
fn add_listed(held: &mut Held, scope: &Scope, containers: &Containers, open: &[OpenBy]) {
    let Ok(facts) = shown(scope) else { return };
    for device in &facts.devices {
        if containers.iter().any(|(card, ..)| *card == device.id) {
            continue;
        }
        for process in
            device.processes.iter().filter(|process| open.iter().all(|open| open.pid != process.pid))
        {
            held.entry(device.id).or_default().insert(format!("process {} ({})", process.pid, process.name));
        }
    }
}
