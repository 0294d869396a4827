//! What a long use case tells while it works.

use crate::error::Fault;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Progress {
    /// One line for a person.
    Step { text: String },
    /// One layer of an image that is pulled.
    Layer { id: String, status: String, current: Option<u64>, total: Option<u64> },
}

/// The listening end may go away: whoever asked has hung up.
#[derive(Debug, Clone)]
pub struct ProgressSender(mpsc::Sender<Progress>);

impl ProgressSender {
    pub fn new(sender: mpsc::Sender<Progress>) -> Self {
        Self(sender)
    }

    /// A listener that reads too slowly misses a line rather than holding up the work.
    pub fn step(&self, text: impl Into<String>) {
        let _ = self.0.try_send(Progress::Step { text: text.into() });
    }

    pub fn send(&self, progress: Progress) {
        let _ = self.0.try_send(progress);
    }

    /// Resolves when nobody listens any more.
    pub async fn abandoned(&self) {
        self.0.closed().await;
    }

    /// Nobody would hear of the result: the work is to be undone.
    pub fn check_listener(&self) -> Result<(), Fault> {
        if self.0.is_closed() {
            return Err(Fault::refused("whoever asked has hung up, so it was undone"));
        }
        Ok(())
    }
}
