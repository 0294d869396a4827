//! The ledger's events: all of them for an administrator, their own for a user.

use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::{Event, EventFilter};
use crate::model::places::Place;
use anyhow::Result;

/// The largest `last`. Older events are read by their id.
const MOST_LAST: u32 = 100_000;

/// Where an answer with events starts, and its place among the answers that may be open.
#[derive(Debug)]
pub struct LookBack {
    /// The answer has events with ids above this one.
    pub after: i64,
    /// Of what the caller may see, what they asked for.
    filter: EventFilter,
    _place: Option<Place<String>>,
}

impl Node {
    /// Starts after `after`, or so that the newest `last` events are included. An error when the caller has too
    /// many answers open.
    pub async fn look_back(
        &self,
        caller: &Caller,
        after: Option<i64>,
        last: u32,
        filter: EventFilter,
    ) -> Result<LookBack> {
        self.ration(caller, Act::Events)?;
        let place = self.readers.enter(caller)?;
        let filter = seen_by(caller, filter)?;
        let after = match after {
            Some(after) => after,
            None => self.before_last(last, filter.clone()).await?,
        };
        Ok(LookBack { after, filter, _place: place })
    }

    async fn before_last(&self, last: u32, filter: EventFilter) -> Result<i64> {
        if last > MOST_LAST {
            return Err(Fault::usage(format!(
                "the newest {last} events are too many: at most {MOST_LAST} are shown"
            ))
            .help("the API's `after` leads further back; with 0 it begins at the first")
            .into());
        }
        self.ledger(move |ledger| ledger.events_before_last(last, &filter)).await
    }

    /// The next events of an answer.
    pub async fn events_of(&self, from: &LookBack, after: i64, limit: u32) -> Result<Vec<Event>> {
        let filter = from.filter.clone();
        self.ledger(move |ledger| ledger.events_by(after, limit, &filter)).await
    }

    /// The next events that the caller may see.
    pub async fn events(&self, caller: &Caller, after: i64, limit: u32) -> Result<Vec<Event>> {
        let filter = EventFilter::of_owner(caller.sees_only());
        self.ledger(move |ledger| ledger.events_by(after, limit, &filter)).await
    }
}

/// The filter, for whoever sees only their own events.
pub(super) fn seen_by(caller: &Caller, filter: EventFilter) -> Result<EventFilter, Fault> {
    match (caller.sees_only(), &filter.owner) {
        (Some(own), Some(other)) if own != other => {
            Err(Fault::refused(format!("the events about {other} are for {other} and administrators")))
        }
        (Some(own), _) => Ok(EventFilter { owner: Some(own.to_owned()), ..filter }),
        (None, _) => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorClass, flatten};
    use crate::host::clock::SystemClock;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_user_looks_back_so_often_and_so_far() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        let alice = Caller { name: "alice".into(), admin: false, user: Some("alice".into()) };
        let fault =
            flatten(&node.look_back(&alice, None, MOST_LAST + 1, EventFilter::default()).await.unwrap_err());
        assert_eq!(fault.class, ErrorClass::Usage);
        assert!(node.look_back(&alice, None, MOST_LAST, EventFilter::default()).await.is_ok());
        let mut refused = None;
        for _ in 0..1000 {
            refused = refused.or(node.look_back(&alice, Some(0), 1, EventFilter::default()).await.err());
        }
        let fault = flatten(&refused.unwrap());
        assert_eq!(fault.class, ErrorClass::Busy);
        assert!(fault.message.starts_with("these are too many calls for events"), "{fault:?}");
        for _ in 0..1000 {
            assert!(node.look_back(&Caller::agent(), Some(0), 1, EventFilter::default()).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_user_has_a_few_readers_and_others_their_own() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        let user = |name: &str| Caller { name: name.into(), admin: false, user: Some(name.into()) };
        let mut open = Vec::new();
        let fault = loop {
            match node.look_back(&user("alice"), None, 1, EventFilter::default()).await {
                Ok(from) => open.push(from),
                Err(error) => break flatten(&error),
            }
        };
        assert_eq!((fault.class, open.len()), (ErrorClass::Busy, 8));
        assert_eq!(fault.message, "alice reads events 8 times already, as often as one may");
        assert!(node.look_back(&user("bob"), None, 1, EventFilter::default()).await.is_ok());
        assert!(node.look_back(&Caller::agent(), None, 1, EventFilter::default()).await.is_ok());
        open.pop();
        assert!(node.look_back(&user("alice"), None, 1, EventFilter::default()).await.is_ok());
    }
}
