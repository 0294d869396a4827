//! What the agent says of the berth's lease: the file is read again when it is replaced, and what is new in it goes
//! to every open terminal.

use crate::model::lease_file::{LEASE_FILE, LEASE_LIMIT, LeaseFile};
use crate::model::text::clean_to;
use crate::ssh::user::image;
use bytes::Bytes;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// How often the file is looked at where the kernel does not tell of changes,
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// and where it does.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// The longest line, in characters.
const LINE_LIMIT: usize = 600;

/// The file, and who hears of its messages.
pub(in crate::ssh) struct Notices {
    info: PathBuf,
    lines: watch::Sender<Bytes>,
}

impl Notices {
    pub(super) fn new(info: PathBuf) -> Self {
        Self { info, lines: watch::Sender::new(Bytes::new()) }
    }

    /// The lines for one terminal. Those of before are not among them.
    pub(super) fn subscribe(&self) -> watch::Receiver<Bytes> {
        self.lines.subscribe()
    }

    /// What the file says now; `None` where there is none.
    pub(super) fn read(&self) -> Option<LeaseFile> {
        let text = image::read_regular(&self.info.join(LEASE_FILE), LEASE_LIMIT).ok()?;
        LeaseFile::parse(&text)
    }

    /// Watches for ever.
    pub(super) async fn watch(&self) {
        let mut changes = Changes::of(&self.info)
            .inspect_err(|error| tracing::debug!("{} is looked at each second: {error}", self.info.display()))
            .ok();
        let mut last = self.newest().map(|(id, _)| id);
        loop {
            match &mut changes {
                // It is looked at in either case.
                Some(changes) => drop(tokio::time::timeout(LOOK_ANYWAY, changes.next()).await),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
            if let Some((id, line)) = self.newest().filter(|(id, _)| Some(*id) != last) {
                self.lines.send_replace(line);
                last = Some(id);
            }
        }
    }

    fn newest(&self) -> Option<(i64, Bytes)> {
        let message = self.read()?.message?;
        // Begun and ended by a new line, whatever the cursor's place and the terminal's modes are.
        Some((message.id, format!("\r\n[berth] {}\r\n", clean_to(&message.text, LINE_LIMIT)).into()))
    }
}

/// Tells when a file of a directory was replaced. To tokio the kernel's queue is as good as a pipe: a descriptor that
/// does not block.
struct Changes(pipe::Receiver);

impl Changes {
    fn of(dir: &Path) -> io::Result<Self> {
        let queue = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&queue, dir, WatchFlags::MOVED_TO)?;
        Ok(Self(pipe::Receiver::from_file_unchecked(queue.into())?))
    }

    async fn next(&mut self) -> io::Result<()> {
        let mut events = [0; 4096];
        self.0.read(&mut events).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(info: &Path, id: i64, text: &str) {
        let file = serde_json::json!({
            "schema": 1, "berth": "alice/dev", "cards": [1], "since": "2026-01-02T03:04:05Z", "until": null, "lease": null,
            "stops_at": null, "reason": null, "waiting": 0, "storage": "/work", "utc_offset": 0, "unknown": true,
            "message": {"id": id, "at": "2026-01-02T03:04:05Z", "text": text},
        });
        std::fs::write(info.join(".new"), file.to_string()).unwrap();
        std::fs::rename(info.join(".new"), info.join(LEASE_FILE)).unwrap();
    }

    #[tokio::test]
    async fn a_message_is_told_once_and_cannot_do_more_than_be_shown() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), 7, "old");
        let notices = std::sync::Arc::new(Notices::new(dir.path().to_path_buf()));
        let mut lines = notices.subscribe();
        let watching = std::sync::Arc::clone(&notices);
        let task = tokio::spawn(async move { watching.watch().await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        put(dir.path(), 8, "a\u{1b}[2Jb\r\nc");
        tokio::time::timeout(Duration::from_secs(20), lines.changed()).await.unwrap().unwrap();
        let line = lines.borrow_and_update().clone();
        assert_eq!(line, "\r\n[berth] a\u{fffd}[2Jb\u{fffd}\u{fffd}c\r\n");
        // The same message in a file that has changed otherwise.
        put(dir.path(), 8, "other words");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!lines.has_changed().unwrap());
        task.abort();
    }

    #[test]
    fn a_file_that_cannot_be_understood_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let notices = Notices::new(dir.path().to_path_buf());
        for text in ["", "{}", "[1]", r#"{"schema": 2}"#] {
            std::fs::write(dir.path().join(LEASE_FILE), text).unwrap();
            assert!(notices.read().is_none(), "{text}");
        }
        std::fs::write(dir.path().join(LEASE_FILE), vec![b' '; 20_000]).unwrap();
        assert!(notices.read().is_none());
        put(dir.path(), 1, "x");
        assert_eq!(notices.read().unwrap().berth, "alice/dev");
    }
}
