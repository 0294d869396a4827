//! The private host keys of this node: the gateway's, and one for each user, which all of the user's berths have.
//!
//! A key belongs to a user as the ledger has them. A user who is removed and added again, or another user who later
//! gets the same name, has another key.

use super::files::BerthDirs;
use super::locks::Guard;
use super::node::BusyGuard;
use super::{Caller, Node};
use crate::error::Fault;
use crate::host::{Host, dirs};
use crate::keys::{HostKey, Secret, complete_host_key, generate_host_key, read_line};
use crate::ledger::{NewEvent, User};
use crate::model::Berth;
use anyhow::{Context as _, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KEY_FILE: &str = "host_key";
/// How long to wait for another task that works on a berth, before the caller is told to try again. Nobody gets
/// cards during this wait.
const SOON: Duration = Duration::from_secs(2);
/// How many times to wait for a berth that another task works on.
const TRIES: u32 = 20;

impl Node {
    /// The gateway's host key. It is made at the first call.
    pub async fn gateway_key(&self) -> Result<Secret> {
        let dir = self.settings().config.paths.state.join("gateway");
        Ok(self.host_key(dir).await.context("reading the gateway's host key")?.private_openssh)
    }

    /// The host key of all berths of a user. It is made with the first berth.
    pub(super) async fn owner_key(&self, owner: &str) -> Result<HostKey> {
        let asked = owner.to_owned();
        let user = self.ledger(move |ledger| ledger.user(&asked)).await?;
        let user = user.ok_or_else(|| Fault::usage(format!("there is no user {owner}")))?;
        let dir = self.owner_dir(&user);
        self.host_key(dir).await.with_context(|| format!("reading the host key of {owner}'s berths"))
    }

    /// Removes a removed user's key. No berth uses it by then, so a failure is only logged.
    pub(super) async fn forget_owner_key(&self, user: &User) {
        let (host, dir) = (self.host(), self.owner_dir(user));
        let removed = tokio::task::spawn_blocking(move || host.remove(&dir)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(user = user.name, %error, "the host key of a removed user could not be removed");
        }
    }

    /// The directory of a user's key. It is unique: no name has an `@`, and two users of one name were added at
    /// different times.
    fn owner_dir(&self, user: &User) -> PathBuf {
        let entry = format!("{}@{}", user.name, user.added_at.as_nanosecond());
        self.settings().config.paths.state.join("owners").join(entry)
    }

    /// Gives a user and their present berths another host key. Returns those berths. Clients that know the old key
    /// refuse to connect until they are told.
    pub async fn rotate_host_key(&self, caller: &Caller, of: &str) -> Result<(User, Vec<Berth>)> {
        caller.require_admin("giving a user another host key")?;
        let user = self.user(caller, of).await?;
        // It takes a while to make, and nobody has to wait for that.
        let new = tokio::task::spawn_blocking(generate_host_key).await??;
        // No claim is made meanwhile, and no berth is between two keys.
        let (_deciding, berths, _busy) = self.stop_work_on_berths(&user.name).await?;
        let etcs: Vec<PathBuf> =
            berths.iter().map(|berth| BerthDirs::of(&self.berth_dir(berth.id)).etc).collect();
        let ids: Vec<i64> = berths.iter().map(|berth| berth.id).collect();
        let (host, dir) = (self.host(), self.owner_dir(&user));
        let (old, public) = {
            let _making = self.making_host_keys.lock().await;
            let public = new.public_openssh.clone();
            let replaced = tokio::task::spawn_blocking(move || replace(&*host, &dir, &etcs, &new));
            (replaced.await?.with_context(|| format!("replacing the host key of {of}'s berths"))?, public)
        };
        let text = format!(
            "the host key of {of}'s berths is new: {}; it was {}",
            fingerprints(&public),
            old.as_deref().map_or_else(|| "none".to_owned(), fingerprints)
        );
        let event = NewEvent {
            owner: Some(of.to_owned()),
            ..self.event("user.host-key-changed", &caller.name, text)
        };
        let berths = self.ledger(move |ledger| ledger.set_host_key(&ids, &public, &event)).await?;
        Ok((user, berths))
    }

    /// Until the returned guards are dropped, no card is claimed and no other task changes a berth of this user. A
    /// task that works on a berth may need the decision lock to finish. So this holds no lock while it waits for
    /// such a task.
    async fn stop_work_on_berths(&self, owner: &str) -> Result<(Guard<'_, ()>, Vec<Berth>, Vec<BusyGuard>)> {
        let mut in_work = format!("a berth of {owner}");
        for _ in 0..TRIES {
            let deciding = self.deciding.lock().await;
            let mut berths = self.ledger(crate::ledger::Ledger::standing_berths).await?;
            berths.retain(|berth| berth.owner == owner);
            let guards: Vec<Option<BusyGuard>> =
                berths.iter().map(|berth| self.busy.enter(berth.id)).collect();
            let Some(at) = guards.iter().position(Option::is_none) else {
                return Ok((deciding, berths, guards.into_iter().flatten().collect()));
            };
            let Some(berth) = berths.into_iter().nth(at) else { continue };
            drop((deciding, guards));
            in_work = berth.label();
            if self.busy.enter_within(berth.id, SOON).await.is_none() {
                break;
            }
        }
        Err(Fault::busy(format!("{in_work} is being changed by another request"))
            .help("try again when it is done")
            .into())
    }

    async fn host_key(&self, dir: PathBuf) -> Result<HostKey> {
        let _making = self.making_host_keys.lock().await;
        let host = self.host();
        Ok(tokio::task::spawn_blocking(move || read_or_make(&*host, &dir)).await??)
    }
}

/// Replaces the stored key and its copies in berths. Returns the public half of the old key, where it can be read.
fn replace(host: &dyn Host, dir: &Path, etcs: &[PathBuf], new: &HostKey) -> Result<Option<String>, Fault> {
    let path = dir.join(KEY_FILE);
    let old = host.read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let old = old.and_then(|text| HostKey::read(Secret::new(text)).ok()).map(|key| key.public_openssh);
    make_dirs(dir)?;
    // The user's own first: what breaks off between two is mended by doing it once more.
    for place in std::iter::once(dir).chain(etcs.iter().map(PathBuf::as_path)) {
        let path = place.join(KEY_FILE);
        host.write_atomic(&path, new.private_openssh.as_bytes(), 0o600).map_err(|error| {
            Fault::host(format!("{}: {error}", path.display())).help("mend that, and do it again")
        })?;
    }
    Ok(old)
}

fn make_dirs(dir: &Path) -> Result<(), Fault> {
    if let Some(above) = dir.parent() {
        dirs::make_dir(above, 0o700)?;
    }
    dirs::make_dir(dir, 0o700)
}

/// The fingerprint of each type, as clients show it.
fn fingerprints(public: &str) -> String {
    let known = public.lines().filter_map(|line| read_line(line).ok());
    known.map(|(_, key)| key.fingerprint).collect::<Vec<_>>().join(" ")
}

/// The stored key, or a new one where there is none. A key that cannot be read is an error and is never replaced.
fn read_or_make(host: &dyn Host, dir: &Path) -> Result<HostKey, Fault> {
    let path = dir.join(KEY_FILE);
    let wrong = |error: std::io::Error| Fault::host(format!("{}: {error}", path.display()));
    match host.read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| Fault::host(format!("{} is not a key", path.display())))?;
            return with_all_types(host, &path, Secret::new(text));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    make_dirs(dir)?;
    let key = generate_host_key().map_err(|error| crate::error::flatten(&error))?;
    host.write_atomic(&path, key.private_openssh.as_bytes(), 0o600).map_err(wrong)?;
    Ok(key)
}

/// Adds the missing types to a key from an older version. The existing part stays.
fn with_all_types(host: &dyn Host, path: &Path, kept: Secret) -> Result<HostKey, Fault> {
    let damaged = |fault: Fault| {
        Fault::host(format!("{}: {}", path.display(), fault.message))
            .help("put it back from a backup; without one, remove it, and clients will see another key")
    };
    let whole = complete_host_key(&kept).map_err(|error| damaged(crate::error::flatten(&error)))?;
    let Some(whole) = whole else { return HostKey::read(kept).map_err(damaged) };
    host.write_atomic(path, whole.private_openssh.as_bytes(), 0o600)
        .map_err(|error| Fault::host(format!("{}: {error}", path.display())))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_host_key_is_made_once_and_only_when_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (dir, host) = (root.path().join("owners/alice@1"), RealHost::default());
        let first = read_or_make(&host, &dir).unwrap();
        let again = read_or_make(&host, &dir).unwrap();
        assert_eq!(&*again.private_openssh, &*first.private_openssh);
        assert_eq!(again.public_openssh, first.public_openssh);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(mode(&root.path().join("owners")), 0o700);
        assert!(first.public_openssh.starts_with("ssh-ed25519 "));
        assert_eq!(first.public_openssh.lines().count(), 2);
        // As it was when there was one type.
        let text = &*first.private_openssh;
        let old = &text[..text.rfind("-----BEGIN").unwrap()];
        host.write_atomic(&dir.join(KEY_FILE), old.as_bytes(), 0o600).unwrap();
        let whole = read_or_make(&host, &dir).unwrap();
        assert!(whole.private_openssh.starts_with(old) && whole.private_openssh.len() > old.len());
        assert_eq!(&*read_or_make(&host, &dir).unwrap().private_openssh, &*whole.private_openssh);
        host.write_atomic(&dir.join(KEY_FILE), b"", 0o600).unwrap();
        let fault = read_or_make(&host, &dir).unwrap_err();
        assert!(fault.message.contains("alice@1/host_key"), "not made again: {fault:?}");
        assert!(fault.help.is_some());
    }
}
