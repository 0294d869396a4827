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

/// The listening end may go away: whoever asked has hung up. What the agent does by itself has no listener from the start.
#[derive(Debug, Clone)]
pub struct ProgressSender(Option<mpsc::Sender<Progress>>);

impl ProgressSender {
    pub fn new(sender: mpsc::Sender<Progress>) -> Self {
        Self(Some(sender))
    }

    /// For what nobody asked for: it goes on to its end.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// A listener that reads too slowly misses a line rather than holding up the work.
    pub fn step(&self, text: impl Into<String>) {
        self.send(Progress::Step { text: text.into() });
    }

    pub fn send(&self, progress: Progress) {
        if let Some(listener) = &self.0 {
            let _ = listener.try_send(progress);
        }
    }

    /// Resolves when nobody listens any more.
    pub async fn abandoned(&self) {
        match &self.0 {
            Some(listener) => listener.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Nobody would hear of the result: the work is to be undone.
    pub fn check_listener(&self) -> Result<(), Fault> {
        if self.0.as_ref().is_some_and(mpsc::Sender::is_closed) {
            return Err(Fault::refused("whoever asked has hung up, so it was undone"));
        }
        Ok(())
    }
}
