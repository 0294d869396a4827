//! Keeping berths from each other and from the host, in two chains of iptables of our own.
//!
//! One is jumped to from the chain that Docker leaves to administrators, for what containers send to each other over
//! their bridge; one from INPUT, for what they send to the host. Rules are made of addresses, ports and the bridge's
//! name alone. Both chains are replaced as one; between two looks nothing is half there.

use super::{Host, Output, Tool, read_text, sysctl};
use crate::error::{Fault, FaultKind};
use crate::model::PortRange;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether the kernel shows iptables what goes from one port of a bridge to another, on all bridges.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const MODULE: &str = "br_netfilter";
const LIMIT: Duration = Duration::from_secs(20);
/// An interface's name, with its end.
const NAME_LIMIT: usize = 16;

/// What is to be kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbours {
    /// The interface on the host that all these containers share.
    pub bridge: String,
    /// The addresses of each owner's berths; these may talk with each other.
    pub owners: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Ports of the host that berths reach all the same.
    pub host_ports: Vec<u16>,
    pub ssh_ports: PortRange,
}

/// The names of the two chains of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains {
    between: String,
    host: String,
}

/// What a look found of them, in iptables' own words: they are compared with what they were, never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    between: Option<String>,
    host: Option<String>,
    jumps: [bool; 2],
}

impl Chains {
    /// `instance` tells two agents of one engine apart.
    pub fn of(instance: &str) -> Result<Self, Fault> {
        let short: String = instance.chars().take(8).collect();
        if short.is_empty() || !short.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Fault::bug("the agent's own name has other characters than letters and digits"));
        }
        Ok(Self { between: format!("BERTH-{short}"), host: format!("BERTH-{short}-IN") })
    }

    fn jumps(&self) -> [[&str; 3]; 2] {
        [["DOCKER-USER", "-j", &self.between], ["INPUT", "-j", &self.host]]
    }

    /// What is there now.
    pub fn look(&self, host: &dyn Host) -> Result<Seen, Fault> {
        let [between, own] = self.jumps();
        Ok(Seen {
            between: listed(host, &self.between)?,
            host: listed(host, &self.host)?,
            jumps: [iptables(host, "-C", &between)?.status == 0, iptables(host, "-C", &own)?.status == 0],
        })
    }

    /// Replaces both chains at once, then sees to the jumps. Rules that no packet would
    /// meet are not written. `file` is where the rules are put for iptables-restore.
    pub fn replace(&self, host: &dyn Host, neighbours: &Neighbours, file: &Path) -> Result<(), Fault> {
        filter(host, &neighbours.bridge)?;
        let rules = self.rules(neighbours)?;
        host.write_atomic(file, rules.as_bytes(), 0o600)
            .map_err(|error| Fault::host(format!("writing {}: {error}", file.display())))?;
        restore(host, file)?;
        for jump in self.jumps() {
            if iptables(host, "-C", &jump)?.status != 0 {
                jump_to(host, &jump)?;
            }
        }
        Ok(())
    }

    /// Takes out whatever is there of them.
    pub fn remove(&self, host: &dyn Host) -> Result<(), Fault> {
        for (jump, chain) in self.jumps().into_iter().zip([&self.between, &self.host]) {
            if listed(host, chain)?.is_none() {
                continue;
            }
            while iptables(host, "-D", &jump)?.status == 0 {}
            iptables(host, "-F", &[chain])?;
            let removed = iptables(host, "-X", &[chain])?;
            if removed.status != 0 {
                return Err(refused(&removed));
            }
        }
        Ok(())
    }

    /// As iptables-restore reads them. A chain that is named is emptied first, others are left alone.
    fn rules(&self, neighbours: &Neighbours) -> Result<String, Fault> {
        let bridge = interface(&neighbours.bridge)?;
        let (between, own) = (&self.between, &self.host);
        let mut lines = vec!["*filter".to_owned(), format!(":{between} - [0:0]"), format!(":{own} - [0:0]")];
        for addresses in neighbours.owners.values() {
            for from in addresses {
                for to in addresses.iter().filter(|to| *to != from) {
                    lines.push(format!("-A {between} -s {from}/32 -d {to}/32 -j RETURN"));
                }
            }
        }
        // What the host began, and what anybody reaches from outside: the berths' SSH and the gateway.
        lines.push(format!("-A {own} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"));
        let ssh = neighbours.ssh_ports.to_string().replace('-', ":");
        lines.push(format!("-A {own} -p tcp -m tcp --dport {ssh} -j RETURN"));
        for port in &neighbours.host_ports {
            for protocol in ["tcp", "udp"] {
                lines.push(format!("-A {own} -p {protocol} -m {protocol} --dport {port} -j RETURN"));
            }
        }
        for address in neighbours.owners.values().flatten() {
            for packets in [
                format!("{between} -s {address}/32 -i {bridge} -o {bridge}"),
                format!("{between} -d {address}/32 -i {bridge} -o {bridge}"),
                format!("{own} -s {address}/32 -i {bridge}"),
            ] {
                // Of the other answer the kernel sends few in a second, and whoever gets none waits.
                lines.push(format!("-A {packets} -p tcp -j REJECT --reject-with tcp-reset"));
                lines.push(format!("-A {packets} -j REJECT"));
            }
        }
        lines.push("COMMIT\n".to_owned());
        Ok(lines.join("\n"))
    }
}

/// Whether the kernel could show iptables what containers on one bridge send to each other.
pub fn can_filter_bridges(host: &dyn Host) -> bool {
    let dry = Tool::Modprobe.cmd().args(["--dry-run", MODULE]);
    host.exists(Path::new(BRIDGE_FILTER)) || host.run(&dry).is_ok()
}

/// For this bridge alone, if not for all of them.
pub fn is_filtered(host: &dyn Host, bridge: &str) -> bool {
    let is_on = |path: &Path| read_text(host, path).is_ok_and(|seen| seen.trim() == "1");
    is_on(Path::new(BRIDGE_FILTER)) || interface(bridge).is_ok_and(|name| is_on(&flag_of(name)))
}

fn flag_of(bridge: &str) -> PathBuf {
    Path::new("/sys/class/net").join(bridge).join("bridge/nf_call_iptables")
}

/// Without this the rules would be there, and no packet between two containers would ever meet them. Other bridges, such
/// as those of virtual machines, stay as they are.
fn filter(host: &dyn Host, bridge: &str) -> Result<(), Fault> {
    if is_filtered(host, bridge) {
        return Ok(());
    }
    let was_loaded = host.exists(Path::new(BRIDGE_FILTER));
    // Whether that helped is seen below.
    let _ = host.run(&Tool::Modprobe.cmd().arg(MODULE));
    let done = sysctl::set(&flag_of(interface(bridge)?), 1);
    if !was_loaded && done.is_ok() {
        // It begins with all bridges of the node.
        sysctl::set(Path::new(BRIDGE_FILTER), 0)?;
    }
    done.map_err(|fault| {
        Fault::host(format!("iptables does not see what containers send to each other: {}", fault.message))
            .help(
                "modprobe br_netfilter and sysctl net.bridge.bridge-nf-call-iptables=1, or set \
             docker.between-berths = \"open\"",
            )
    })
}

/// A name becomes a word of a rule.
fn interface(name: &str) -> Result<&str, Fault> {
    let fits = !name.is_empty()
        && name.len() < NAME_LIMIT
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits { Ok(name) } else { Err(Fault::host(format!("{name:?} is no name of a bridge"))) }
}

/// The chain's rules; `None` where there is no such chain.
fn listed(host: &dyn Host, chain: &str) -> Result<Option<String>, Fault> {
    let output = iptables(host, "-S", &[chain])?;
    match output.status {
        0 => Ok(Some(output.stdout)),
        1 => Ok(None),
        _ => Err(refused(&output)),
    }
}

/// At the top, before whatever an administrator lets pass.
fn jump_to(host: &dyn Host, jump: &[&str; 3]) -> Result<(), Fault> {
    let inserted = iptables(host, "-I", jump)?;
    if inserted.status == 0 {
        return Ok(());
    }
    Err(refused(&inserted).help(
        "Docker makes the chain DOCKER-USER when it starts; look for \"iptables\": false in /etc/docker/daemon.json, \
         or set docker.between-berths = \"open\"",
    ))
}

/// Tools before iptables 1.6.2 do not know that one could wait.
fn restore(host: &dyn Host, file: &Path) -> Result<(), Fault> {
    let file = file.display().to_string();
    let waiting = run(host, &Tool::IptablesRestore, &["--wait", "--noflush", &file])?;
    if waiting.status == 0 {
        return Ok(());
    }
    let plain = run(host, &Tool::IptablesRestore, &["--noflush", &file])?;
    if plain.status == 0 { Ok(()) } else { Err(refused(&waiting)) }
}

fn refused(output: &Output) -> Fault {
    let said = output.stderr.lines().next().unwrap_or("no reason given").trim();
    Fault::host(format!("iptables: {said}"))
}

fn iptables(host: &dyn Host, action: &str, rule: &[&str]) -> Result<Output, Fault> {
    run(host, &Tool::Iptables, &[&["--wait", action], rule].concat())
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
mod tests {
    use super::super::FakeHost;
    use super::*;

    fn neighbours(bridge: &str) -> Neighbours {
        let of = |last: &[u8]| last.iter().map(|last| Ipv4Addr::new(172, 17, 0, *last)).collect();
        Neighbours {
            bridge: bridge.into(),
            owners: BTreeMap::from([("alice".into(), of(&[2, 3])), ("-j ACCEPT".into(), of(&[4]))]),
            host_ports: vec![53],
            ssh_ports: PortRange::DEFAULT,
        }
    }

    #[test]
    fn rules_are_addresses_and_one_owner_s_berths_come_first() {
        let chains = Chains::of("00ff00ff11").unwrap();
        let rules = chains.rules(&neighbours("docker0")).unwrap();
        let wanted = "\
*filter
:BERTH-00ff00ff - [0:0]
:BERTH-00ff00ff-IN - [0:0]
-A BERTH-00ff00ff -s 172.17.0.2/32 -d 172.17.0.3/32 -j RETURN
-A BERTH-00ff00ff -s 172.17.0.3/32 -d 172.17.0.2/32 -j RETURN
-A BERTH-00ff00ff-IN -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A BERTH-00ff00ff-IN -p tcp -m tcp --dport 20000:29999 -j RETURN
-A BERTH-00ff00ff-IN -p tcp -m tcp --dport 53 -j RETURN
-A BERTH-00ff00ff-IN -p udp -m udp --dport 53 -j RETURN
-A BERTH-00ff00ff -s 172.17.0.4/32 -i docker0 -o docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff -s 172.17.0.4/32 -i docker0 -o docker0 -j REJECT
-A BERTH-00ff00ff -d 172.17.0.4/32 -i docker0 -o docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff -d 172.17.0.4/32 -i docker0 -o docker0 -j REJECT
-A BERTH-00ff00ff-IN -s 172.17.0.4/32 -i docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff-IN -s 172.17.0.4/32 -i docker0 -j REJECT
";
        assert!(rules.starts_with(wanted), "{rules}");
        assert!(rules.ends_with("COMMIT\n") && rules.matches("-j REJECT").count() == 18, "{rules}");
        for bridge in ["", "a b", "x\n-A INPUT -j ACCEPT", "-i", "sixteen-letters-"] {
            assert!(chains.rules(&neighbours(bridge)).is_err(), "{bridge:?}");
        }
        assert!(Chains::of("").is_err() && Chains::of("../x").is_err());
    }

    #[test]
    fn one_bridge_is_filtered_or_all_are() {
        let flag = "/sys/class/net/docker0/bridge/nf_call_iptables";
        for (all, one, is) in [("1\n", "0\n", true), ("0\n", "1\n", true), ("0\n", "0\n", false)] {
            let host = FakeHost::default().with_file(BRIDGE_FILTER, all).with_file(flag, one);
            assert_eq!(is_filtered(&host, "docker0"), is, "{all:?} {one:?}");
            assert!(can_filter_bridges(&host));
        }
        assert!(!is_filtered(&FakeHost::default(), "docker0"));
        let dry = "modprobe --dry-run br_netfilter";
        assert!(can_filter_bridges(&FakeHost::default().with_output(dry, 0, "", "")));
        assert!(!can_filter_bridges(&FakeHost::default().with_output(dry, 1, "", "not found")));
    }

    /// No such bridge is on the machine that tests it: nothing of that machine is changed.
    #[test]
    fn a_bridge_that_iptables_cannot_see_is_said() {
        let chains = Chains::of("00ff00ff").unwrap();
        let fault =
            chains.replace(&FakeHost::default(), &neighbours("no-bridge"), Path::new("/r")).unwrap_err();
        assert!(fault.message.contains("iptables does not see") && fault.help.is_some(), "{}", fault.message);
    }

    #[test]
    fn an_old_restore_is_asked_without_waiting() {
        let chains = Chains::of("00ff00ff").unwrap();
        let host = |old: i32| {
            FakeHost::default()
                .with_file(BRIDGE_FILTER, "1\n")
                .with_output("iptables-restore --wait --noflush /r", 2, "", "unrecognized option '--wait'\n")
                .with_output("iptables-restore --noflush /r", old, "", "")
                .with_output("iptables --wait -C DOCKER-USER -j BERTH-00ff00ff", 0, "", "")
                .with_output("iptables --wait -C INPUT -j BERTH-00ff00ff-IN", 1, "", "")
                .with_output("iptables --wait -I INPUT -j BERTH-00ff00ff-IN", 0, "", "")
        };
        chains.replace(&host(0), &neighbours("docker0"), Path::new("/r")).unwrap();
        let fault = chains.replace(&host(1), &neighbours("docker0"), Path::new("/r")).unwrap_err();
        assert!(fault.message.contains("unrecognized option"), "{}", fault.message);
    }
}
