//! Berths of different owners are kept from each other, and all of them from the host's ports, with rules for the addresses
//! that their containers have now. An address is Docker's to give: whoever has it is asked at each look.

use super::{Caller, Node};
use crate::engine::BridgeNetwork;
use crate::error::Fault;
use crate::host::apart::{Chains, Neighbours, Seen, is_filtered};
use crate::model::Berth;
use crate::profile::{BetweenBerths, Config};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What was last written, and how it looked then.
#[derive(Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    /// The config wants no rules, and there are none.
    Open,
    Closed(Neighbours, Seen),
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    AsItShould,
    /// Somebody else had taken rules out, and they are there again.
    Reopened,
}

impl Node {
    /// Brings the rules to the containers there are. When it comes back, they hold.
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

    /// Where a rule that stays a moment longer than its berth hurts nobody.
    pub(super) async fn try_to_keep_apart(&self) {
        if let Err(error) = self.keep_apart().await {
            tracing::debug!(error = format!("{error:#}"), "the rules between berths are looked at again");
        }
    }

    async fn look_at_neighbours(&self) -> Result<Looked> {
        // One at a time: an older look must not be written last.
        let mut kept = self.apart.lock().await;
        let (host, chains) = (self.host(), Chains::of(&self.instance)?);
        let config = &self.settings().config;
        if config.docker.between_berths == BetweenBerths::Open {
            if !matches!(*kept, Kept::Open) {
                // A machine without iptables needs none for this.
                if let Err(fault) = tokio::task::spawn_blocking(move || chains.remove(&*host)).await? {
                    tracing::warn!(error = fault.message, "rules between berths may be left");
                }
                *kept = Kept::Open;
            }
            return Ok(Looked::AsItShould);
        }
        let neighbours = self.neighbours(config).await?;
        let before = std::mem::take(&mut *kept);
        let file = config.paths.run.join("berths-apart.rules");
        let (now, looked) = tokio::task::spawn_blocking(move || -> Result<_, Fault> {
            let seen = chains.look(&*host)?;
            let was_touched = matches!(&before, Kept::Closed(_, then) if *then != seen);
            let is_as_it_was =
                matches!(&before, Kept::Closed(known, _) if *known == neighbours) && !was_touched;
            if is_as_it_was && is_filtered(&*host, &neighbours.bridge) {
                return Ok((before, Looked::AsItShould));
            }
            chains.replace(&*host, &neighbours, &file)?;
            let looked = if was_touched { Looked::Reopened } else { Looked::AsItShould };
            Ok((Kept::Closed(neighbours, chains.look(&*host)?), looked))
        })
        .await?
        .context("keeping berths apart")?;
        *kept = now;
        Ok(looked)
    }

    async fn neighbours(&self, config: &Config) -> Result<Neighbours> {
        let network = self.engine().await?.bridge_network(&config.docker.network).await?;
        if network.ipv6 {
            let name = &config.docker.network;
            return Err(Fault::docker(format!(
                "Docker's network {name} has IPv6, where berths are not kept apart"
            ))
            .help("take a network without IPv6, or set docker.between-berths = \"open\"")
            .into());
        }
        let held = self.ledger(crate::ledger::Ledger::held_berths).await?;
        let gateway = config.ssh.gateway_address()?.map(|address| address.port());
        Ok(Neighbours {
            owners: owners_of(&held, &network),
            bridge: network.bridge,
            host_ports: config.docker.host_ports.iter().copied().chain(gateway).collect(),
            ssh_ports: config.ssh.ports,
        })
    }

    /// A look at the rules; `failed` when the last one did: that berths may reach each other is told once, and its end.
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

fn owners_of(held: &[Berth], network: &BridgeNetwork) -> BTreeMap<String, BTreeSet<Ipv4Addr>> {
    let mut owners: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for berth in held {
        if let Some(address) = berth.container_id.as_ref().and_then(|id| network.members.get(id)) {
            owners.entry(berth.owner.clone()).or_default().insert(*address);
        }
    }
    owners
}
