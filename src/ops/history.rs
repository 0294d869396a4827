//! The ledger's events: all of them for an administrator, their own for a user.

use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::Event;
use crate::model::places::Place;
use anyhow::Result;

/// The largest `last`. Older events are read by their id.
const MOST_LAST: u32 = 100_000;

/// Where an answer with events starts, and its place among the answers that may be open.
#[derive(Debug)]
pub struct LookBack {
    /// The answer has events with ids above this one.
    pub after: i64,
    _place: Option<Place<String>>,
}

impl Node {
    /// Starts after `after`, or so that the newest `last` events are included. An error when the caller has too
    /// many answers open.
    pub async fn look_back(&self, caller: &Caller, after: Option<i64>, last: u32) -> Result<LookBack> {
        self.ration(caller, Act::Events)?;
        let place = self.readers.enter(caller)?;
        let after = match after {
            Some(after) => after,
            None => self.before_last(caller, last).await?,
        };
        Ok(LookBack { after, _place: place })
    }

    async fn before_last(&self, caller: &Caller, last: u32) -> Result<i64> {
        if last > MOST_LAST {
            return Err(Fault::usage(format!(
                "the newest {last} events are too many: at most {MOST_LAST} are shown"
            ))
            .help("the API's `after` leads further back; with 0 it begins at the first")
            .into());
        }
        let owner = caller.sees_only().map(str::to_owned);
        self.ledger(move |ledger| ledger.events_before_last(last, owner.as_deref())).await
    }

    pub async fn events(&self, caller: &Caller, after: i64, limit: u32) -> Result<Vec<Event>> {
        let owner = caller.sees_only().map(str::to_owned);
        self.ledger(move |ledger| ledger.events(after, limit, owner.as_deref())).await
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
        let fault = flatten(&node.look_back(&alice, None, MOST_LAST + 1).await.unwrap_err());
        assert_eq!(fault.class, ErrorClass::Usage);
        assert!(node.look_back(&alice, None, MOST_LAST).await.is_ok());
        let mut refused = None;
        for _ in 0..1000 {
            refused = refused.or(node.look_back(&alice, Some(0), 1).await.err());
        }
        let fault = flatten(&refused.unwrap());
        assert_eq!(fault.class, ErrorClass::Busy);
        assert!(fault.message.starts_with("these are too many calls for events"), "{fault:?}");
        for _ in 0..1000 {
            assert!(node.look_back(&Caller::agent(), Some(0), 1).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_user_has_a_few_readers_and_others_their_own() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        let user = |name: &str| Caller { name: name.into(), admin: false, user: Some(name.into()) };
        let mut open = Vec::new();
        let fault = loop {
            match node.look_back(&user("alice"), None, 1).await {
                Ok(from) => open.push(from),
                Err(error) => break flatten(&error),
            }
        };
        assert_eq!((fault.class, open.len()), (ErrorClass::Busy, 8));
        assert_eq!(fault.message, "alice reads events 8 times already, as often as one may");
        assert!(node.look_back(&user("bob"), None, 1).await.is_ok());
        assert!(node.look_back(&Caller::agent(), None, 1).await.is_ok());
        open.pop();
        assert!(node.look_back(&user("alice"), None, 1).await.is_ok());
    }
}
