//! The agent's loops: what it does in the background. Each loop is one file, which says what one look does and when
//! the next is due;
//! the looks themselves are use cases of `ops`.
//!
//! All loops run in one set. The set counts looks and logs errors. It restarts a loop that ends or panics
//! (`ops::supervise`), and such a restart is an event.

mod admins;
mod apart;
mod cards;
mod config;
mod containers;
mod data_disk;
mod doors;
mod editors;
mod events;
mod gateway;
mod inside;
mod leases;
mod metadata;
mod notify;
mod ports;
mod room;
mod samples;
mod tickets;

use super::Reread;
use crate::model::clock::Now;
use crate::ops::{Node, supervise};
use crate::ssh::gateway::{Api, Gateway};
use anyhow::Result;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;

/// A firewall rule that another program removed is back within this time.
const LOOK_AT_RULES: Duration = Duration::from_secs(3);

/// One loop. What it remembers between looks is lost when it is restarted.
trait Task: Send {
    /// The loop's name in the log, the events and `/v1/health`.
    const NAME: &'static str;

    /// One look. An error is counted and reported; the next look comes when it is due, as after any other.
    fn tick(&mut self, node: &Arc<Node>, now: Now) -> impl Future<Output = Result<()>> + Send;

    /// Waits until the next look is due. An error ends the loop, which is then restarted.
    fn rest(&mut self, node: &Node) -> impl Future<Output = Result<()>> + Send;
}

/// Looks and waits in turn, until waiting fails.
async fn turns<T: Task>(node: Arc<Node>, mut task: T) -> Result<()> {
    loop {
        let now = node.now();
        node.task_begins(T::NAME, now);
        let looked = task.tick(&node, now).await;
        node.task_looked(T::NAME, &looked);
        task.rest(&node).await?;
    }
}

/// The loops of one agent. Dropping this ends them.
pub(super) struct Tasks {
    node: Arc<Node>,
    set: JoinSet<Infallible>,
}

impl Tasks {
    /// Starts all loops. `hangup` receives SIGHUP and must have been set up before.
    pub(super) fn start(node: &Arc<Node>, reread: Reread, hangup: Signal) -> Self {
        let mut tasks = Self { node: node.clone(), set: JoinSet::new() };
        let reread = Arc::new(reread);
        tasks.add(containers::Containers::default);
        tasks.add(cards::Cards::default);
        tasks.add(leases::Leases::default);
        tasks.add(tickets::Tickets::default);
        tasks.add(samples::Samples::default);
        tasks.add(metadata::Metadata::default);
        tasks.add(apart::Apart::default);
        tasks.add(ports::Ports::default);
        tasks.add(editors::Editors::default);
        tasks.add(events::Events::default);
        tasks.add(admins::Admins::default);
        tasks.add(room::Room::default);
        tasks.add(data_disk::DataDisk::default);
        tasks.add(config::Config::new(reread, hangup));
        let changed = node.clone();
        tasks.add(move || inside::Inside::new(&changed));
        let stopped = node.clone();
        tasks.add(move || doors::Doors::new(&stopped));
        let told = node.clone();
        tasks.add(move || notify::Notify::new(&told));
        tasks
    }

    fn add<T: Task + 'static>(&mut self, mut make: impl FnMut() -> T + Send + 'static) {
        let (node, telling) = (self.node.clone(), self.node.clone());
        self.set.spawn(supervise::keep(
            move || turns(node.clone(), make()),
            move |why| {
                let node = telling.clone();
                async move { node.task_ended(T::NAME, why).await }
            },
        ));
    }

    pub(super) fn serve_gateway(&mut self, gateway: Gateway, api: Arc<dyn Api>) {
        self.set.spawn(gateway::keep(self.node.clone(), gateway, api));
    }

    /// Returns only when a loop could not be restarted. The agent has to end then, because a part of it no longer
    /// works.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        match self.set.join_next().await {
            Some(Err(error)) => anyhow::Error::from(error).context("a task of the agent cannot go on"),
            Some(Ok(never)) => match never {},
            None => anyhow::anyhow!("the agent has no tasks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::TestClock;
    use crate::ops::Caller;
    use tokio::sync::mpsc;

    /// Looks that go as the test says: the first loop panics, the next one does not come back from its look.
    struct Told {
        looked: mpsc::UnboundedSender<u32>,
        looks: u32,
        is_first: bool,
    }

    impl Task for Told {
        const NAME: &'static str = "told";

        async fn tick(&mut self, _node: &Arc<Node>, _now: Now) -> Result<()> {
            self.looks += 1;
            self.looked.send(self.looks)?;
            match self.looks {
                _ if !self.is_first => std::future::pending().await,
                2 => anyhow::bail!("the second look fails"),
                look => {
                    assert!(look != 3, "the third look panics");
                    Ok(())
                }
            }
        }

        async fn rest(&mut self, _node: &Node) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_an_event_and_begins_anew() {
        let (node, _dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let mut tasks = Tasks { node: node.clone(), set: JoinSet::new() };
        let (looked, mut looks) = mpsc::unbounded_channel();
        let mut is_first = true;
        tasks.add(move || Told { looked: looked.clone(), looks: 0, is_first: std::mem::take(&mut is_first) });
        let mut seen = Vec::new();
        while seen.len() < 4 {
            seen.push(looks.recv().await.unwrap());
        }
        drop(tasks);
        assert_eq!(seen, [1, 2, 3, 1]);
        let [view] = &node.tasks()[..] else { panic!("one loop") };
        // The look that panicked did not end, and the new loop's has not yet.
        let counts = (view.turns, view.failures, view.restarts, view.busy_seconds);
        assert_eq!((view.name.as_str(), counts), ("told", (2, 1, 1, Some(0))));
        let events = node.events(&Caller::agent(), 0, 100).await.unwrap();
        let [event] = &events[..] else { panic!("one event: {events:?}") };
        assert_eq!(event.kind, "agent.task-ended");
        assert_eq!(event.text, "the agent's task told is begun anew: it panicked: the third look panics");
    }

    /// Whoever stops listening to the ledger, the engine or the signals says so, and it is an event too.
    #[tokio::test]
    async fn a_loop_without_a_source_ends_and_is_told() {
        struct Ends;
        impl Task for Ends {
            const NAME: &'static str = "ends";

            async fn tick(&mut self, _node: &Arc<Node>, _now: Now) -> Result<()> {
                Ok(())
            }

            async fn rest(&mut self, _node: &Node) -> Result<()> {
                anyhow::bail!("nobody tells any more")
            }
        }
        let (node, _dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let mut tasks = Tasks { node: node.clone(), set: JoinSet::new() };
        let mut changed = node.subscribe_events();
        tasks.add(|| Ends);
        changed.changed().await.unwrap();
        let events = node.events(&Caller::agent(), 0, 1).await.unwrap();
        assert_eq!(
            events.first().map(|event| event.text.as_str()),
            Some("the agent's task ends is begun anew: it ended: nobody tells any more")
        );
    }

    /// Every loop of the agent looks where no engine is, and none ends of that.
    #[tokio::test(flavor = "multi_thread")]
    async fn all_loops_look_without_an_engine() {
        let (node, _dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap();
        let _tasks = Tasks::start(&node, Box::new(|| anyhow::bail!("no config")), hangup);
        let all = [
            "admins",
            "berths-apart",
            "berths-events",
            "cards",
            "config",
            "containers",
            "data-disk",
            "doors",
            "editors",
            "events",
            "leases",
            "metadata",
            "notify",
            "ports",
            "room",
            "samples",
            "tickets",
        ];
        loop {
            let looked = node.tasks().into_iter().filter(|task| task.turns > 0).map(|task| task.name);
            if looked.eq(all) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(node.tasks().iter().all(|task| task.restarts == 0), "{:?}", node.tasks());
    }
}
