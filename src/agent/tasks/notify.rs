//! Tells the hook program of `[notify]` what owners of berths should know. The ledger is the queue: it has the events,
//! and up to which of them the program was told.

use super::Task;
use crate::agent::hook;
use crate::model::clock::{BootTime, Moment as _, Now};
use crate::ops::Node;
use crate::ops::notify::{Hook, News};
use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long one run of the program may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How many run at the same time.
const AT_ONCE: usize = 4;
/// How many messages may wait; the oldest are dropped first.
const QUEUE: usize = 256;
/// Failures are an event at most so often.
const REPORT_EVERY: Duration = Duration::from_hours(1);
/// The interval without an event, for failures that were only counted.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How far the note in the ledger may be behind what was read, where nothing was to be told.
const NOTE_EVERY: i64 = 1000;

pub(super) struct Notify {
    changed: watch::Receiver<i64>,
    limit: Duration,
    /// Up to which event the ledger was read; `None` before the first look with a program.
    read_to: Option<i64>,
    /// Up to which event the ledger says that the program was told.
    noted: i64,
    waiting: VecDeque<News>,
    failures: Failures,
}

/// What went wrong since the last event about it.
#[derive(Default)]
struct Failures {
    failed: u64,
    dropped: u64,
    last: Option<String>,
    /// When it was last an event.
    told: Option<BootTime>,
}

impl Notify {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            changed: node.subscribe_events(),
            limit: LIMIT,
            read_to: None,
            noted: 0,
            waiting: VecDeque::new(),
            failures: Failures::default(),
        }
    }

    /// Where no program is named, nothing is remembered: one that is named later is told what happens from then on.
    async fn forget(&mut self, node: &Node) -> Result<()> {
        self.waiting.clear();
        self.read_to = None;
        if node.notified().await?.is_some() {
            node.note_notified(None).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, node: &Node) -> Result<i64> {
        if let Some(id) = self.read_to {
            return Ok(id);
        }
        let from = match node.notified().await? {
            Some(id) => id,
            None => {
                let newest = *self.changed.borrow();
                node.note_notified(Some(newest)).await?;
                newest
            }
        };
        (self.read_to, self.noted) = (Some(from), from);
        Ok(from)
    }

    /// Reads all that is new.
    async fn read(&mut self, node: &Node) -> Result<i64> {
        let mut after = self.begin(node).await?;
        loop {
            let (news, last) = node.news(after).await?;
            self.waiting.extend(news);
            while self.waiting.len() > QUEUE {
                self.waiting.pop_front();
                self.failures.dropped += 1;
            }
            self.read_to = Some(last);
            if last == after {
                return Ok(last);
            }
            after = last;
        }
    }

    async fn tell(&mut self, node: &Node, hook: &Hook) -> Result<()> {
        loop {
            let read_to = self.read(node).await?;
            let some: Vec<News> = self.waiting.drain(..self.waiting.len().min(AT_ONCE)).collect();
            if some.is_empty() {
                return if read_to - self.noted >= NOTE_EVERY {
                    self.note(node, read_to).await
                } else {
                    Ok(())
                };
            }
            let told = join_all(some.iter().map(|news| hook::run(hook, &news.json, self.limit))).await;
            for why in told.into_iter().filter_map(Result::err) {
                self.failures.failed += 1;
                self.failures.last = Some(why);
            }
            // An agent that is killed before this tells these once more: that is better than never.
            self.note(node, self.waiting.front().map_or(read_to, |next| next.id - 1)).await?;
            self.failures.report(node, &hook.program.display().to_string()).await;
        }
    }

    async fn note(&mut self, node: &Node, id: i64) -> Result<()> {
        node.note_notified(Some(id)).await?;
        self.noted = id;
        Ok(())
    }
}

impl Failures {
    /// Makes what went wrong an event, unless there was one a short time ago.
    async fn report(&mut self, node: &Node, program: &str) {
        let now = node.now().boot;
        let is_due = self.told.is_none_or(|told| now.since(told) >= REPORT_EVERY);
        if self.failed == 0 && self.dropped == 0 || !is_due {
            return;
        }
        let what = match (self.failed, &self.last) {
            (0, _) | (_, None) => "is too slow".to_owned(),
            (1, Some(why)) => format!("failed: {why}"),
            (failed, Some(why)) => format!("failed {failed} times, the last time: {why}"),
        };
        let dropped = match self.dropped {
            0 => String::new(),
            count => format!("; {count} messages were dropped"),
        };
        let text = format!("the program of [notify], {program}, {what}{dropped}");
        *self = Self { told: Some(now), ..Self::default() };
        node.notify_failed(text).await;
    }
}

impl Task for Notify {
    const NAME: &'static str = "notify";

    async fn tick(&mut self, node: &Arc<Node>, _now: Now) -> Result<()> {
        self.changed.mark_unchanged();
        let Some(hook) = node.hook() else { return self.forget(node).await };
        self.tell(node, &hook).await?;
        self.failures.report(node, &hook.program.display().to_string()).await;
        Ok(())
    }

    async fn rest(&mut self, _node: &Node) -> Result<()> {
        tokio::select! {
            news = self.changed.changed() => news.context("the ledger tells of no events any more")?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Ok(())
    }
}
