//! Which host port a new berth gets. SSH clients store a host key by node and port. So the best port is one that
//! had this owner's key before, and the next best is one that never had another key.

use crate::error::Fault;
use crate::ledger::PortUse;
use crate::model::Berth;
use crate::profile::SshConfig;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

/// The berth that needs a port.
pub(super) struct Asker<'a> {
    pub(super) owner: &'a str,
    pub(super) name: &'a str,
    /// The public line of the owner's host key.
    pub(super) host_key: &'a str,
}

/// The best port that no berth has and no other program on the node listens on. An error when there is none.
pub(super) fn free_port(
    ssh: &SshConfig,
    asker: &Asker,
    past: &[PortUse],
    held: &[Berth],
) -> Result<u16, Fault> {
    let range = ssh.ports;
    let taken: BTreeSet<u16> = held.iter().map(|berth| berth.port).collect();
    let address = ssh.address;
    let free = range.ports().filter(|port| !taken.contains(port));
    for port in by_preference(asker, past, free) {
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(Fault::host(format!("listening on {address} port {port}: {error}"))
                    .help("ssh.address in the config must be an address of this node"));
            }
        }
    }
    Err(Fault::busy(format!("all {} SSH ports of the range {range} are in use", range.count()))
        .help("release a berth, or widen ssh.ports in the config"))
}

/// Free ports in order: the one that this name had last, the owner's others, those that were never used, the rest.
fn by_preference(asker: &Asker, past: &[PortUse], free: impl Iterator<Item = u16>) -> Vec<u16> {
    let ours: BTreeSet<u16> =
        past.iter().filter(|used| used.host_key == asker.host_key).map(|used| used.port).collect();
    let seen: BTreeSet<u16> = past.iter().map(|used| used.port).collect();
    let last = past
        .iter()
        .filter(|used| {
            used.host_key == asker.host_key && used.owner == asker.owner && used.name == asker.name
        })
        .max_by_key(|used| used.last)
        .map(|used| used.port);
    let mut ports: Vec<u16> = free.collect();
    // The sort is stable: of equals the lowest is first.
    ports.sort_by_key(|port| Reverse((last == Some(*port), ours.contains(port), !seen.contains(port))));
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_remembers_a_port_finds_the_key_it_knows() {
        let used = |port, owner: &str, name: &str, key: &str, last| PortUse {
            port,
            owner: owner.into(),
            name: name.into(),
            host_key: key.into(),
            last,
        };
        let past = [
            used(1, "bob", "dev", "B", 1),
            used(2, "alice", "old", "A", 2),
            used(3, "alice", "dev", "A", 3),
            used(4, "alice", "dev", "A", 4),
            // Whoever had the name before had another key.
            used(5, "alice", "dev", "Z", 5),
        ];
        let asker = |name| Asker { owner: "alice", name, host_key: "A" };
        let order = |name| by_preference(&asker(name), &past, 1..=7);
        assert_eq!(order("dev"), [4, 2, 3, 6, 7, 1, 5]);
        assert_eq!(order("new"), [2, 3, 4, 6, 7, 1, 5]);
        assert_eq!(by_preference(&asker("dev"), &[], 1..=3), [1, 2, 3]);
    }
}
