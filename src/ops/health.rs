//! What goes on without anybody asking, in numbers: each of the agent's loops with its turns, errors and new beginnings.

use super::{Caller, Node};
use crate::model::clock::{BootTime, Moment as _, Now};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One loop, for `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    pub name: String,
    /// How often it has looked.
    pub turns: u64,
    /// How many of those looks failed.
    pub failures: u64,
    /// Whether the last one did.
    pub failing: bool,
    /// How often it ended or panicked, and was begun anew.
    pub restarts: u64,
    /// How long it has been at its present look, where it is at one.
    pub busy_seconds: Option<u64>,
}

#[derive(Debug, Default)]
struct Count {
    turns: u64,
    failures: u64,
    failing: bool,
    restarts: u64,
    /// Since when it is at a look.
    at: Option<BootTime>,
}

/// All loops of an agent.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<BTreeMap<&'static str, Count>>);

/// What a look that ended changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    Same,
    Fails,
    Again,
}

impl Health {
    fn all(&self) -> MutexGuard<'_, BTreeMap<&'static str, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &'static str, now: BootTime) {
        self.all().entry(name).or_default().at = Some(now);
    }

    fn end(&self, name: &'static str, ok: bool) -> Turned {
        let mut all = self.all();
        let count = all.entry(name).or_default();
        let failed_before = std::mem::replace(&mut count.failing, !ok);
        count.at = None;
        count.turns += 1;
        count.failures += u64::from(!ok);
        match (failed_before, ok) {
            (false, false) => Turned::Fails,
            (true, true) => Turned::Again,
            _ => Turned::Same,
        }
    }

    fn restart(&self, name: &'static str) -> u64 {
        let mut all = self.all();
        let count = all.entry(name).or_default();
        count.at = None;
        count.restarts += 1;
        count.restarts
    }

    fn view(&self, now: BootTime) -> Vec<TaskView> {
        let view = |(name, count): (&&'static str, &Count)| TaskView {
            name: (*name).to_owned(),
            turns: count.turns,
            failures: count.failures,
            failing: count.failing,
            restarts: count.restarts,
            busy_seconds: count.at.map(|at| now.since(at).as_secs()),
        };
        self.all().iter().map(view).collect()
    }
}

impl Node {
    /// A loop begins a look.
    pub fn task_begins(&self, name: &'static str, now: Now) {
        self.health.begin(name, now.boot);
    }

    /// A look has ended. Of many errors one after the other the first is told.
    pub fn task_looked(&self, name: &'static str, looked: &Result<()>) {
        let turned = self.health.end(name, looked.is_ok());
        match (looked, turned) {
            (Err(error), Turned::Fails) => {
                let error = format!("{error:#}");
                tracing::warn!(task = name, error, "a look failed; it is tried again and again");
            }
            (Err(error), _) => {
                tracing::debug!(task = name, error = format!("{error:#}"), "a look failed again")
            }
            (Ok(()), Turned::Again) => tracing::info!(task = name, "looks succeed again"),
            (Ok(()), _) => {}
        }
    }

    /// A loop has ended, which none is meant to.
    pub async fn task_ended(&self, name: &'static str, why: String) {
        let restarts = self.health.restart(name);
        tracing::error!(task = name, why, restarts, "a part of the agent ended; it is begun anew");
        let text = format!("the agent's task {name} is begun anew: {why}");
        self.record_or_log(self.event("agent.task-ended", &Caller::agent().name, text)).await;
    }

    /// The agent's loops, in numbers.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.health.view(self.now().boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn looks_are_counted_and_the_first_error_of_many_is_told() {
        let (health, start) = (Health::default(), BootTime(Duration::from_secs(100)));
        let turn = |ok| {
            health.begin("ports", start);
            health.end("ports", ok)
        };
        let turned = [true, false, false, true, true].map(turn);
        assert_eq!(turned, [Turned::Same, Turned::Fails, Turned::Same, Turned::Again, Turned::Same]);
        health.begin("ports", start);
        let view = |busy_seconds: Option<u64>| TaskView {
            name: "ports".into(),
            turns: 5,
            failures: 2,
            failing: false,
            restarts: u64::from(busy_seconds.is_none()),
            busy_seconds,
        };
        assert_eq!(health.view(start + Duration::from_secs(7)), [view(Some(7))]);
        assert_eq!(health.restart("ports"), 1);
        assert_eq!(health.view(start), [view(None)]);
    }
}
