//! Looks at Docker's containers whenever Docker reports a change, and at intervals.

use super::Task;
use crate::engine::events::{self, Feed};
use crate::model::clock::Now;
use crate::ops::{Node, Taken};
use anyhow::{Result, bail};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The interval without an event: processes of the host cause none, and an event can be missed.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// When to look once more after a change: Docker may send the event before its list shows the change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The shortest pause between two looks. A container that restarts all the time causes events all the time.
const REST: Duration = Duration::from_millis(500);

/// The pause where a berth is to come back, and its device nodes are not there yet.
const LOOK_FOR_NODES: Duration = Duration::from_secs(2);

/// Between two tries to reach Docker where it did not run when the agent started.
const TRY_AGAIN: Duration = Duration::from_secs(2);

pub(super) struct Containers {
    /// Docker's changes; `None` until Docker has answered once.
    feed: Option<watch::Receiver<Feed>>,
    downs: u64,
    pause: Duration,
    /// Who besides berths has which card, as last reported.
    holders: Taken,
    told_away: bool,
}

impl Default for Containers {
    fn default() -> Self {
        Self { feed: None, downs: 0, pause: LOOK_AGAIN, holders: Taken::default(), told_away: false }
    }
}

impl Task for Containers {
    const NAME: &'static str = "containers";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        if self.feed.is_none() {
            self.feed = self.first_feed(node).await;
        }
        let Some(feed) = &mut self.feed else { return Ok(()) };
        let (up, downs) = {
            let feed = feed.borrow_and_update();
            (feed.up, feed.downs)
        };
        if std::mem::replace(&mut self.downs, downs) != downs {
            node.forget_engine().await;
        }
        if !up {
            return Ok(());
        }
        let looked = node.look_around(&mut self.holders).await;
        if node.return_berths().await? {
            self.pause = LOOK_FOR_NODES.min(self.pause);
        }
        node.take_up_started().await?;
        looked
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        match &mut self.feed {
            None => tokio::time::sleep(TRY_AGAIN).await,
            Some(feed) => match rest(feed, self.pause).await {
                Some(pause) => self.pause = pause,
                None => bail!("nobody follows the Docker Engine's events any more"),
            },
        }
        Ok(())
    }
}

impl Containers {
    /// Waits until Docker answers, which may start after the agent.
    async fn first_feed(&mut self, node: &Node) -> Option<watch::Receiver<Feed>> {
        match node.engine().await {
            Ok(engine) => {
                tracing::info!(version = engine.version(), api = %engine.api(), "the Docker Engine answers");
                Some(events::watch(engine))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told_away, true) {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "no Docker Engine yet; berths cannot be made");
                }
                None
            }
        }
    }
}

/// Waits until the next look is due, and returns how long to wait after that one. `None`: the sender of `feed` has
/// ended.
async fn rest<T>(feed: &mut watch::Receiver<T>, pause: Duration) -> Option<Duration> {
    tokio::time::sleep(REST.min(pause)).await;
    tokio::select! {
        // What was told meanwhile is not lost.
        changed = feed.changed() => changed.ok().map(|()| LOOK_AGAIN),
        () = tokio::time::sleep(pause.saturating_sub(REST)) => Some(LOOK_EVERY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

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
