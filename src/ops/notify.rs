//! What the hook program of `[notify]` is told: which events, and in which words.

use super::{Caller, Node};
use crate::ledger::{Event, Ledger};
use crate::model::{Berth, ConditionCode};
use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// How many events are read at a time.
const BATCH: u32 = 1000;

/// One event for the hook program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The event's id.
    pub id: i64,
    /// One JSON object.
    pub json: Vec<u8>,
}

/// The program that is told, and who it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub program: PathBuf,
    pub uid: u32,
}

/// What the program reads.
#[derive(Serialize)]
struct Told<'a> {
    schema: u32,
    node: &'a str,
    event: i64,
    at: Timestamp,
    kind: &'a str,
    owner: Option<&'a str>,
    berth: Option<&'a str>,
    text: &'a str,
    /// Of the berth as it is now.
    until: Option<Timestamp>,
    stops_at: Option<Timestamp>,
    release_at: Option<Timestamp>,
}

impl Node {
    /// The program of `[notify]`; `None` where there is none.
    pub fn hook(&self) -> Option<Hook> {
        let config = &self.settings().config;
        let program = config.notify.command.clone();
        (!program.as_os_str().is_empty()).then_some(Hook { program, uid: config.ssh.gateway_uid })
    }

    /// What is to be told of the events after this one, and the event up to which that goes. The same id comes back
    /// when there are no more.
    pub async fn news(&self, after: i64) -> Result<(Vec<News>, i64)> {
        let host = self.ssh_host();
        self.ledger(move |ledger| {
            let events = ledger.events(after, BATCH, None)?;
            let last = events.last().map_or(after, |event| event.id);
            let told = events.iter().filter(|event| is_for_owners(event));
            let news: Result<Vec<News>, _> = told.map(|event| news_of(ledger, &host, event)).collect();
            Ok((news?, last))
        })
        .await
    }

    /// Up to which event the program was told.
    pub async fn notified(&self) -> Result<Option<i64>> {
        self.ledger(Ledger::notified).await
    }

    /// Notes up to which event the program was told; `None` where there is no program.
    pub async fn note_notified(&self, event: Option<i64>) -> Result<()> {
        self.ledger(move |ledger| ledger.note_notified(event)).await
    }

    /// Records that the program failed, or that messages were dropped.
    pub async fn notify_failed(&self, text: String) {
        tracing::warn!("{text}");
        self.record_or_log(self.event("agent.notify-failed", &Caller::agent().name, text)).await;
    }
}

/// Whether this tells the owner of a berth something that they did not do themselves.
fn is_for_owners(event: &Event) -> bool {
    let is_condition = || ConditionCode::ALL.iter().any(|code| code.event() == event.kind);
    event.owner.is_some()
        && match event.kind.as_str() {
            "berth.lease-ending"
            | "berth.asked-back"
            | "berth.not-asked-back"
            | "berth.release-soon"
            | "berth.release-withdrawn"
            | "berth.recovered"
            | "berth.came"
            | "ticket.failed" => true,
            "berth.stopped" | "berth.released" | "berth.back" => event.actor == Caller::agent().name,
            _ => is_condition(),
        }
}

fn news_of(ledger: &Ledger, node: &str, event: &Event) -> Result<News, crate::error::Fault> {
    let berth: Option<Berth> = match (&event.owner, &event.berth) {
        (Some(owner), Some(name)) => ledger.standing_berth(owner, name)?,
        _ => None,
    };
    let told = Told {
        schema: 1,
        node,
        event: event.id,
        at: event.at,
        kind: &event.kind,
        owner: event.owner.as_deref(),
        berth: event.berth.as_deref(),
        text: &event.text,
        until: berth.as_ref().and_then(|berth| berth.until),
        stops_at: berth.as_ref().and_then(|berth| berth.stops_at),
        release_at: berth.as_ref().and_then(|berth| berth.stop.as_ref()?.release_at),
    };
    let json = serde_json::to_vec(&told)
        .map_err(|error| crate::error::Fault::bug(format!("writing what a hook is told: {error}")))?;
    Ok(News { id: event.id, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_what_others_do_to_their_berths() {
        let is_told = |kind: &str, actor: &str| {
            let owner = Some("alice".to_owned());
            let (kind, actor) = (kind.to_owned(), actor.to_owned());
            let event = Event {
                id: 1,
                at: Timestamp::UNIX_EPOCH,
                kind,
                actor,
                owner,
                berth: Some("dev".into()),
                text: String::new(),
            };
            is_for_owners(&event)
        };
        for kind in [
            "berth.lease-ending",
            "berth.asked-back",
            "berth.not-asked-back",
            "berth.release-soon",
            "berth.release-withdrawn",
            "berth.card-alarm",
            "berth.dead",
        ] {
            assert!(is_told(kind, "agent"), "{kind}");
        }
        assert!(is_told("berth.stopped", "agent") && is_told("berth.released", "agent"));
        for (kind, actor) in [
            ("berth.stopped", "alice"),
            ("berth.released", "root"),
            ("berth.live", "agent"),
            ("ssh.login", "berth:dev"),
            ("agent.notify-failed", "agent"),
        ] {
            assert!(!is_told(kind, actor), "{kind} by {actor}");
        }
    }
}
