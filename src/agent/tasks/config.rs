//! SIGHUP: the config is read again. It never ends the agent.

use super::Task;
use crate::agent::Reread;
use crate::model::clock::Now;
use crate::ops::Node;
use anyhow::{Context as _, Result};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Config {
    reread: Arc<Reread>,
    hangup: Option<Signal>,
    told: bool,
}

impl Config {
    /// Returns what makes this loop: the first one uses `hangup`, a later one catches the signal anew.
    pub(super) fn new(reread: Arc<Reread>, hangup: Signal) -> impl FnMut() -> Self {
        let mut hangup = Some(hangup);
        move || Self { reread: reread.clone(), hangup: hangup.take(), told: false }
    }
}

impl Task for Config {
    const NAME: &'static str = "config";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        if std::mem::take(&mut self.told) {
            let reread = self.reread.clone();
            node.reload(tokio::task::spawn_blocking(move || reread()).await?).await;
        }
        Ok(())
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        let hangup = match &mut self.hangup {
            Some(hangup) => hangup,
            None => self.hangup.insert(signal(SignalKind::hangup()).context("catching SIGHUP")?),
        };
        hangup.recv().await.context("no signal comes any more")?;
        self.told = true;
        Ok(())
    }
}
