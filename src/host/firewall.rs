//! Keeps containers from 169.254.169.254, where clouds give a host's credentials to any program on the host.
//!
//! It adds one rule to the chain that Docker leaves to administrators, and one to INPUT. The second is for hosts that
//! have the address themselves (a proxy of the cloud's agent), to which packets are not forwarded. It changes nothing
//! else.

use super::{Host, Output, Tool};
use crate::error::{Fault, FaultKind};
use anyhow::{Context as _, Result};
use std::time::Duration;

const METADATA: &str = "169.254.169.254/32";
/// What Docker forwards.
const FORWARDED: [&str; 5] = ["DOCKER-USER", "-d", METADATA, "-j", "REJECT"];
/// What comes to the host itself, from anywhere but its own programs.
const OWN: [&str; 8] = ["INPUT", "!", "-i", "lo", "-d", METADATA, "-j", "REJECT"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Yes,
    /// The rule was there already.
    No,
}

/// Makes sure that no container reaches the metadata service. Docker must be running: it makes the chain.
pub fn ensure_metadata_closed(host: &dyn Host) -> Result<Changed> {
    close(host).context("closing the cloud's metadata service to containers")
}

fn close(host: &dyn Host) -> Result<Changed, Fault> {
    let forwarded = close_in(host, &FORWARDED)?;
    let own = close_in(host, &OWN)?;
    Ok(if forwarded == Changed::Yes { forwarded } else { own })
}

fn close_in(host: &dyn Host, rule: &[&str]) -> Result<Changed, Fault> {
    if iptables(host, "-C", rule)?.status == 0 {
        return Ok(Changed::No);
    }
    let inserted = iptables(host, "-I", rule)?;
    if inserted.status == 0 {
        return Ok(Changed::Yes);
    }
    let said = inserted.stderr.lines().next().unwrap_or("no reason given").trim().to_owned();
    let no_chain = said.contains("No chain/target/match") || said.contains("does not exist");
    if no_chain {
        let chain = rule.first().copied().unwrap_or_default();
        return Err(Fault::host(format!("iptables has no chain {chain}")).help(
            "Docker makes it when it starts; look for \"iptables\": false in /etc/docker/daemon.json, \
             or set docker.close-metadata = false",
        ));
    }
    Err(Fault::host(format!("iptables: {said}")))
}

/// Whether both rules are there. It only looks.
pub fn is_metadata_closed(host: &dyn Host) -> Result<bool, Fault> {
    Ok(is_there(host, &FORWARDED)? && is_there(host, &OWN)?)
}

fn is_there(host: &dyn Host, rule: &[&str]) -> Result<bool, Fault> {
    let output = iptables_within(host, "-C", rule, Duration::from_secs(5))?;
    let said = output.stderr.lines().next().unwrap_or_default().trim();
    match output.status {
        0 => Ok(true),
        // No such rule, or not even the chain.
        1 | 2 if !said.contains("ermission") => Ok(false),
        _ => Err(Fault::host(format!("iptables: {said}")).help("run it as root")),
    }
}

fn iptables(host: &dyn Host, action: &str, rule: &[&str]) -> Result<Output, Fault> {
    iptables_within(host, action, rule, Duration::from_secs(20))
}

fn iptables_within(host: &dyn Host, action: &str, rule: &[&str], timeout: Duration) -> Result<Output, Fault> {
    let cmd = Tool::Iptables
        .cmd()
        .args(["--wait", action])
        .args(rule.iter().copied())
        .timeout(timeout)
        .allow_any_exit();
    host.run(&cmd).map_err(|error| {
        let fault = Fault::from(error);
        match fault.kind {
            FaultKind::NoProgram => fault.help("install iptables, or set docker.close-metadata = false"),
            _ => fault,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;
    use crate::error::flatten;

    const CHECK: &str = "iptables --wait -C DOCKER-USER -d 169.254.169.254/32 -j REJECT";
    const INSERT: &str = "iptables --wait -I DOCKER-USER -d 169.254.169.254/32 -j REJECT";
    const CHECK_OWN: &str = "iptables --wait -C INPUT ! -i lo -d 169.254.169.254/32 -j REJECT";
    const INSERT_OWN: &str = "iptables --wait -I INPUT ! -i lo -d 169.254.169.254/32 -j REJECT";
    const ABSENT: &str = "iptables: Bad rule (does a matching rule exist in that chain?).\n";

    #[test]
    fn the_rule_is_added_once() {
        let host = |forwarded: i32, own: i32| {
            FakeHost::default()
                .with_output(CHECK, forwarded, "", ABSENT)
                .with_output(INSERT, 0, "", "")
                .with_output(CHECK_OWN, own, "", ABSENT)
                .with_output(INSERT_OWN, 0, "", "")
        };
        for (forwarded, own, changed) in
            [(0, 0, Changed::No), (1, 1, Changed::Yes), (1, 0, Changed::Yes), (0, 1, Changed::Yes)]
        {
            assert_eq!(ensure_metadata_closed(&host(forwarded, own)).unwrap(), changed);
        }
    }

    #[test]
    fn a_missing_chain_or_tool_is_said_clearly() {
        for said in [
            "iptables: No chain/target/match by that name.\n",
            "iptables v1.8.9 (nf_tables): Chain 'DOCKER-USER' does not exist\n",
        ] {
            let host = FakeHost::default().with_output(CHECK, 1, "", said).with_output(INSERT, 1, "", said);
            let fault = flatten(&ensure_metadata_closed(&host).unwrap_err());
            assert!(fault.message.ends_with("iptables has no chain DOCKER-USER"), "{}", fault.message);
            assert!(fault.help.unwrap().contains("daemon.json"));
        }
        let fault = flatten(&ensure_metadata_closed(&FakeHost::default().with_missing(CHECK)).unwrap_err());
        assert!(fault.message.ends_with("iptables is not on this machine"), "{}", fault.message);
        assert!(fault.help.is_some());
        let hangs = FakeHost::default().with_hang(CHECK);
        assert!(flatten(&ensure_metadata_closed(&hangs).unwrap_err()).message.contains("did not end within"));
    }

    #[test]
    fn a_look_tells_open_from_unknown() {
        let both = |status, stderr, own, own_stderr| {
            let host = FakeHost::default().with_output(CHECK, status, "", stderr);
            is_metadata_closed(&host.with_output(CHECK_OWN, own, "", own_stderr))
        };
        let said = |status, stderr| both(status, stderr, 0, "");
        assert!(said(0, "").unwrap() && !said(1, ABSENT).unwrap());
        // The host's own addresses are not closed, or nobody could tell.
        assert!(!both(0, "", 1, ABSENT).unwrap());
        assert!(both(0, "", 4, "Permission denied\n").is_err());
        assert!(!said(1, "iptables: No chain/target/match by that name.\n").unwrap());
        assert!(
            said(4, "Could not fetch rule set generation id: Permission denied (you must be root)\n")
                .is_err()
        );
        assert!(is_metadata_closed(&FakeHost::default().with_missing(CHECK)).is_err());
    }

    #[test]
    fn any_other_refusal_is_passed_on() {
        let said = "iptables v1.8.9 (legacy): can't initialize iptables table `filter': Permission denied\n";
        let host = FakeHost::default().with_output(CHECK, 3, "", said).with_output(INSERT, 3, "", said);
        assert!(flatten(&ensure_metadata_closed(&host).unwrap_err()).message.contains("Permission denied"));
    }
}
