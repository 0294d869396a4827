//! Separates berths from each other and from the host, with two iptables chains of our own, and with ip6tables where
//! their network has IPv6.
//!
//! One chain filters what containers send to each other over their bridge; the jump to it is in the chain that Docker
//! leaves to administrators. The other filters what containers send to the host; its jump is in INPUT. Rules contain
//! only addresses, ports and the bridge's name. Both chains are replaced in one transaction.

use super::{Host, Output, Tool, apart_rules, sysctl};
use crate::error::{Fault, FaultKind};
use crate::model::{Mac, PortRange};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether the kernel shows iptables what goes from one port of a bridge to another, on all bridges.
const BRIDGE_FILTER: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGE_FILTER_6: &str = "net.bridge.bridge-nf-call-ip6tables";
const BRIDGE_FILTER_ARP: &str = "net.bridge.bridge-nf-call-arptables";
const MODULE: &str = "br_netfilter";
const LIMIT: Duration = Duration::from_secs(20);
/// An interface's name, with its end.
const NAME_LIMIT: usize = 16;
/// Docker makes it when it starts, and leaves it to administrators. Before Docker 27 there is none for IPv6.
const USERS: &str = "DOCKER-USER";

/// The two versions of the protocol have tables, tools and settings of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

impl Ip {
    fn tool(self) -> Tool {
        match self {
            Self::V4 => Tool::Iptables,
            Self::V6 => Tool::Ip6tables,
        }
    }

    fn restore(self) -> Tool {
        match self {
            Self::V4 => Tool::IptablesRestore,
            Self::V6 => Tool::Ip6tablesRestore,
        }
    }

    /// Of all bridges, and of one.
    fn filters(self, bridge: &str) -> (PathBuf, PathBuf) {
        let (all, one) = match self {
            Self::V4 => (BRIDGE_FILTER, "nf_call_iptables"),
            Self::V6 => (BRIDGE_FILTER_6, "nf_call_ip6tables"),
        };
        (sysctl::path_of(all), Path::new("/sys/class/net").join(bridge).join("bridge").join(one))
    }

    pub(super) fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The berths that are to be separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbours {
    /// The interface on the host that all these containers share.
    pub bridge: String,
    /// The addresses of each owner's berths. Berths of one owner may talk with each other.
    pub owners: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Whether the network has IPv6.
    pub ipv6: bool,
    /// The MAC addresses of the berths' interfaces. They are needed for IPv6: a berth can choose further addresses
    /// itself.
    pub macs: BTreeSet<Mac>,
    /// Ports of the host that berths reach all the same.
    pub host_ports: Vec<u16>,
    pub ssh_ports: PortRange,
}

impl Neighbours {
    /// What there have to be rules for.
    pub fn versions(&self) -> &'static [Ip] {
        if self.ipv6 { &[Ip::V4, Ip::V6] } else { &[Ip::V4] }
    }
}

/// The names of the two chains of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains {
    ip: Ip,
    pub(super) between: String,
    pub(super) host: String,
}

/// The chains as iptables prints them. The text is only compared with earlier text, never parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    between: Option<String>,
    host: Option<String>,
    jumps: [bool; 2],
}

impl Chains {
    /// `instance` tells two agents of one engine apart.
    pub fn of(instance: &str, ip: Ip) -> Result<Self, Fault> {
        let short: String = instance.chars().take(8).collect();
        if short.is_empty() || !short.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Fault::bug("the agent's own name has other characters than letters and digits"));
        }
        Ok(Self { ip, between: format!("BERTH-{short}"), host: format!("BERTH-{short}-IN") })
    }

    fn jumps<'a>(&'a self, parent: &'a str) -> [[&'a str; 3]; 2] {
        [[parent, "-j", &self.between], ["INPUT", "-j", &self.host]]
    }

    /// The chain that container-to-container packets pass first. Docker's rule that accepts them all comes after it.
    fn parent(&self, host: &dyn Host) -> Result<&'static str, Fault> {
        let is_there = self.ip == Ip::V4 || self.listed(host, USERS)?.is_some();
        Ok(if is_there { USERS } else { "FORWARD" })
    }

    /// What is there now.
    pub fn look(&self, host: &dyn Host) -> Result<Seen, Fault> {
        let [between, own] = self.jumps(self.parent(host)?);
        Ok(Seen {
            between: self.listed(host, &self.between)?,
            host: self.listed(host, &self.host)?,
            jumps: [self.is_there(host, &between)?, self.is_there(host, &own)?],
        })
    }

    /// Replaces both chains at once, then makes sure of the jumps. Fails before that if the kernel does not show
    /// bridged packets to iptables. `file` is where the rules are written for iptables-restore.
    pub fn replace(&self, host: &dyn Host, neighbours: &Neighbours, file: &Path) -> Result<(), Fault> {
        filter(host, &neighbours.bridge, self.ip)?;
        let rules = self.rules(neighbours)?;
        host.write_atomic(file, rules.as_bytes(), 0o600)
            .map_err(|error| Fault::host(format!("writing {}: {error}", file.display())))?;
        self.restore(host, file)?;
        for jump in self.jumps(self.parent(host)?) {
            if !self.is_there(host, &jump)? {
                self.jump_to(host, &jump)?;
            }
        }
        Ok(())
    }

    /// Removes the chains and jumps that are there.
    pub fn remove(&self, host: &dyn Host) -> Result<(), Fault> {
        for (parents, chain) in [(&[USERS, "FORWARD"][..], &self.between), (&["INPUT"], &self.host)] {
            if self.listed(host, chain)?.is_none() {
                continue;
            }
            for parent in parents {
                while self.run(host, "-D", &[parent, "-j", chain])?.status == 0 {}
            }
            self.run(host, "-F", &[chain])?;
            let removed = self.run(host, "-X", &[chain])?;
            if removed.status != 0 {
                return Err(self.refused(&removed));
            }
        }
        Ok(())
    }

    /// The chain's rules; `None` where there is no such chain.
    fn listed(&self, host: &dyn Host, chain: &str) -> Result<Option<String>, Fault> {
        let output = self.run(host, "-S", &[chain])?;
        match output.status {
            0 => Ok(Some(output.stdout)),
            1 => Ok(None),
            _ => Err(self.refused(&output)),
        }
    }

    fn is_there(&self, host: &dyn Host, jump: &[&str; 3]) -> Result<bool, Fault> {
        Ok(self.run(host, "-C", jump)?.status == 0)
    }

    /// Makes sure that the jump is the first rule, before rules of an administrator that accept packets.
    fn jump_to(&self, host: &dyn Host, jump: &[&str; 3]) -> Result<(), Fault> {
        let inserted = self.run(host, "-I", jump)?;
        if inserted.status == 0 {
            return Ok(());
        }
        Err(self.refused(&inserted).help(
            "Docker makes the chain DOCKER-USER when it starts; look for \"iptables\": false in \
             /etc/docker/daemon.json, or set docker.between-berths = \"open\"",
        ))
    }

    /// Runs iptables-restore, without its option to wait for the lock where it is older than 1.6.2.
    fn restore(&self, host: &dyn Host, file: &Path) -> Result<(), Fault> {
        let (file, tool) = (file.display().to_string(), self.ip.restore());
        let waiting = run(host, &tool, &["--wait", "--noflush", &file])?;
        if waiting.status == 0 {
            return Ok(());
        }
        let plain = run(host, &tool, &["--noflush", &file])?;
        if plain.status == 0 { Ok(()) } else { Err(self.refused(&waiting)) }
    }

    fn run(&self, host: &dyn Host, action: &str, rule: &[&str]) -> Result<Output, Fault> {
        run(host, &self.ip.tool(), &[&["--wait", action], rule].concat())
    }

    fn refused(&self, output: &Output) -> Fault {
        let said = output.stderr.lines().next().unwrap_or("no reason given").trim();
        Fault::host(format!("{}: {said}", self.ip.tool().program().display()))
    }

    /// As iptables-restore reads them.
    fn rules(&self, neighbours: &Neighbours) -> Result<String, Fault> {
        Ok(apart_rules::text(self, self.ip, neighbours, interface(&neighbours.bridge)?))
    }
}

/// Whether the kernel could show iptables what containers on one bridge send to each other.
pub fn can_filter_bridges(host: &dyn Host) -> bool {
    let dry = Tool::Modprobe.cmd().args(["--dry-run", MODULE]);
    host.exists(&sysctl::path_of(BRIDGE_FILTER)) || host.run(&dry).is_ok()
}

/// Whether the kernel shows iptables the packets of this bridge, by its own setting or by the one for all bridges.
pub fn is_filtered(host: &dyn Host, bridge: &str, ip: Ip) -> bool {
    let is_on = |path: &Path| sysctl::read_at(host, path).is_ok_and(|seen| seen == "1");
    interface(bridge).is_ok_and(|name| {
        let (all, one) = ip.filters(name);
        is_on(&all) || is_on(&one)
    })
}

/// Has the kernel show iptables the packets of this bridge; without that the rules would have no effect. Other bridges,
/// such as those of virtual machines, are not changed.
fn filter(host: &dyn Host, bridge: &str, ip: Ip) -> Result<(), Fault> {
    if is_filtered(host, bridge, ip) {
        return Ok(());
    }
    let was_loaded = host.exists(&sysctl::path_of(BRIDGE_FILTER));
    // Whether that helped is seen below.
    let _ = host.run(&Tool::Modprobe.cmd().arg(MODULE));
    let (_, one) = ip.filters(interface(bridge)?);
    let done = sysctl::set_at(&one, 1);
    if !was_loaded && done.is_ok() {
        // It begins with all bridges of the node, and with all protocols.
        for all in [BRIDGE_FILTER, BRIDGE_FILTER_6, BRIDGE_FILTER_ARP].map(sysctl::path_of) {
            if host.exists(&all) {
                sysctl::set_at(&all, 0)?;
            }
        }
    }
    done.map_err(|fault| {
        Fault::host(format!("iptables does not see what containers send to each other: {}", fault.message))
            .help(
                "modprobe br_netfilter and sysctl net.bridge.bridge-nf-call-iptables=1, or set \
             docker.between-berths = \"open\"",
            )
    })
}

/// Checks an interface's name before it becomes a word of a rule.
fn interface(name: &str) -> Result<&str, Fault> {
    let fits = !name.is_empty()
        && name.len() < NAME_LIMIT
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits { Ok(name) } else { Err(Fault::host(format!("{name:?} is no name of a bridge"))) }
}

fn run(host: &dyn Host, tool: &Tool, args: &[&str]) -> Result<Output, Fault> {
    let cmd = tool.cmd().args(args.iter().copied()).timeout(LIMIT).allow_any_exit();
    host.run(&cmd).map_err(|error| {
        let fault = Fault::from(error);
        match fault.kind {
            FaultKind::NoProgram => fault.help("install iptables, or set docker.between-berths = \"open\""),
            _ => fault,
        }
    })
}

#[cfg(test)]
#[path = "apart_tests.rs"]
mod tests;
