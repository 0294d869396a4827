//! The rules between berths, as iptables-restore reads them. Pure: every word is an address, a number, or a checked
//! name.

use super::apart::{Chains, Ip, Neighbours};
use std::net::IpAddr;

/// The ICMPv6 types of neighbour discovery; without them no host on the network reaches another one.
const NEIGHBOUR_DISCOVERY: [u8; 2] = [135, 136];

/// The text for iptables-restore. It empties the chains that it names, and leaves others alone.
pub(super) fn text(chains: &Chains, ip: Ip, neighbours: &Neighbours, bridge: &str) -> String {
    let Chains { between, host, .. } = chains;
    let mut lines = vec!["*filter".to_owned(), format!(":{between} - [0:0]"), format!(":{host} - [0:0]")];
    if ip == Ip::V6 {
        for (chain, kind) in
            [between, host].into_iter().flat_map(|chain| NEIGHBOUR_DISCOVERY.map(|kind| (chain, kind)))
        {
            lines.push(format!("-A {chain} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN"));
        }
    }
    lines.extend(of_one_owner(between, ip, neighbours));
    lines.extend(to_the_host(host, neighbours));
    let addresses = neighbours.owners.values().flatten().filter(|address| ip.has(**address));
    let mut closed: Vec<String> =
        addresses.flat_map(|address| of_address(chains, *address, bridge)).collect();
    if ip == Ip::V6 {
        closed.extend(neighbours.macs.iter().flat_map(|mac| {
            let from = format!("-i {bridge} -m mac --mac-source {mac}");
            [format!("{between} {from} -o {bridge}"), format!("{host} {from}")]
        }));
    }
    for packets in closed {
        // Of the other answer the kernel sends few in a second, and whoever gets none waits.
        lines.push(format!("-A {packets} -p tcp -j REJECT --reject-with tcp-reset"));
        lines.push(format!("-A {packets} -j REJECT"));
    }
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

fn of_one_owner(between: &str, ip: Ip, neighbours: &Neighbours) -> Vec<String> {
    let mut lines = Vec::new();
    for addresses in neighbours.owners.values() {
        let addresses: Vec<&IpAddr> = addresses.iter().filter(|address| ip.has(**address)).collect();
        for from in &addresses {
            for to in addresses.iter().filter(|to| *to != from) {
                lines.push(format!("-A {between} -s {} -d {} -j RETURN", alone(**from), alone(**to)));
            }
        }
    }
    lines
}

/// The rules for packets to the host. They accept answers to the host, and the ports that anybody reaches from outside:
/// the berths' SSH and the gateway.
fn to_the_host(chain: &str, neighbours: &Neighbours) -> Vec<String> {
    let (first, last) = neighbours.ssh_ports.ends();
    let ssh = format!("{first}:{last}");
    let mut lines = vec![
        format!("-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"),
        format!("-A {chain} -p tcp -m tcp --dport {ssh} -j RETURN"),
    ];
    for port in &neighbours.host_ports {
        for protocol in ["tcp", "udp"] {
            lines.push(format!("-A {chain} -p {protocol} -m {protocol} --dport {port} -j RETURN"));
        }
    }
    lines
}

fn of_address(chains: &Chains, address: IpAddr, bridge: &str) -> [String; 3] {
    let (Chains { between, host, .. }, address) = (chains, alone(address));
    [
        format!("{between} -s {address} -i {bridge} -o {bridge}"),
        format!("{between} -d {address} -i {bridge} -o {bridge}"),
        format!("{host} -s {address} -i {bridge}"),
    ]
}

/// One address, as a network.
fn alone(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
