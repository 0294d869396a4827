//! The gateway's events for the ledger: each login, refusal, jump and refused forward, with user, key and address.
//!
//! The ledger keeps them for ever, so each user has a limit here, beyond which events are only counted. For clients
//! that have not logged in, the reporter has already done so.

use crate::model::inside_event::{InsideEvent, What};
use crate::model::rate::Rate;
use crate::ops::Node;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// One user causes as many at once,
const BURST: u32 = 200;
/// and then one in this time.
const REFILL: Duration = Duration::from_secs(10);
/// Users whose number of events is remembered; more than any node has.
const USERS: usize = 10_000;

#[derive(Default)]
pub(super) struct Budget(HashMap<String, Spent>);

struct Spent {
    rate: Rate,
    untold: u64,
}

impl Budget {
    /// `None`: this one is only counted. Else how many were, since the last.
    fn admit(&mut self, user: &str, now: Instant) -> Option<u64> {
        if self.0.len() >= USERS {
            self.0.clear();
        }
        let spent = self
            .0
            .entry(user.to_owned())
            .or_insert_with(|| Spent { rate: Rate::new(BURST, REFILL, now), untold: 0 });
        if spent.rate.take(now) {
            return Some(std::mem::take(&mut spent.untold));
        }
        spent.untold += 1;
        None
    }

    /// Writes one event down; blocks on the disk.
    pub(super) fn record(&mut self, node: &Node, event: &InsideEvent) {
        let is_stranger = event.what.is_strangers();
        let user = event.user.as_deref().unwrap_or_default();
        let Some(untold) = (if is_stranger { Some(0) } else { self.admit(user, Instant::now()) }) else {
            return;
        };
        let told = InsideEvent { more: event.more.saturating_add(untold), ..event.clone() };
        let actor = if is_stranger { "agent" } else { user };
        let berth = match &event.what {
            What::Forward { target, .. } => target.split(':').next(),
            _ => None,
        };
        node.record_gateway(kind(&event.what), actor, event.user.as_deref(), berth, told.to_string());
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Login => "gateway.login",
        What::LoginRefused { .. } => "gateway.refused",
        What::Disconnect { .. } => "gateway.end",
        What::Forward { .. } => "gateway.jump",
        What::ForwardRefused { .. } => "gateway.forward-refused",
        What::Limit { .. } => "gateway.limit",
        What::NoAlgorithm { .. } => "gateway.no-algorithm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_end_is_counted_and_others_are_told() {
        let mut budget = Budget::default();
        let start = Instant::now();
        assert_eq!((0..1000).filter(|_| budget.admit("a", start).is_some()).count(), 200);
        assert_eq!(budget.admit("b", start), Some(0));
        assert_eq!(budget.admit("a", start + REFILL), Some(800));
    }
}
