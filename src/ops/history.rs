//! What happened: the ledger's events, everyone's for an administrator, one's own for a user.

use super::{Caller, Node};
use crate::ledger::Event;
use anyhow::Result;

impl Node {
    /// The id after which an answer starts: `after`, or so that the newest `last` events are in it.
    pub async fn events_start(&self, caller: &Caller, after: Option<i64>, last: u32) -> Result<i64> {
        if let Some(after) = after {
            return Ok(after);
        }
        let owner = caller.sees_only().map(str::to_owned);
        self.ledger(move |ledger| ledger.events_before_last(last, owner.as_deref())).await
    }

    pub async fn events(&self, caller: &Caller, after: i64, limit: u32) -> Result<Vec<Event>> {
        let owner = caller.sees_only().map(str::to_owned);
        self.ledger(move |ledger| ledger.events(after, limit, owner.as_deref())).await
    }
}
