//! What somebody hears who comes to a berth of their own that is not live.

use super::Node;
use super::queue::wish;
use crate::error::Fault;
use crate::ledger::{Ledger, TicketRow};
use crate::model::notice::Clock;
use crate::model::{Berth, BerthState, StopReason};
use anyhow::Result;

impl Node {
    /// Why this berth does not answer, and what to do: one sentence for its owner, and for nobody else.
    pub async fn why_not_live(&self, berth: &Berth) -> Result<Fault> {
        let tickets = self.ledger(Ledger::tickets).await?;
        Ok(Fault::refused(about(berth, waits(&tickets, &berth.owner, &berth.name), self.wall_clock())))
    }

    /// As [`Node::why_not_live`], for the berth as it is now.
    pub async fn why_gone(&self, id: i64) -> Result<Fault> {
        let berth = self.ledger_berth(id).await?;
        self.why_not_live(&berth).await
    }

    /// As [`Node::why_not_live`], for a name that only a request has that waits.
    pub(super) async fn why_not_there(&self, owner: &str, name: &str) -> Result<Option<Fault>> {
        let tickets = self.ledger(Ledger::tickets).await?;
        let text = |ticket: &TicketRow| {
            let wish = wish(&ticket.wish);
            format!("{owner}/{name} waits for {wish} and is not there yet; see its place: berth queue")
        };
        Ok(waits(&tickets, owner, name).map(|ticket| Fault::refused(text(ticket))))
    }
}

fn waits<'a>(tickets: &'a [TicketRow], owner: &str, name: &str) -> Option<&'a TicketRow> {
    tickets.iter().find(|ticket| ticket.owner == owner && ticket.berth.as_deref() == Some(name))
}

fn about(berth: &Berth, ticket: Option<&TicketRow>, clock: Clock) -> String {
    let label = berth.label();
    if berth.state != BerthState::Stopped {
        return format!("{label} is {}; try again in a moment", berth.state);
    }
    let stopped = match &berth.stop {
        Some(stop) => format!(
            "{label} was stopped at {}{}",
            clock.time_and_distance(stop.at),
            because(stop.reason).map(|why| format!(": {why}")).unwrap_or_default()
        ),
        None => format!("{label} is stopped"),
    };
    match ticket {
        Some(ticket) => format!("{stopped}; it waits for {}, see its place: berth queue", wish(&ticket.wish)),
        None => match berth.stop.as_ref().and_then(|stop| stop.release_at) {
            Some(at) => format!(
                "{stopped}; it is released at {}, because the disk is full: berth start {name} or berth keep {name} prevents that",
                clock.time_and_distance(at),
                name = berth.name
            ),
            None => format!("{stopped}; its container is kept, start it: berth start {}", berth.name),
        },
    }
}

/// `None` where its owner knows.
fn because(reason: StopReason) -> Option<&'static str> {
    match reason {
        StopReason::Asked => None,
        StopReason::Lease => Some("its lease was over, and somebody waited for cards"),
        StopReason::Idle => Some("it did nothing, and somebody waited for cards"),
        StopReason::Unattended => Some("its lease was over"),
        StopReason::Unused => Some("nobody logged in to it in time"),
        StopReason::Failed => Some("it could not be started"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CardWish, Stop};
    use jiff::Timestamp;

    fn berth(state: BerthState, stop: Option<Stop>) -> Berth {
        let berth = serde_json::json!({
            "id": 1, "owner": "alice", "name": "dev", "state": state, "cards": [], "port": 20000, "ssh_user": "u",
            "image": "i", "image_id": "x", "container_id": null, "memory": null, "cpus": null, "host_key": null,
            "created_at": "2026-01-02T00:00:00Z", "until": null, "stop": stop, "ended_at": null, "note": null,
        });
        serde_json::from_value(berth).unwrap()
    }

    #[test]
    fn a_stopped_berth_says_since_when_why_and_what_to_do() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let clock = Clock { now: at("2026-01-02T09:20:00Z"), utc_offset: 0 };
        let stop = |reason| {
            Some(Stop {
                reason,
                at: at("2026-01-02T07:20:00Z"),
                kept_until: None,
                release_at: None,
                kept: false,
            })
        };
        assert_eq!(
            about(&berth(BerthState::Stopped, stop(StopReason::Lease)), None, clock),
            "alice/dev was stopped at 07:20 (2 h ago): its lease was over, and somebody waited for cards; its container is kept, \
             start it: berth start dev"
        );
        let soon =
            stop(StopReason::Asked).map(|stop| Stop { release_at: Some(at("2026-01-02T19:20:00Z")), ..stop });
        assert_eq!(
            about(&berth(BerthState::Stopped, soon), None, clock),
            "alice/dev was stopped at 07:20 (2 h ago); it is released at 19:20 (in 10 h), because the disk is full: berth start dev \
             or berth keep dev prevents that"
        );
        let ticket = TicketRow {
            id: 3,
            owner: "alice".into(),
            berth: Some("dev".into()),
            wish: CardWish::Count(2),
            lease: 60,
            since: at("2026-01-02T07:20:00Z"),
            overtaken: 0,
            detached: false,
            unattended: false,
        };
        let tickets = [ticket];
        let waits = waits(&tickets, "alice", "dev");
        assert_eq!(
            about(&berth(BerthState::Stopped, stop(StopReason::Asked)), waits, clock),
            "alice/dev was stopped at 07:20 (2 h ago); it waits for 2 cards, see its place: berth queue"
        );
        assert_eq!(
            about(&berth(BerthState::Starting, None), None, clock),
            "alice/dev is starting; try again in a moment"
        );
        assert!(
            super::waits(&tickets, "bob", "dev").is_none() && super::waits(&tickets, "alice", "d").is_none()
        );
    }
}
