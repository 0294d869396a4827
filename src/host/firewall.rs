//! Keeping containers from 169.254.169.254, where clouds serve a host's credentials to whoever asks from it.
//!
//! It adds one rule to the chain that Docker leaves to administrators, and touches nothing else.

use super::{Host, Output, RunError, Tool};
use crate::error::Fault;
use anyhow::{Context as _, Result};
use std::time::Duration;

const CHAIN: &str = "DOCKER-USER";
const METADATA: &str = "169.254.169.254/32";

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
    if iptables(host, "-C")?.status == 0 {
        return Ok(Changed::No);
    }
    let inserted = iptables(host, "-I")?;
    if inserted.status == 0 {
        return Ok(Changed::Yes);
    }
    let said = inserted.stderr.lines().next().unwrap_or("no reason given").trim().to_owned();
    let no_chain = said.contains("No chain/target/match") || said.contains("does not exist");
    if no_chain {
        return Err(Fault::host(format!("iptables has no chain {CHAIN}")).help(
            "Docker makes it when it starts; look for \"iptables\": false in /etc/docker/daemon.json, \
             or set docker.close-metadata = false",
        ));
    }
    Err(Fault::host(format!("iptables: {said}")))
}

/// Whether the rule is there. It only looks.
pub fn is_metadata_closed(host: &dyn Host) -> Result<bool, Fault> {
    let output = iptables_within(host, "-C", Duration::from_secs(5))?;
    let said = output.stderr.lines().next().unwrap_or_default().trim();
    match output.status {
        0 => Ok(true),
        // No such rule, or not even the chain.
        1 | 2 if !said.contains("ermission") => Ok(false),
        _ => Err(Fault::host(format!("iptables: {said}")).help("run it as root")),
    }
}

fn iptables(host: &dyn Host, action: &str) -> Result<Output, Fault> {
    iptables_within(host, action, Duration::from_secs(20))
}

fn iptables_within(host: &dyn Host, action: &str, timeout: Duration) -> Result<Output, Fault> {
    let cmd = Tool::Iptables
        .cmd()
        .args(["--wait", action, CHAIN, "-d", METADATA, "-j", "REJECT"])
        .timeout(timeout)
        .allow_any_exit();
    host.run(&cmd).map_err(|error| {
        let fault = Fault::host(error.to_string());
        match error {
            RunError::Missing { .. } => fault.help("install iptables, or set docker.close-metadata = false"),
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
    const ABSENT: &str = "iptables: Bad rule (does a matching rule exist in that chain?).\n";

    #[test]
    fn the_rule_is_added_once() {
        let there = FakeHost::default().with_output(CHECK, 0, "", "");
        assert_eq!(ensure_metadata_closed(&there).unwrap(), Changed::No);
        let absent = FakeHost::default().with_output(CHECK, 1, "", ABSENT).with_output(INSERT, 0, "", "");
        assert_eq!(ensure_metadata_closed(&absent).unwrap(), Changed::Yes);
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
        let said =
            |status, stderr| is_metadata_closed(&FakeHost::default().with_output(CHECK, status, "", stderr));
        assert!(said(0, "").unwrap() && !said(1, ABSENT).unwrap());
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
