//! The file with the server's host key. It is read again when it was replaced: an administrator may give a user a
//! new key while the user's berths run.

use super::stamp::Stamp;
use crate::error::Fault;
use crate::keys::read_host_keys;
use crate::ssh::user::image;
use anyhow::{Context as _, Result};
use russh::keys::PrivateKey;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const LIMIT: u64 = 64 << 10;

pub(in crate::ssh) struct HostKeyFile {
    path: PathBuf,
    seen: Mutex<Stamp>,
}

impl HostKeyFile {
    pub(in crate::ssh) fn open(path: PathBuf) -> Result<(Self, Vec<PrivateKey>)> {
        // Before it is read: what comes in between is seen next time.
        let seen = Mutex::new(Stamp::of(&path));
        let keys = read(&path)?;
        Ok((Self { path, seen }, keys))
    }

    /// The keys, when there are others than the last time. One `stat`, to be called for each connection.
    pub(in crate::ssh) fn changed(&self) -> Option<Vec<PrivateKey>> {
        let now = Stamp::of(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return None;
        }
        *seen = now;
        match read(&self.path) {
            Ok(keys) => Some(keys),
            Err(error) => {
                tracing::error!("the host key stays as it was: {error:#}");
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<PrivateKey>> {
    let reading = || format!("reading {}", path.display());
    let bytes = image::read_regular(path, LIMIT).with_context(reading)?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::host("it is no text")).with_context(reading)?;
    read_host_keys(&text).with_context(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Host as _, RealHost};
    use crate::keys::generate_host_key;

    #[test]
    fn another_key_is_read_once_and_a_damaged_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        let put = |text: &str| RealHost::default().write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let key = || generate_host_key().unwrap().private_openssh;
        put(&key());
        let (file, first) = HostKeyFile::open(path.clone()).unwrap();
        assert!(file.changed().is_none());
        put(&key());
        let second = file.changed().unwrap();
        assert_eq!(second.len(), first.len());
        assert_ne!(second[0].public_key(), first[0].public_key());
        assert!(file.changed().is_none());
        put("no key");
        assert!(file.changed().is_none());
        put(&key());
        assert!(file.changed().is_some());
    }
}
