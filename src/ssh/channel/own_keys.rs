//! Warns a user who changes `~/.ssh/authorized_keys` in a session, as `ssh-copy-id` does. berth ignores that file:
//! keys are the ledger's. Without the warning, the last message would be "1 key added", and the key would never
//! work.
//!
//! It must never read the file or wait for it: the file is the user's and may be anything, even a FIFO.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit for looking at the file: a home on storage that hangs must not delay the session.
const PATIENCE: Duration = Duration::from_secs(1);

pub(in crate::ssh) const NOTE: &str = "berth: ~/.ssh/authorized_keys opens nothing here. Keys are added at the node: \
                               berth user key add < KEY.pub, or over its gateway: \
                               ssh -p 2222 YOU@NODE user key add < KEY.pub\r\n";

/// The file as it was when the session began.
pub(in crate::ssh) struct KeysFile {
    path: Option<PathBuf>,
    before: Option<Seen>,
}

/// What changes when a file does: which it is, its size, and when it was written.
type Seen = (u64, u64, i64, i64);

impl KeysFile {
    pub(in crate::ssh) async fn look(path: Option<PathBuf>) -> Self {
        Self { before: seen(path.clone()).await, path }
    }

    /// Whether the file was changed since. `false` where there is none, or it cannot be looked at.
    pub(in crate::ssh) async fn has_changed(&self) -> bool {
        let now = seen(self.path.clone()).await;
        now.is_some() && now != self.before
    }
}

async fn seen(path: Option<PathBuf>) -> Option<Seen> {
    let path = path?;
    let looking = tokio::task::spawn_blocking(move || {
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    });
    tokio::time::timeout(PATIENCE, looking).await.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_was_added_is_seen_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authorized_keys");
        let file = KeysFile::look(Some(path.clone())).await;
        assert!(!file.has_changed().await);
        std::fs::write(&path, "ssh-ed25519 AAAA\n").unwrap();
        assert!(file.has_changed().await);
        let file = KeysFile::look(Some(path.clone())).await;
        assert!(!file.has_changed().await);
        std::fs::remove_file(&path).unwrap();
        assert!(!file.has_changed().await);
        std::fs::create_dir(&path).unwrap();
        assert!(!file.has_changed().await);
        assert!(!KeysFile::look(None).await.has_changed().await);
    }
}
