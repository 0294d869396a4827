//! What the SSH gateway asks of the node: its own host key, who may log in, where a jump leads, what to write down.
//!
//! A user who comes this way never administers, whatever account of the host is theirs.

use super::{Caller, Node};
use crate::error::Fault;
use crate::host::{Host, dirs};
use crate::keys::{Secret, complete_host_key, generate_host_key, public_half};
use crate::ledger::{NewEvent, User};
use crate::model::{Berth, BerthState, name};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

const KEY_FILE: &str = "host_key";

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

/// Where a jump leads.
#[derive(Debug, Clone)]
pub struct Target {
    pub berth: Berth,
    pub address: SocketAddr,
}

impl Node {
    /// Where the gateway listens; `None` when it is switched off.
    pub fn gateway_address(&self) -> Result<Option<SocketAddr>, Fault> {
        self.config.ssh.gateway_address()
    }

    pub async fn gateway(&self) -> Result<GatewayView> {
        let address = self.gateway_address()?;
        let host_key = match address {
            Some(_) => Some(public_half(&self.gateway_key().await?)?),
            None => None,
        };
        let port = address.map_or(0, |address| address.port());
        Ok(GatewayView { on: address.is_some(), host: self.ssh_host(), port, host_key })
    }

    /// The gateway's host key, made once. One that cannot be read is an error, never a reason for another.
    pub async fn gateway_key(&self) -> Result<Secret> {
        let _making = self.making_gateway_key.lock().await;
        let (host, dir) = (self.host(), self.config.paths.state.join("gateway"));
        tokio::task::spawn_blocking(move || read_or_make(&*host, &dir))
            .await?
            .context("reading the gateway's host key")
    }

    /// A user as the ledger has them now; nobody for a name that cannot be one.
    pub async fn gateway_user(&self, given: &str) -> Result<Option<User>> {
        if name::check_name("user name", given).is_err() {
            return Ok(None);
        }
        let given = given.to_owned();
        self.ledger(move |ledger| ledger.user(&given)).await
    }

    /// Asked at each call: whoever was removed while logged in calls nothing any more.
    pub async fn gateway_caller(&self, user: &str) -> Result<Caller> {
        match self.gateway_user(user).await? {
            Some(user) => Ok(Caller { name: user.name.clone(), admin: false, user: Some(user.name) }),
            None => Err(Fault::refused(format!("{user} is not a user of berth")).into()),
        }
    }

    /// The user's own live berth of that name, and the address that its container has now.
    ///
    /// What is not there and what is somebody else's get the same answer.
    pub async fn jump_target(&self, user: &str, host: &str, port: u32) -> Result<Target> {
        let open = &self.config.ssh.gateway_ports;
        let Some(port) = u16::try_from(port).ok().filter(|port| open.contains(port)) else {
            return Err(Fault::refused("this port cannot be reached over the gateway").into());
        };
        let unknown = || Fault::refused(format!("{user} has no live berth of that name"));
        let mut found = None;
        for candidate in names_of(user, host) {
            let (owner, candidate) = (user.to_owned(), candidate.to_owned());
            found = self.ledger(move |ledger| ledger.held_berth(&owner, &candidate)).await?;
            if found.is_some() {
                break;
            }
        }
        let berth = found.filter(|berth| berth.state == BerthState::Live).ok_or_else(unknown)?;
        let container = berth.container_id.clone().ok_or_else(unknown)?;
        let state = self.engine().await?.inspect(&container).await?;
        let address = state.filter(|state| state.running).and_then(|state| state.address);
        let address = address.ok_or_else(|| Fault::docker(format!("berth {} does not run", berth.name)))?;
        Ok(Target { berth, address: SocketAddr::new(address, port) })
    }

    /// Writes down what happened at the gateway; blocks on the disk. `about` is a name that a client gave.
    pub fn record_gateway(
        &self,
        kind: &'static str,
        actor: &str,
        about: Option<&str>,
        berth: Option<&str>,
        text: String,
    ) {
        let ledger = self.ledger_handle();
        let is_user = |name: &&str| name::check_name("user name", name).is_ok();
        let owner = about.filter(is_user).and_then(|name| ledger.user(name).ok().flatten());
        let event = NewEvent {
            owner: owner.map(|user| user.name),
            berth: berth.map(str::to_owned),
            ..Self::event(kind, actor, text)
        };
        if let Err(fault) = ledger.record(&event) {
            tracing::error!(error = fault.message, "an event of the gateway could not be written down");
        }
    }
}

/// The berths that a host name may mean: `train`, or what the blocks of `berth ssh-config` call it.
fn names_of<'a>(user: &str, host: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let long = host.strip_prefix("berth-").and_then(|rest| rest.strip_prefix(user)?.strip_prefix('-'));
    [Some(host), long].into_iter().flatten().filter(|name| name::check_name("berth name", name).is_ok())
}

fn read_or_make(host: &dyn Host, dir: &Path) -> Result<Secret, Fault> {
    let path = dir.join(KEY_FILE);
    let wrong = |error: std::io::Error| Fault::host(format!("{}: {error}", path.display()));
    match host.read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes);
            let kept = text.map_err(|_| Fault::host(format!("{} is not a key", path.display())))?;
            return with_all_types(host, &path, Secret::new(kept));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    dirs::make_dir(dir, 0o700)?;
    let key = generate_host_key().map_err(|error| crate::error::flatten(&error))?;
    host.write_atomic(&path, key.private_openssh.as_bytes(), 0o600).map_err(wrong)?;
    Ok(key.private_openssh)
}

/// A key from before there were several types keeps its half, and gets the others once.
fn with_all_types(host: &dyn Host, path: &Path, kept: Secret) -> Result<Secret, Fault> {
    let damaged = |error: anyhow::Error| {
        Fault::host(format!("{}: {}", path.display(), crate::error::flatten(&error).message))
            .help("put it back from a backup; without one, remove it, and clients will see another key")
    };
    let Some(full) = complete_host_key(&kept).map_err(damaged)? else { return Ok(kept) };
    host.write_atomic(path, full.private_openssh.as_bytes(), 0o600)
        .map_err(|error| Fault::host(format!("{}: {error}", path.display())))?;
    Ok(full.private_openssh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::os::unix::fs::PermissionsExt as _;

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

    #[test]
    fn the_host_key_is_made_once_and_only_when_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (dir, host) = (root.path().join("gateway"), RealHost::default());
        let first = read_or_make(&host, &dir).unwrap();
        assert_eq!(&*read_or_make(&host, &dir).unwrap(), &*first);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(KEY_FILE))), (0o700, 0o600));
        let public = public_half(&first).unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && public.lines().count() == 2);
        // As it was when there was one type.
        let old = &first[..first.rfind("-----BEGIN").unwrap()];
        host.write_atomic(&dir.join(KEY_FILE), old.as_bytes(), 0o600).unwrap();
        let full = read_or_make(&host, &dir).unwrap();
        assert!(full.starts_with(old) && full.len() > old.len());
        assert_eq!(&*read_or_make(&host, &dir).unwrap(), &*full);
        host.write_atomic(&dir.join(KEY_FILE), b"", 0o600).unwrap();
        let fault = read_or_make(&host, &dir).unwrap_err();
        assert!(fault.message.contains("host_key") && fault.help.is_some(), "not made again: {fault:?}");
    }
}
