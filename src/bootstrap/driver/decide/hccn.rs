//! The addresses of the cards' network ports: which they should have, and which have to be set.

use super::csv::{self, Row};
use super::install::refuse_held;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{NewAddress, Part, SetAddresses, Step};
use crate::model::driver::{HccnSeen, PortAddress};
use crate::profile::{HccnWants, WantedAddress};
use std::net::Ipv4Addr;

/// The input of the decision besides the facts.
pub struct Addresses<'a> {
    pub wants: &'a HccnWants,
    /// How many cards the node has.
    pub cards: u32,
    /// The text of the table, if the profile names one, or why it could not be read.
    pub csv: Option<Result<String, String>>,
    pub hostname: &'a str,
    /// The driver needs a reboot first, so that the cards cannot be asked now.
    pub after_reboot: bool,
}

/// Plans the step that sets addresses, if the cards have other ones.
pub fn plan_addresses(seen: &Observed, request: &Addresses) -> Part {
    let mut part = Part::default();
    if !request.wants.is_wanted() {
        return part;
    }
    let wanted = match wanted(request, &seen.machine.id) {
        Ok(wanted) => wanted,
        Err(found) => {
            for what in found {
                part.refuse(what, "mend [bootstrap.hccn] of the profile, or the table that it names");
            }
            return part;
        }
    };
    let nothing = HccnSeen::default();
    let now = seen.hccn.as_ref().unwrap_or(&nothing);
    let ports: Vec<NewAddress> = wanted
        .iter()
        .filter(|wanted| !now.ports.iter().any(|port| has(port, wanted)))
        .map(new_address)
        .collect();
    if let Some(why) = now.not_asked.as_ref().filter(|_| !request.after_reboot) {
        part.refuse(
            format!("the cards' addresses could not be looked at: {why}"),
            "hccn_tool comes with the driver and needs it loaded; see tools.hccn-tool in the config",
        );
    } else if ports.is_empty() {
        part.is_right(format!("{} cards have their network addresses", wanted.len()));
    } else {
        if !request.after_reboot {
            refuse_held(seen, "change the cards' addresses", &mut part);
        }
        let why = reason(&ports, now);
        part.add(Step::SetAddresses(SetAddresses { ports }), why);
    }
    part
}

fn reason(ports: &[NewAddress], now: &HccnSeen) -> String {
    let shown = ports.iter().map(|port| {
        let seen = now.ports.iter().find(|seen| seen.card == port.card);
        let address = seen.and_then(|seen| seen.address.as_deref()).unwrap_or("none");
        format!("card {} has {address}", port.card)
    });
    let source = if now.not_asked.is_some() { " (by /etc/hccn.conf)" } else { "" };
    format!("{}{source}", shown.collect::<Vec<_>>().join(", "))
}

/// Whether a port has the wanted address. Its gateway is compared only if one is wanted.
fn has(port: &PortAddress, wanted: &WantedAddress) -> bool {
    let is = |seen: &Option<String>, wanted: Ipv4Addr| {
        seen.as_deref().is_some_and(|text| text.parse() == Ok(wanted))
    };
    port.card == wanted.card
        && is(&port.address, wanted.address)
        && is(&port.netmask, wanted.netmask)
        && wanted.gateway.is_none_or(|gateway| is(&port.gateway, gateway))
}

fn new_address(wanted: &WantedAddress) -> NewAddress {
    NewAddress {
        card: wanted.card,
        address: wanted.address.to_string(),
        netmask: wanted.netmask.to_string(),
        gateway: wanted.gateway.map(|gateway| gateway.to_string()),
    }
}

/// This node's addresses, sorted by card; `Err`: everything that is wrong with them.
fn wanted(request: &Addresses, machine_id: &str) -> Result<Vec<WantedAddress>, Vec<String>> {
    let mut found = Vec::new();
    let mut wanted = match &request.csv {
        None => request.wants.addresses.clone(),
        Some(Err(why)) => return Err(vec![why.clone()]),
        Some(Ok(text)) => {
            let name = request.wants.csv.display();
            let rows =
                csv::parse(text).map_err(|why| vec![format!("{name} is no table of addresses: {why}")])?;
            found.extend(duplicates(&rows).into_iter().map(|what| format!("{name}: {what}")));
            let own: Vec<&Row> =
                rows.iter().filter(|row| is_this(row, request.hostname, machine_id)).collect();
            if own.is_empty() {
                found
                    .push(format!("{name} has no line for this node ({} or {machine_id})", request.hostname));
                return Err(found);
            }
            own.into_iter().map(of_row).collect()
        }
    };
    wanted.sort_by_key(|wanted| wanted.card);
    found.extend(count_problems(&wanted, request.cards));
    found.extend(wanted.iter().filter_map(problem));
    if request.csv.is_none() {
        found.extend(same_addresses(&wanted));
    }
    if found.is_empty() { Ok(wanted) } else { Err(found) }
}

fn of_row(row: &Row) -> WantedAddress {
    WantedAddress { card: row.card, address: row.address, netmask: row.netmask, gateway: row.gateway }
}

/// Whether a row is this node's: by machine id, by its full host name, or by the first part of that name.
fn is_this(row: &Row, hostname: &str, machine_id: &str) -> bool {
    let first = hostname.split('.').next().unwrap_or(hostname);
    let names = [hostname, first, machine_id];
    names.iter().any(|name| !name.is_empty() && row.host.eq_ignore_ascii_case(name))
}

/// Names each address that is in the table twice, on whatever nodes: that is wrong for the whole fleet.
fn duplicates(rows: &[Row]) -> Vec<String> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.address, row.line));
    let pairs = sorted.iter().zip(sorted.iter().skip(1)).filter(|(a, b)| a.address == b.address);
    pairs
        .take(10)
        .map(|(a, b)| format!("lines {} and {} both have the address {}", a.line, b.line, a.address))
        .collect()
}

fn same_addresses(wanted: &[WantedAddress]) -> Vec<String> {
    let mut sorted: Vec<&WantedAddress> = wanted.iter().collect();
    sorted.sort_by_key(|wanted| wanted.address);
    let pairs = sorted.iter().zip(sorted.iter().skip(1)).filter(|(a, b)| a.address == b.address);
    pairs
        .map(|(a, b)| format!("cards {} and {} both have the address {}", a.card, b.card, a.address))
        .collect()
}

/// Names cards without a row, with several rows, and those that the node does not have.
fn count_problems(wanted: &[WantedAddress], cards: u32) -> Vec<String> {
    let mut found = Vec::new();
    for card in 0..cards {
        match wanted.iter().filter(|wanted| wanted.card == card).count() {
            1 => {}
            0 => found.push(format!("card {card} has no address, and this node has {cards} cards")),
            _ => found.push(format!("card {card} has more than one address")),
        }
    }
    let more = wanted.iter().filter(|wanted| wanted.card >= cards);
    found.extend(more.map(|wanted| format!("there is no card {}: this node has {cards}", wanted.card)));
    found
}

fn problem(wanted: &WantedAddress) -> Option<String> {
    let WantedAddress { card, address, netmask, gateway } = wanted;
    let mask = netmask.to_bits();
    let size = mask.leading_ones();
    if mask.count_ones() != size || !(1..=30).contains(&size) {
        return Some(format!("card {card}: {netmask} is no netmask"));
    }
    let bits = address.to_bits();
    let is_end = bits & !mask == 0 || bits & !mask == !mask;
    if is_end || address.is_loopback() || address.is_multicast() || bits >> 24 == 0 || bits >> 28 == 15 {
        return Some(format!("card {card}: {address} with {netmask} is no address of a host"));
    }
    let gateway = (*gateway)?;
    let is_outside = gateway.to_bits() & mask != bits & mask;
    (is_outside || gateway == *address)
        .then(|| format!("card {card}: gateway {gateway} is not a neighbour of {address} with {netmask}"))
}
