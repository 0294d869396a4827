//! What happened: the ledger's events, everyone's for an administrator, one's own for a user.

use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::Event;
use anyhow::Result;

/// How far back `last` leads: events of so long ago are found by their id.
const MOST_LAST: u32 = 100_000;

impl Node {
    /// The id after which an answer starts: `after`, or so that the newest `last` events are in it.
    pub async fn events_start(&self, caller: &Caller, after: Option<i64>, last: u32) -> Result<i64> {
        self.ration(caller, Act::Events)?;
        if let Some(after) = after {
            return Ok(after);
        }
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
        let fault = flatten(&node.events_start(&alice, None, MOST_LAST + 1).await.unwrap_err());
        assert_eq!(fault.class, ErrorClass::Usage);
        assert!(node.events_start(&alice, None, MOST_LAST).await.is_ok());
        let mut refused = None;
        for _ in 0..1000 {
            refused = refused.or(node.events_start(&alice, Some(0), 1).await.err());
        }
        let fault = flatten(&refused.unwrap());
        assert_eq!(fault.class, ErrorClass::Busy);
        assert!(fault.message.starts_with("these are too many calls for events"), "{fault:?}");
        for _ in 0..1000 {
            assert!(node.events_start(&Caller::agent(), Some(0), 1).await.is_ok());
        }
    }
}
