//! A berth's log that goes on: its events as they are written down, and what its containers write, in the order in
//! which they come. Nothing is read ahead of who asks for it.

use super::Node;
use super::berth_logs::{LogLine, of_container, of_event};
use crate::engine::OutputLine;
use crate::model::{Berth, BerthState};
use anyhow::Result;
use futures_util::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

/// How many events are read at a time.
const EVENTS: u32 = 200;
/// How many lines of a container are taken at a time, where they are there already. The engine has at most 16 KiB in each.
const LINES: usize = 64;
/// A container that did not run, or whose output ended, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long what a container wrote last is waited for, when its berth has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Output = BoxStream<'static, Vec<Result<OutputLine>>>;

/// Where a reader of a berth's log is.
pub struct LogTail {
    berth: i64,
    /// The newest event that was shown.
    after: i64,
    /// The newest line of a container that was shown.
    shown: Timestamp,
    changed: watch::Receiver<i64>,
    /// `None` while no container of it runs.
    output: Option<Output>,
}

impl LogTail {
    pub(super) fn new(berth: i64, after: i64, shown: Timestamp, changed: watch::Receiver<i64>) -> Self {
        Self { berth, after, shown, changed, output: None }
    }

    /// Waits for the next lines; `None`: the berth has ended, and all was shown. What was not returned when this is
    /// dropped comes at the next call, but for the pause after a container.
    pub async fn next(&mut self, node: &Node) -> Result<Option<Vec<LogLine>>> {
        loop {
            // Before the look: what comes during it is looked for again.
            self.changed.mark_unchanged();
            let berth = node.ledger_berth(self.berth).await?;
            let events = self.events(node, &berth).await?;
            if !events.is_empty() {
                return Ok(Some(events));
            }
            if berth.state.has_ended() {
                let last = self.last_words().await;
                return Ok(Some(last).filter(|lines| !lines.is_empty()));
            }
            if self.output.is_none() {
                self.output = open(node, &berth, self.shown).await;
            }
            tokio::select! {
                news = self.changed.changed() => news?,
                lines = next_of(&mut self.output) => match lines {
                    Some(lines) => {
                        let lines = self.read(lines);
                        if !lines.is_empty() {
                            return Ok(Some(lines));
                        }
                    }
                    None => {
                        self.output = None;
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                },
                () = tokio::time::sleep(LOOK_AGAIN), if self.output.is_none() => {}
            }
        }
    }

    /// The next events; empty when there are no more.
    async fn events(&mut self, node: &Node, berth: &Berth) -> Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            let (asked, after) = (berth.clone(), self.after);
            let found = node.ledger(move |ledger| ledger.berth_events_after(&asked, after, EVENTS)).await?;
            let Some(last) = found.last() else { break };
            self.after = last.id;
            // What its server told comes with its output.
            let events = found.into_iter().filter(|event| !event.kind.starts_with("ssh."));
            lines.extend(events.map(of_event));
        }
        Ok(lines)
    }

    fn read(&mut self, lines: Vec<Result<OutputLine>>) -> Vec<LogLine> {
        let mut read = Vec::new();
        // The engine went away: it is asked again when the stream has ended.
        for line in lines.into_iter().flatten() {
            self.shown = self.shown.max(line.at);
            read.extend(of_container(line));
        }
        read
    }

    async fn last_words(&mut self) -> Vec<LogLine> {
        let Some(mut output) = self.output.take() else { return Vec::new() };
        let mut last = Vec::new();
        while let Ok(Some(lines)) = tokio::time::timeout(LAST_WORDS, output.next()).await {
            last.extend(self.read(lines));
            if last.len() >= LINES {
                self.output = Some(output);
                break;
            }
        }
        last
    }
}

/// What its container writes from here on; `None` where it does not run, and where the engine does not answer.
async fn open(node: &Node, berth: &Berth, shown: Timestamp) -> Option<Output> {
    if matches!(berth.state, BerthState::Stopped | BerthState::Creating) {
        return None;
    }
    let container = berth.container_id.clone()?;
    let engine = node.engine().await.ok()?;
    let state = engine.inspect(&container).await.ok()??;
    state.running.then(|| engine.follow_since(&container, shown).ready_chunks(LINES).boxed())
}

/// Never, where there is no output.
async fn next_of(output: &mut Option<Output>) -> Option<Vec<Result<OutputLine>>> {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::TestClock;
    use crate::ledger::NewBerth;
    use crate::ops::Caller;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_goes_on_with_what_comes_and_ends_with_the_berth() {
        let (node, _dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let event = node.event("user.added", "root", String::new());
        node.ledger(move |ledger| ledger.add_user("alice", None, &[], &event)).await.unwrap();
        let new: NewBerth = NewBerth {
            owner: "alice".into(),
            name: "dev".into(),
            cards: Vec::new(),
            port: 20_000,
            ssh_user: "ma-user".into(),
            image: "i".into(),
            image_id: "sha256:1".into(),
            memory: None,
            cpus: None,
            lease: Some(60),
            unattended: false,
            ticket: None,
            overtaken: Vec::new(),
        };
        let mut requested = node.event("berth.requested", "alice", "asks");
        (requested.owner, requested.berth) = (Some("alice".into()), Some("dev".into()));
        let ledger = node.ledger_handle();
        let berth = ledger.claim(&new, &requested).unwrap();
        let log = node.berth_logs(&Caller::agent(), "alice/dev", 10).await.unwrap();
        assert_eq!(log.lines.len(), 1);
        let mut tail = log.tail;
        let about = |kind, text: &str| node.about(&berth, kind, "agent", text.to_owned());
        ledger.record(&about("ssh.login", "comes with the output")).unwrap();
        ledger.record(&about("berth.oom", "one")).unwrap();
        ledger.record(&node.event("agent.started", "agent", "of nobody")).unwrap();
        let texts = |lines: Option<Vec<LogLine>>| -> Vec<String> {
            lines.into_iter().flatten().map(|line| line.text).collect()
        };
        assert_eq!(texts(tail.next(&node).await.unwrap()), ["one"]);
        // It waits for what comes next, and who stops waiting loses nothing.
        let waited = tokio::time::timeout(Duration::from_millis(50), tail.next(&node)).await;
        assert!(waited.is_err());
        let later = about("berth.recovered", "two");
        let told = node.ledger(move |ledger| ledger.record(&later));
        let (lines, told) = tokio::join!(tail.next(&node), told);
        told.unwrap();
        assert_eq!(texts(lines.unwrap()), ["two"]);
        ledger.begin_release(berth.id, &about("berth.releasing", "goes")).unwrap();
        ledger.end(berth.id, BerthState::Released, "done", &about("berth.released", "gone")).unwrap();
        assert_eq!(texts(tail.next(&node).await.unwrap()), ["goes", "gone"]);
        assert_eq!(tail.next(&node).await.unwrap(), None);
    }
}
