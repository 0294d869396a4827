//! The cards: how many there are, whether one is lost, and their device nodes.

use super::answer::{Driver, driver, shown};
use super::driver::install;
use super::outcome::{Outcome, bad, doubtful, good, list, looked, skipped};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::model::CardId;
use crate::model::check_facts::NotLooked;
use crate::model::facts::PciDevice;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "npu.count",
        title: "Cards that the driver shows",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Npu, Need::Driver, Need::Pci],
        wants: |wants| Ok(format!("{} cards", wants.profile.devices.cards)),
        judge: count,
    },
    Check {
        id: "npu.pci",
        title: "Cards on the PCI bus",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Pci],
        wants: |wants| Ok(pci_wants(wants)),
        judge: pci,
    },
    Check {
        id: "npu.lost",
        title: "No card lost",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Npu, Need::Driver, Need::Pci],
        wants: |_| Ok("every card on the bus is shown by the driver".into()),
        judge: lost,
    },
    Check {
        id: "npu.nodes",
        title: "Device nodes",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Nodes, Need::Driver],
        wants: |wants| Ok(nodes_wants(wants)),
        judge: nodes,
    },
];

/// The cards of the profile's kind; every accelerator where the profile names no ids.
fn of_profile<'a>(pci: &'a [PciDevice], scope: &Scope) -> Vec<&'a PciDevice> {
    let ids = &scope.profile.devices.pci_ids;
    let fits =
        |device: &&PciDevice| ids.is_empty() || ids.iter().any(|id| id.eq_ignore_ascii_case(&pci_id(device)));
    pci.iter().filter(fits).collect()
}

fn pci_id(device: &PciDevice) -> String {
    format!("{}:{}", device.vendor, device.device)
}

/// `8 x 19e5:d802`
fn by_id(pci: &[PciDevice]) -> String {
    let mut ids: Vec<String> = pci.iter().map(pci_id).collect();
    ids.sort();
    let mut parts = Vec::new();
    for group in ids.chunk_by(|a, b| a == b) {
        parts.extend(group.first().map(|id| format!("{} x {id}", group.len())));
    }
    if parts.is_empty() { "no accelerator".into() } else { parts.join(", ") }
}

/// The cards on the PCI bus, as text. The simulated node's cards are on no bus.
fn on_bus(scope: &Scope) -> String {
    if scope.profile.simulation.is_some() {
        return String::new();
    }
    match &scope.facts.pci {
        Ok(pci) => format!("; on the PCI bus: {}", by_id(pci)),
        Err(why) => format!("; the PCI bus could not be looked at: {}", why.reason),
    }
}

fn count(scope: &Scope) -> Result<Outcome, NotLooked> {
    let wanted = scope.profile.devices.cards as usize;
    let facts = match driver(scope)? {
        Driver::Shows(facts) => facts,
        Driver::Absent(why) | Driver::Held(why) => {
            return Ok(bad(format!("{}{}", why.reason, on_bus(scope)), why.remedy.unwrap_or_default()));
        }
    };
    let shown = facts.devices.len();
    let names: Vec<&str> = facts.devices.iter().map(|device| device.name.as_str()).collect();
    let name = names.first().copied().unwrap_or_default();
    let seen = format!("{shown} x {name}{}", on_bus(scope));
    Ok(match shown.cmp(&wanted) {
        _ if names.iter().any(|other| *other != name) => doubtful(
            format!("{shown} cards of several kinds: {}", list(names)),
            "choose the profile that fits this node",
        ),
        std::cmp::Ordering::Equal => good(seen),
        std::cmp::Ordering::Less => bad(seen, "berth check --only npu.lost,holders"),
        std::cmp::Ordering::Greater => {
            doubtful(seen, "set devices.cards in the profile to what this node has")
        }
    })
}

fn pci_wants(wants: &Wants) -> String {
    let devices = &wants.profile.devices;
    let ids =
        if devices.pci_ids.is_empty() { "accelerators".to_owned() } else { devices.pci_ids.join(" or ") };
    format!("{} x {ids}", devices.cards)
}

fn pci(scope: &Scope) -> Result<Outcome, NotLooked> {
    let pci = looked(&scope.facts.pci)?;
    let ours = of_profile(pci, scope).len();
    let seen = by_id(pci);
    let wanted = scope.profile.devices.cards as usize;
    Ok(if ours == wanted && ours == pci.len() {
        good(seen)
    } else if ours == 0 && !pci.is_empty() {
        bad(seen, "these are other cards: choose another profile, berth check --profile NAME")
    } else if ours < wanted {
        bad(seen, "lspci -d 19e5: | grep accelerators; reboot, and have a card that stays away repaired")
    } else {
        doubtful(seen, "set devices.cards and devices.pci-ids in the profile to what this node has")
    })
}

fn lost(scope: &Scope) -> Result<Outcome, NotLooked> {
    const REBOOT: &str =
        "systemctl reboot; power the node off and on when the card stays away, then have it repaired";
    let wanted = scope.profile.devices.cards;
    if scope.profile.simulation.is_some() {
        let facts = shown(scope)?;
        let missing: Vec<u32> =
            (0..wanted).filter(|id| facts.devices.iter().all(|device| device.id != *id)).collect();
        return Ok(if missing.is_empty() {
            good(format!("all {wanted} cards are shown"))
        } else {
            bad(format!("lost: card {}", list(missing)), REBOOT)
        });
    }
    let pci = of_profile(looked(&scope.facts.pci)?, scope);
    if !pci.is_empty() && pci.len() < wanted as usize {
        // What the bus does not have is lost, whatever the driver says.
        return Ok(bad(
            format!("{} of {wanted} cards on the PCI bus: a card fell off it", pci.len()),
            REBOOT,
        ));
    }
    let facts = match driver(scope)? {
        _ if pci.is_empty() => return Ok(skipped("no card of the profile is on the bus: see npu.pci")),
        Driver::Shows(facts) => facts,
        Driver::Absent(why) | Driver::Held(why) => {
            let reason = format!("the bus has all {} cards; {}", pci.len(), why.reason);
            return Err(NotLooked { reason, ..why });
        }
    };
    let shown = |address: &str| {
        facts.devices.iter().any(|d| d.bus_id.as_deref().is_some_and(|bus| bus.eq_ignore_ascii_case(address)))
    };
    // Bus ids are optional in the table; without them only the numbers can be compared.
    let no_ids = facts.devices.iter().any(|device| device.bus_id.is_none());
    let lost: Vec<&str> = pci.iter().map(|d| d.address.as_str()).filter(|a| !no_ids && !shown(a)).collect();
    if let [first, ..] = lost.as_slice() {
        let seen = format!("on the bus, and not shown by the driver: {}", list(lost.iter()));
        return Ok(bad(seen, format!("dmesg | grep -i {first}; then systemctl reboot")));
    }
    let shown = facts.devices.len();
    if shown < pci.len() {
        return Ok(bad(format!("{} cards on the bus, {shown} shown by the driver", pci.len()), REBOOT));
    }
    Ok(good(format!("{} on the bus, {shown} shown by the driver", pci.len())))
}

fn nodes_wants(wants: &Wants) -> String {
    let devices = &wants.profile.devices;
    let node = |id| wants.accel().node_name(CardId(id));
    format!("{} to {}, {}", node(0), node(devices.cards.saturating_sub(1)), devices.manager.join(", "))
}

fn nodes(scope: &Scope) -> Result<Outcome, NotLooked> {
    let nodes = looked(&scope.facts.nodes)?;
    let dev = scope.config.paths.dev.display();
    let missing: Vec<String> = (0..scope.profile.devices.cards)
        .filter(|id| !nodes.cards.contains(id))
        .map(|id| scope.accel().node_name(CardId(id)))
        .chain(nodes.missing_managers.iter().cloned())
        .collect();
    if let Some(wrong) = nodes.wrong.first() {
        return Ok(bad(wrong.clone(), "remove what is there and reboot; the driver makes the nodes itself"));
    }
    if !missing.is_empty() {
        let is_missing = scope.facts.driver.as_ref().is_ok_and(|driver| driver.version.is_none());
        let remedy = if is_missing {
            format!("no driver is installed, which makes them: {}", install(scope))
        } else {
            "load the driver (modprobe drv_pcie_host), or reboot; it makes the nodes itself".into()
        };
        return Ok(bad(format!("not in {dev}: {}", list(missing)), remedy));
    }
    let group = nodes.gid.map(|gid| format!(", group {gid}")).unwrap_or_default();
    Ok(good(format!("{} cards and their managers{group}", nodes.cards.len())))
}
