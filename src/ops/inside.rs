//! Reads the events that SSH servers inside berths print, and records them in the ledger. They are marked as the
//! berth's own statement, because root in a berth can print such lines too. So their length and number are limited,
//! and their time is the engine's.
//!
//! The ledger remembers how far the output was read: reading goes on after the line of the berth's newest event.
//! The order of lines decides; times only tell one line from another.

use super::{Node, supervise};
use crate::engine::Engine;
use crate::error::flatten;
use crate::ledger::NewEvent;
use crate::model::inside_event::InsideEvent;
use crate::model::inside_traffic::InsideTraffic;
use crate::model::rate::Rate;
use crate::model::{Berth, BerthState};
use anyhow::Result;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How many events of one berth are recorded at once,
const BURST: u32 = 60;
/// and then one in this time. Others are only counted.
const REFILL: Duration = Duration::from_secs(6);
/// How many lines of one berth are read in a second, so that a berth that prints without end costs little.
const LINES: u32 = 2000;

/// The kind of the event of a login.
const LOGIN: &str = "ssh.login";

/// The berths whose output is read, each by a task. Dropping this ends the tasks.
#[derive(Default)]
pub struct Followed(HashMap<i64, JoinHandle<()>>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

impl Node {
    /// Starts to read the output of each live berth whose output is not read yet.
    pub async fn follow_new(self: &Arc<Self>, followed: &mut Followed) -> Result<()> {
        followed.0.retain(|_, task| !task.is_finished());
        let held = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        for berth in held.into_iter().filter(|berth| berth.state == BerthState::Live) {
            let Some(container) = berth.container_id.clone().filter(|_| !followed.0.contains_key(&berth.id))
            else {
                continue;
            };
            let engine = self.engine().await?;
            if !engine.inspect(&container).await?.is_some_and(|state| state.running) {
                continue;
            }
            let (node, id) = (Arc::clone(self), berth.id);
            followed
                .0
                .insert(id, tokio::spawn(async move { node.follow(&engine, &berth, &container).await }));
        }
        Ok(())
    }

    /// Reads a berth's output until the container or the engine stops.
    async fn follow(&self, engine: &Engine, berth: &Berth, container: &str) {
        let label = berth.label();
        match supervise::caught(self.record_output(engine, berth, container)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let error = flatten(&error).message;
                tracing::warn!(
                    berth = label,
                    error,
                    "its logins are in its container's log, not in the events"
                );
            }
            Err(why) => self.task_ended("berth-output", format!("of {label}, {why}")).await,
        }
        // Not again and again, where the engine's logging driver cannot be read.
        tokio::time::sleep(Duration::from_mins(1)).await;
    }

    async fn record_output(&self, engine: &Engine, berth: &Berth, container: &str) -> Result<()> {
        let id = berth.id;
        // It may have been renamed since.
        let told = self.ledger(move |ledger| ledger.told_times(&ledger.berth_by_id(id)?)).await?;
        let known = engine.pieces_until(container, &told).await?;
        let mut lines = pin!(engine.follow_output(container, known));
        let mut budget = Rate::new(BURST, REFILL, self.now().boot);
        let mut untold = Untold::default();
        let mut second = (tokio::time::Instant::now(), 0);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = tokio::time::sleep(REFILL), if untold.count > 0 => {
                    if let Some(at) = untold.at.filter(|_| budget.take(self.now().boot)) {
                        self.record_inside(berth, "ssh.more", at, &untold.take()).await?;
                    }
                    continue;
                }
            };
            let Some(line) = line else { return Ok(()) };
            let line = line?;
            if let Some(event) = InsideEvent::read(&line.text) {
                if budget.take(self.now().boot) {
                    if let Some(at) = untold.at {
                        self.record_inside(berth, "ssh.more", at, &untold.take()).await?;
                    }
                    self.record_inside(berth, event.what.kind(), line.at, &event.to_string()).await?;
                } else {
                    untold.add(line.at, &event);
                }
            }
            if let Some(traffic) = InsideTraffic::read(&line.text) {
                self.note_traffic(berth.id, line.at, &traffic);
            }
            pace(&mut second).await;
        }
    }

    async fn record_inside(
        &self,
        berth: &Berth,
        kind: &'static str,
        at: Timestamp,
        text: &str,
    ) -> Result<()> {
        let id = berth.id;
        let berth = self.ledger_berth(id).await?;
        // No user's name has a colon: this is what the berth says.
        let (actor, text) = (format!("berth:{}", berth.name), format!("{}: {text}", berth.label()));
        let event = NewEvent { at, ..self.about(&berth, kind, &actor, text) };
        self.ledger(move |ledger| {
            ledger.record(&event)?;
            if kind == LOGIN { ledger.confirm(id) } else { Ok(()) }
        })
        .await
    }
}

async fn pace((start, lines): &mut (tokio::time::Instant, u32)) {
    *lines += 1;
    if *lines >= LINES {
        tokio::time::sleep_until(*start + Duration::from_secs(1)).await;
        (*start, *lines) = (tokio::time::Instant::now(), 0);
    }
}

/// Events that were only counted, and the engine's time of the newest.
#[derive(Debug, Default)]
struct Untold {
    count: u64,
    at: Option<Timestamp>,
}

impl Untold {
    fn add(&mut self, at: Timestamp, event: &InsideEvent) {
        self.count = self.count.saturating_add(event.more).saturating_add(1);
        self.at = Some(at);
    }

    fn take(&mut self) -> String {
        let count = std::mem::take(self).count;
        format!("{count} more events; they are in its container's log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_berth_that_tells_without_end_is_counted() {
        let mut untold = Untold::default();
        let line = r#"{"berth-event":1,"at":"2025-01-02T03:04:05Z","more":5,"kind":"login"}"#;
        let event = InsideEvent::read(line).unwrap();
        untold.add(event.at, &event);
        untold.add(event.at, &event);
        assert_eq!(untold.take(), "12 more events; they are in its container's log");
        assert!(untold.at.is_none() && untold.count == 0);
    }
}
