//! What the SSH gateway asks of the node: the gateway's host key, who may log in, where a jump leads, which events
//! to record.
//!
//! A user who comes through the gateway is never an administrator, even if their account on the host is.

use super::{Caller, Node};
use crate::error::Fault;
use crate::keys::HostKey;
use crate::ledger::{NewEvent, User};
use crate::model::ports::jump_word;
use crate::model::{Berth, BerthState, name};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How to reach the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// False when the config switches it off.
    pub on: bool,
    /// What to type as the node's name.
    pub host: String,
    pub port: u16,
    /// OpenSSH public key line.
    pub host_key: Option<String>,
}

/// The berth that a jump leads to, with its address.
#[derive(Debug, Clone)]
pub struct Target {
    pub berth: Berth,
    pub address: SocketAddr,
}

impl Node {
    /// Where the gateway listens; `None` when it is switched off.
    pub fn gateway_address(&self) -> Result<Option<SocketAddr>, Fault> {
        self.settings().config.ssh.gateway_address()
    }

    pub async fn gateway(&self) -> Result<GatewayView> {
        let address = self.gateway_address()?;
        let host_key = match address {
            Some(_) => Some(HostKey::read(self.gateway_key().await?)?.public_openssh),
            None => None,
        };
        let port = address.map_or(0, |address| address.port());
        Ok(GatewayView { on: address.is_some(), host: self.ssh_host(), port, host_key })
    }

    /// What this user types after `ssh -J`; `None` where the gateway is off.
    pub fn jump_word(&self, user: &str) -> Option<String> {
        let address = self.gateway_address().ok().flatten()?;
        Some(jump_word(user, &self.ssh_host(), address.port()))
    }

    /// The user of this name as the ledger has them now; `None` when there is none, or the name is not valid.
    pub async fn gateway_user(&self, given: &str) -> Result<Option<User>> {
        if name::check_user_name(given).is_err() {
            return Ok(None);
        }
        let given = given.to_owned();
        self.ledger(move |ledger| ledger.user(&given)).await
    }

    /// The caller for this user. To be asked at each call: a user who was removed while logged in gets an error.
    pub async fn gateway_caller(&self, user: &str) -> Result<Caller> {
        match self.gateway_user(user).await? {
            Some(user) => Ok(Caller { name: user.name.clone(), admin: false, user: Some(user.name) }),
            None => Err(Fault::refused(format!("{user} is not a user of berth")).into()),
        }
    }

    /// The user's own live berth of that name, and the address that its container has now.
    ///
    /// A berth that does not exist and a berth of another user get the same error. Of a berth of their own that is not
    /// live, the user hears why.
    pub async fn jump_target(&self, user: &str, host: &str, port: u32) -> Result<Target> {
        let open = &self.settings().config.ssh.gateway_ports;
        let Some(port) = u16::try_from(port).ok().filter(|port| open.contains(port)) else {
            return Err(Fault::refused("this port cannot be reached over the gateway").into());
        };
        let unknown = || Fault::refused(format!("{user} has no live berth of that name"));
        let mut found = None;
        for candidate in names_of(user, host) {
            let (owner, candidate) = (user.to_owned(), candidate.to_owned());
            found = self.ledger(move |ledger| ledger.standing_berth(&owner, &candidate)).await?;
            if found.is_some() {
                break;
            }
        }
        let Some(berth) = found else {
            return Err(self.waits_for_it(user, host).await?.unwrap_or_else(unknown).into());
        };
        if berth.state != BerthState::Live {
            return Err(self.why_not_live(&berth).await?.into());
        }
        let container = berth.container_id.clone().ok_or_else(unknown)?;
        let state = self.engine().await?.inspect(&container).await?;
        let address = state.filter(|state| state.running).and_then(|state| state.address);
        let address = address.ok_or_else(|| Fault::docker(format!("berth {} does not run", berth.name)))?;
        Ok(Target { berth, address: SocketAddr::new(address, port) })
    }

    /// What the user hears who jumps to a name that a waiting request of theirs has.
    async fn waits_for_it(&self, user: &str, host: &str) -> Result<Option<Fault>> {
        for name in names_of(user, host) {
            if let Some(why) = self.why_not_there(user, name).await? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Records an event of the gateway. Blocks on the disk. `about` is a name that a client gave.
    pub fn record_gateway(
        &self,
        kind: &'static str,
        actor: &str,
        about: Option<&str>,
        berth: Option<&str>,
        text: String,
    ) {
        let ledger = self.ledger_handle();
        let is_user = |name: &&str| name::check_user_name(name).is_ok();
        let owner = about.filter(is_user).and_then(|name| ledger.user(name).ok().flatten());
        let event = NewEvent {
            owner: owner.map(|user| user.name),
            berth: berth.map(str::to_owned),
            ..self.event(kind, actor, text)
        };
        if let Err(fault) = ledger.record(&event) {
            tracing::error!(error = fault.message, "an event of the gateway could not be written down");
        }
    }
}

/// The berth names that a host name may stand for: `train`, or the alias that `berth ssh-config` writes for it.
fn names_of<'a>(user: &str, host: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let long = host.strip_prefix("berth-").and_then(|rest| rest.strip_prefix(user)?.strip_prefix('-'));
    [Some(host), long].into_iter().flatten().filter(|name| name::check_name("berth name", name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_a_berth_s_or_nothing() {
        let names = |host: &str| names_of("al-ice", host).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names("train"), ["train"]);
        assert_eq!(names("berth-al-ice-train"), ["berth-al-ice-train", "train"]);
        assert_eq!(names("berth-bob-train"), ["berth-bob-train"]);
        for host in ["", "127.0.0.1", "::1", "bob/train", "a.b", "../x", "LOCALHOST", "berth-al-ice-"] {
            assert_eq!(names(host), Vec::<String>::new(), "{host}");
        }
    }
}
