//! What goes on without anybody asking: the engine's events, and a look at everything now and then.

use super::taken::Taken;
use super::{Caller, Node};
use crate::engine::{Engine, events};
use crate::host::firewall::Changed;
use anyhow::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Even without an event: leases, host processes, a missed event.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// After a change, once more: an engine may tell of it before its list does.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Between two looks at least, however much the engine tells: a container that restarts all the time tells all the time.
const REST: Duration = Duration::from_millis(500);

/// A rule that is gone is back within this time.
pub(super) const LOOK_AT_RULES: Duration = Duration::from_secs(3);

/// Between two tries to reach an engine that was away when the agent started.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Waits until it is time for the next look, and says how long to wait after that one. `None`: nobody tells any more.
async fn rest<T>(feed: &mut watch::Receiver<T>, pause: Duration) -> Option<Duration> {
    tokio::time::sleep(REST.min(pause)).await;
    tokio::select! {
        // What was told meanwhile is not lost.
        changed = feed.changed() => changed.ok().map(|()| LOOK_AGAIN),
        () = tokio::time::sleep(pause.saturating_sub(REST)) => Some(LOOK_EVERY),
    }
}

impl Node {
    /// Runs until the process ends.
    pub async fn watch(self: Arc<Self>) {
        let engine = self.first_engine().await;
        let mut feed = events::watch(engine);
        let mut holders = Taken::new(Instant::now());
        let mut up = true;
        let mut pause = LOOK_AGAIN;
        tokio::spawn(Arc::clone(&self).watch_editors());
        tokio::spawn(Arc::clone(&self).watch_cards());
        tokio::spawn(Arc::clone(&self).watch_metadata());
        tokio::spawn(Arc::clone(&self).watch_neighbours());
        tokio::spawn(Arc::clone(&self).watch_ports());
        loop {
            let now_up = feed.borrow_and_update().up;
            if up && !now_up {
                self.forget_engine().await;
            }
            up = now_up;
            if up && let Err(error) = self.look_around(&mut holders).await {
                tracing::warn!(error = format!("{error:#}"), "could not look at the containers");
            }
            match rest(&mut feed, pause).await {
                Some(next) => pause = next,
                None => return,
            }
        }
    }

    /// Somebody may flush the node's rules, as a firewall does that is loaded anew. A look is two short programs.
    async fn watch_metadata(self: Arc<Self>) {
        let (mut failed, mut was_closed) = (false, false);
        loop {
            tokio::time::sleep(LOOK_AT_RULES).await;
            // Without an engine its chain may not be there, and nothing is forwarded to containers.
            if !self.has_engine().await {
                continue;
            }
            match self.close_metadata().await {
                Ok(changed) => {
                    failed = false;
                    // The first time nobody had closed it yet.
                    if changed == Changed::Yes && was_closed {
                        self.tell_reopened().await;
                    }
                    was_closed = true;
                }
                Err(error) if !failed => {
                    failed = true;
                    let error = format!("{error:#}");
                    tracing::error!(error, "169.254.169.254 may be open to containers");
                }
                Err(_) => {}
            }
        }
    }

    async fn tell_reopened(&self) {
        let text = "somebody removed the rule that closes 169.254.169.254 to containers; it is there again";
        tracing::warn!(text);
        let event = Self::event("metadata.closed", &Caller::agent().name, text);
        if let Err(error) = self.ledger(move |ledger| ledger.record(&event)).await {
            tracing::error!(error = format!("{error:#}"), "an event could not be written down");
        }
    }

    /// Unpacking takes its time, so that it has a task of its own.
    async fn watch_editors(self: Arc<Self>) {
        loop {
            if let Err(error) = self.prepare_editors().await {
                tracing::warn!(error = format!("{error:#}"), "could not look for editors' servers");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Docker may start after the agent.
    async fn first_engine(&self) -> Engine {
        let mut told = false;
        loop {
            match self.engine().await {
                Ok(engine) => {
                    tracing::info!(version = engine.version(), api = %engine.api(), "the Docker Engine answers");
                    return engine;
                }
                Err(error) if !told => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "no Docker Engine yet; berths cannot be made"
                    );
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn look_around(&self, holders: &mut Taken) -> Result<()> {
        // A container that was started again may have another address. What fails is told by its own watch.
        self.try_to_keep_apart().await;
        // First, because the rest may have to wait for somebody's decision about cards.
        self.look_at_containers().await?;
        let reconciled = self.reconcile().await;
        let outside = self.outsiders(&self.card_nodes().await?).await?;
        if let Some(reason) = &outside.not_looked {
            tracing::warn!(reason, "could not look who may use cards");
        }
        self.report_holders(holders, &outside.held).await?;
        reconciled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn somebody_who_tells_all_the_time_is_listened_to_now_and_then() {
        let (teller, mut feed) = watch::channel(());
        let teller = tokio::spawn(async move {
            loop {
                teller.send_replace(());
                tokio::task::yield_now().await;
            }
        });
        let began = Instant::now();
        assert_eq!(rest(&mut feed, LOOK_EVERY).await, Some(LOOK_AGAIN));
        assert!(began.elapsed() >= REST);
        teller.abort();
        assert!(teller.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(rest(&mut feed, LOOK_EVERY).await, None);
    }

    #[tokio::test]
    async fn where_nobody_tells_it_is_looked_again() {
        let (_teller, mut feed) = watch::channel(());
        assert_eq!(rest(&mut feed, Duration::from_millis(1)).await, Some(LOOK_EVERY));
    }
}
