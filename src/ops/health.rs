//! The agent's loops in numbers: for each one its looks, its errors and its restarts.

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
    /// Whether the last look failed.
    pub failing: bool,
    /// How often it ended or panicked, and was restarted.
    pub restarts: u64,
    /// How long its present look has taken; `None` between looks.
    pub busy_seconds: Option<u64>,
}

#[derive(Debug, Default)]
struct Count {
    turns: u64,
    failures: u64,
    failing: bool,
    restarts: u64,
    /// When its present look began.
    at: Option<BootTime>,
}

/// All loops of an agent.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<BTreeMap<&'static str, Count>>);

/// How a look that ended compares with the one before.
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
    /// Notes that a loop begins a look.
    pub fn task_begins(&self, name: &'static str, now: Now) {
        self.health.begin(name, now.boot);
    }

    /// Notes that a look has ended. Of several errors in a row, only the first is reported.
    pub fn task_looked(&self, name: &'static str, looked: &Result<()>) {
        let turned = self.health.end(name, looked.is_ok());
        match (looked, turned) {
            (Err(error), Turned::Fails) => {
                let error = format!("{error:#}");
                tracing::warn!(task = name, error, "a look failed; it is tried again and again");
            }
            (Err(error), _) => {
                tracing::debug!(task = name, error = format!("{error:#}"), "a look failed again");
            }
            (Ok(()), Turned::Again) => tracing::info!(task = name, "looks succeed again"),
            (Ok(()), _) => {}
        }
    }

    /// Notes and reports that a loop has ended. No loop should.
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
