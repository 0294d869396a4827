//! The progress that a long use case reports while it works.

use crate::error::Fault;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Progress {
    /// One line for a person.
    Step {
        text: String,
        /// The ticket that the request waits with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<i64>,
    },
    /// One layer of an image that is pulled.
    Layer { id: String, status: String, current: Option<u64>, total: Option<u64> },
}

/// Sends progress to the client that asked. The client may hang up. Work that the agent does by itself has no
/// listener.
#[derive(Debug, Clone)]
pub struct ProgressSender(Option<mpsc::Sender<Progress>>);

impl ProgressSender {
    pub fn new(sender: mpsc::Sender<Progress>) -> Self {
        Self(Some(sender))
    }

    /// A sender for work of the agent itself, which has no listener and is never abandoned.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Sends one line. A listener that reads too slowly misses lines; the work does not wait for it.
    pub fn step(&self, text: impl Into<String>) {
        self.send(Progress::Step { text: text.into(), ticket: None });
    }

    pub fn send(&self, progress: Progress) {
        if let Some(listener) = &self.0 {
            let _ = listener.try_send(progress);
        }
    }

    /// Resolves when the listener has gone.
    pub async fn abandoned(&self) {
        match &self.0 {
            Some(listener) => listener.closed().await,
            None => std::future::pending().await,
        }
    }

    /// An error when the listener has gone. The work must then be undone, because nobody would learn its result.
    pub fn check_listener(&self) -> Result<(), Fault> {
        if self.0.as_ref().is_some_and(mpsc::Sender::is_closed) {
            return Err(Fault::refused("whoever asked has hung up, so it was undone"));
        }
        Ok(())
    }
}
