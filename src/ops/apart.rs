//! Keeps berths of different owners from reaching each other and the host's ports, with firewall rules for the
//! addresses of their containers. Docker can change an address, so each look asks Docker for the addresses again.

use super::{Caller, Node};
use crate::engine::BridgeNetwork;
use crate::error::Fault;
use crate::host::Host;
use crate::host::apart::{Chains, Ip, Neighbours, Seen, is_filtered};
use crate::model::{Berth, Mac};
use crate::profile::{BetweenBerths, Config};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The rules that were last written, and how iptables listed them then.
#[derive(Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    /// The config wants no rules, and there are none.
    Open,
    /// The rules of each IP version.
    Closed(Neighbours, Vec<Seen>),
}

/// The result of a look at the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    AsItShould,
    /// Another program had removed rules; they are written again.
    Reopened,
}

impl Node {
    /// Writes the rules that the present containers need. When it returns without an error, the rules are in force.
    pub(super) async fn keep_apart(&self) -> Result<()> {
        if self.look_at_neighbours().await? == Looked::Reopened {
            self.tell_apart(
                "berths.apart",
                "somebody removed rules that keep berths apart; they are there again",
            )
            .await;
        }
        Ok(())
    }

    /// As [`Node::keep_apart`], but only logs an error. For the end of a berth, where a rule may stay a moment
    /// longer.
    pub(super) async fn try_to_keep_apart(&self) {
        if let Err(error) = self.keep_apart().await {
            tracing::debug!(error = format!("{error:#}"), "the rules between berths are looked at again");
        }
    }

    async fn look_at_neighbours(&self) -> Result<Looked> {
        // One at a time: an older look must not be written last.
        let mut kept = self.apart.lock().await;
        let config = &self.settings().config;
        let work = Work { host: self.host(), instance: self.instance.clone(), run: config.paths.run.clone() };
        if config.docker.between_berths == BetweenBerths::Open {
            if !matches!(*kept, Kept::Open) {
                tokio::task::spawn_blocking(move || work.leave(&[Ip::V4, Ip::V6])).await?;
                *kept = Kept::Open;
            }
            return Ok(Looked::AsItShould);
        }
        let neighbours = self.neighbours(config).await?;
        let before = std::mem::take(&mut *kept);
        let done = tokio::task::spawn_blocking(move || work.close(before, neighbours)).await?;
        let (now, looked) = done.context("keeping berths apart")?;
        *kept = now;
        Ok(looked)
    }

    async fn neighbours(&self, config: &Config) -> Result<Neighbours> {
        let network = self.engine().await?.bridge_network(&config.docker.network).await?;
        let held = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        let gateway = config.ssh.gateway_address()?.map(|address| address.port());
        let (owners, macs) = addresses_of(&held, &network);
        Ok(Neighbours {
            owners,
            macs,
            ipv6: network.ipv6,
            bridge: network.bridge,
            host_ports: config.docker.host_ports.iter().copied().chain(gateway).collect(),
            ssh_ports: config.ssh.ports,
        })
    }

    /// Checks the rules. `failed` says whether the last look failed: berths may then reach each other. The failure
    /// and its end are each reported once.
    pub async fn watch_apart(&self, failed: &mut bool) -> Result<()> {
        let looked = self.keep_apart().await;
        match (&looked, std::mem::replace(failed, looked.is_err())) {
            (Ok(()), true) => self.tell_apart("berths.apart", "berths are kept apart again").await,
            (Err(error), false) => {
                let text = format!("berths may reach each other: {error:#}");
                self.record_or_log(self.event("berths.open", &Caller::agent().name, text)).await;
            }
            _ => {}
        }
        looked.context("berths may reach each other")
    }

    async fn tell_apart(&self, kind: &'static str, text: &str) {
        tracing::warn!(kind, text);
        self.record_or_log(self.event(kind, &Caller::agent().name, text)).await;
    }
}

/// What writing rules needs, for a thread that may block.
struct Work {
    host: Arc<dyn Host>,
    instance: String,
    run: PathBuf,
}

impl Work {
    fn close(&self, before: Kept, neighbours: Neighbours) -> Result<(Kept, Looked), Fault> {
        let host = &*self.host;
        let versions = neighbours.versions();
        let chains: Vec<Chains> =
            versions.iter().map(|ip| Chains::of(&self.instance, *ip)).collect::<Result<_, _>>()?;
        let look = || chains.iter().map(|chains| chains.look(host)).collect::<Result<Vec<Seen>, Fault>>();
        let seen = look()?;
        let then = match &before {
            Kept::Closed(known, then) if known.versions() == versions => Some((known, then)),
            _ => None,
        };
        let was_touched = then.is_some_and(|(_, then)| *then != seen);
        let is_filtered = || versions.iter().all(|ip| is_filtered(host, &neighbours.bridge, *ip));
        if !was_touched && then.is_some_and(|(known, _)| *known == neighbours) && is_filtered() {
            return Ok((before, Looked::AsItShould));
        }
        for (chains, ip) in chains.iter().zip(versions) {
            chains.replace(host, &neighbours, &self.file(*ip))?;
        }
        if then.is_none() && !neighbours.ipv6 {
            self.leave(&[Ip::V6]);
        }
        let looked = if was_touched { Looked::Reopened } else { Looked::AsItShould };
        Ok((Kept::Closed(neighbours, look()?), looked))
    }

    fn file(&self, ip: Ip) -> PathBuf {
        self.run.join(match ip {
            Ip::V4 => "berths-apart.rules",
            Ip::V6 => "berths-apart-6.rules",
        })
    }

    /// Removes rules that an earlier config wanted. Without iptables there are none.
    fn leave(&self, versions: &[Ip]) {
        for ip in versions {
            let removed = Chains::of(&self.instance, *ip).and_then(|chains| chains.remove(&*self.host));
            if let Err(fault) = removed {
                tracing::warn!(error = fault.message, "rules between berths may be left");
            }
        }
    }
}

/// The addresses of each owner's berths, and the interfaces that have an IPv6 address.
fn addresses_of(
    held: &[Berth],
    network: &BridgeNetwork,
) -> (BTreeMap<String, BTreeSet<IpAddr>>, BTreeSet<Mac>) {
    let mut owners: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut macs = BTreeSet::new();
    for berth in held {
        let Some(member) = berth.container_id.as_ref().and_then(|id| network.members.get(id)) else {
            continue;
        };
        let own = owners.entry(berth.owner.clone()).or_default();
        own.extend(&member.addresses);
        if let Some(mac) = member.mac.filter(|_| network.ipv6) {
            macs.insert(mac);
            own.insert(mac.link_local().into());
        }
    }
    (owners, macs)
}
