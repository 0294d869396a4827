//! The files of one berth: what its SSH server reads, and what its user may read about their cards.

use super::{Node, build};
use crate::accel::Accelerator;
use crate::error::Fault;
use crate::host::files::{NewFile, sync_dir, sync_files, write_files};
use crate::host::{Host, dirs};
use crate::keys::HostKey;
use crate::ledger::{Key, Ledger};
use crate::model::session::SessionConfig;
use crate::model::{Berth, CardId, card};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The directory of a berth's files inside its container.
pub(super) const INSIDE: &str = "/opt/berth";

/// The variable with the berth's name.
pub(super) const NAME_VARIABLE: &str = "BERTH_NAME";
pub(super) const OWNER_VARIABLE: &str = "BERTH_OWNER";

/// Directories on the host that are mounted into the container, read-only.
pub(super) struct BerthDirs {
    /// For the SSH server only: host key, authorized keys, session config. 0700.
    pub(super) etc: PathBuf,
    /// For the user: which cards these are.
    pub(super) info: PathBuf,
}

impl BerthDirs {
    pub(super) fn of(berth_dir: &Path) -> Self {
        Self { etc: berth_dir.join("etc"), info: berth_dir.join("info") }
    }
}

/// Environment variables with the card ids on the host and in the container. There the driver numbers the cards
/// from 0, in the same order.
pub(super) fn card_environment(accel: &dyn Accelerator, cards: &[CardId]) -> Vec<(String, String)> {
    let inside: Vec<CardId> = (0u32..).take(cards.len()).map(CardId).collect();
    let own = [("BERTH_HOST_CARDS", card::join(cards)), ("BERTH_CONTAINER_CARDS", card::join(&inside))];
    let all = accel.environment(cards, &inside).into_iter().chain(own);
    all.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Makes all files of a new berth except its authorized keys, which are written last, because they let its owner
/// log in.
pub(super) fn write(dir: &Path, berth: &Berth, key: &HostKey, session: &SessionConfig) -> Result<()> {
    let dirs = BerthDirs::of(dir);
    // One that is there belongs to a container that the ledger does not know.
    dirs::make_new_dir(dir, 0o700)?;
    dirs::make_dir(&dirs.etc, 0o700)?;
    dirs::make_dir(&dirs.info, 0o755)?;
    write_files(
        &dirs.etc,
        &[
            NewFile { name: "host_key", content: key.private_openssh.as_bytes().to_vec(), mode: 0o600 },
            NewFile { name: "session.json", content: serde_json::to_vec_pretty(session)?, mode: 0o600 },
        ],
    )?;
    let cards = cards_file(berth)?;
    write_files(&dirs.info, &[NewFile { name: "cards.json", content: cards, mode: 0o644 }])?;
    let programs = programs(&dirs);
    dirs::make_dir(&programs, 0o755)?;
    // Sessions look here last, so that an image's own scp comes first.
    dirs::make_link(&Path::new(INSIDE).join("bin/berth"), &programs.join("scp"))?;
    Ok(())
}

/// Writes the berth's name where its files have it: for its user at once, for the environment of its sessions from
/// its next start on.
pub(super) fn rename(host: &dyn Host, dir: &Path, berth: &Berth) -> Result<()> {
    let dirs = BerthDirs::of(dir);
    let path = dirs.etc.join("session.json");
    let mut session: SessionConfig =
        serde_json::from_slice(&host.read(&path)?).with_context(|| format!("reading {}", path.display()))?;
    session.environment.insert(NAME_VARIABLE.into(), berth.name.clone());
    host.write_atomic(&path, &serde_json::to_vec_pretty(&session)?, 0o600)
        .with_context(|| format!("writing {}", path.display()))?;
    let path = dirs.info.join("cards.json");
    host.write_atomic(&path, &cards_file(berth)?, 0o644)
        .with_context(|| format!("writing {}", path.display()))
}

pub(super) fn sync(dir: &Path) -> Result<(), Fault> {
    let dirs = BerthDirs::of(dir);
    sync_files(&dirs.etc)?;
    sync_dir(&programs(&dirs)).map_err(|error| Fault::host(format!("writing {}: {error}", dir.display())))?;
    sync_files(&dirs.info)
}

/// The directory of links to berth's program, under the names of programs that an image may lack.
fn programs(dirs: &BerthDirs) -> PathBuf {
    dirs.info.join("bin")
}

fn cards_file(berth: &Berth) -> Result<Vec<u8>> {
    let cards: Vec<_> = berth
        .cards
        .iter()
        .enumerate()
        .map(|(inside, card)| serde_json::json!({ "container": inside, "host": card }))
        .collect();
    Ok(serde_json::to_vec_pretty(&serde_json::json!({
        "schema": 1,
        "berth": format!("{}/{}", berth.owner, berth.name),
        "cards": cards,
    }))?)
}

pub(super) fn authorized_keys(keys: &[Key]) -> Vec<u8> {
    keys.iter().flat_map(|key| [key.line.as_bytes(), b"\n"].concat()).collect()
}

impl Node {
    /// Writes the keys that the ledger has into these berths. They count at the next login. All berths are tried,
    /// even when one fails; the first error is returned. A berth that is still being made has no keys yet.
    pub(super) async fn refresh_keys(&self, berths: &[Berth]) -> Result<()> {
        self.bring_keys(berths, Missing::Leave).await
    }

    /// Writes anew what a berth's files say of its cards: it may have others than before.
    pub(super) async fn refit(&self, berth: &Berth) -> Result<()> {
        let dirs = BerthDirs::of(&self.berth_dir(berth.id));
        let settings = self.settings();
        let (host, accel, berth) = (self.host(), self.accel(), berth.clone());
        let devices = tokio::task::block_in_place(|| self.devices(&settings, &berth))?;
        tokio::task::spawn_blocking(move || {
            let path = dirs.etc.join("session.json");
            let mut session: SessionConfig = serde_json::from_slice(&host.read(&path)?)
                .map_err(|error| Fault::host(format!("{}: {error}", path.display())))?;
            session.environment = build::environment(accel, &berth).into_iter().collect();
            session.groups = build::node_groups(&devices)?;
            let session = serde_json::to_vec_pretty(&session)?;
            host.write_atomic(&path, &session, 0o600)?;
            host.write_atomic(&dirs.info.join("cards.json"), &cards_file(&berth)?, 0o644)?;
            Ok(())
        })
        .await?
    }

    /// Writes the keys of a new berth. From now on its owner can log in.
    pub(super) async fn let_owner_in(&self, berth: &Berth) -> Result<()> {
        self.bring_keys(std::slice::from_ref(berth), Missing::Make).await
    }

    /// Removes the berth's keys. Nobody can log in until they are written again.
    pub(super) async fn take_keys(&self, berth: &Berth) -> Result<()> {
        let path = BerthDirs::of(&self.berth_dir(berth.id)).etc.join("authorized_keys");
        let host = self.host();
        let _writing = self.writing_keys.lock().await;
        tokio::task::spawn_blocking(move || host.remove(&path)).await??;
        Ok(())
    }

    async fn bring_keys(&self, berths: &[Berth], missing: Missing) -> Result<()> {
        // Reading the ledger and writing the files are one step, or an older reading could be written last.
        let _writing = self.writing_keys.lock().await;
        let (host, ledger) = (self.host(), self.ledger_handle());
        let places: Vec<(String, PathBuf)> = berths
            .iter()
            .map(|berth| (berth.owner.clone(), BerthDirs::of(&self.berth_dir(berth.id)).etc))
            .collect();
        tokio::task::spawn_blocking(move || {
            let written: Vec<Result<(), Fault>> =
                places.iter().map(|(owner, etc)| write_keys(&*host, &ledger, owner, etc, missing)).collect();
            written.into_iter().collect::<Result<Vec<()>, Fault>>()
        })
        .await??;
        Ok(())
    }
}

/// What to do where a berth has no file of authorized keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// Writes the owner's keys into the berth's files. It writes nothing where those do not exist yet: they will be
/// made from the same ledger.
fn write_keys(
    host: &dyn Host,
    ledger: &Ledger,
    owner: &str,
    etc: &Path,
    missing: Missing,
) -> Result<(), Fault> {
    let keys = ledger.user(owner)?.map(|user| user.keys).unwrap_or_default();
    let (path, content) = (etc.join("authorized_keys"), authorized_keys(&keys));
    let is_wanted = host.exists(&path) || missing == Missing::Make && host.exists(etc);
    if !is_wanted || host.read(&path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    host.write_atomic(&path, &content, 0o600)
        .map_err(|error| Fault::host(format!("writing {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_card_maps_are_in_the_environment() {
        let environment = card_environment(&crate::accel::Ascend, &[CardId(5), CardId(7)]);
        let value = |key: &str| environment.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        assert_eq!(value("ASCEND_VISIBLE_DEVICES"), Some("5,7"));
        assert_eq!(value("ASCEND_RT_VISIBLE_DEVICES"), Some("0,1"));
        assert_eq!((value("BERTH_HOST_CARDS"), value("BERTH_CONTAINER_CARDS")), (Some("5,7"), Some("0,1")));
    }

    #[test]
    fn a_berth_that_is_being_made_has_no_keys_until_its_owner_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db"), jiff::Timestamp::UNIX_EPOCH).unwrap();
        let (host, keys) = (crate::host::RealHost::default(), dir.path().join("authorized_keys"));
        write_keys(&host, &ledger, "alice", dir.path(), Missing::Leave).unwrap();
        assert!(!keys.exists());
        write_keys(&host, &ledger, "alice", dir.path(), Missing::Make).unwrap();
        assert!(keys.exists());
        host.write_atomic(&keys, b"an old key", 0o600).unwrap();
        write_keys(&host, &ledger, "alice", dir.path(), Missing::Leave).unwrap();
        assert_eq!(host.read(&keys).unwrap(), b"");
        write_keys(&host, &ledger, "alice", &dir.path().join("gone"), Missing::Make).unwrap();
    }
}
