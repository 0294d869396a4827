//! Ends the connections of a removed key at once. The ledger says when a key is removed.

use crate::ops::{Caller, Node};
use crate::ssh::connection::live::Live;
use std::collections::HashSet;
use std::time::Duration;

const BATCH: u32 = 1000;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Follows the ledger for ever.
pub(super) async fn watch(node: &Node, live: &Live) {
    let mut changed = node.subscribe_events();
    let mut after = *changed.borrow_and_update();
    while changed.changed().await.is_ok() {
        while let Err(error) = look(node, live, &mut after).await {
            tracing::error!("a removed key may still be connected: {error:#}");
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

/// Looks at what is new; where a key or a user went, only those that are still there stay.
async fn look(node: &Node, live: &Live, after: &mut i64) -> anyhow::Result<()> {
    loop {
        let events = node.events(&Caller::agent(), *after, BATCH).await?;
        let Some(last) = events.last().map(|event| event.id) else { return Ok(()) };
        if events.iter().any(|event| event.kind == "key.removed" || event.kind == "user.removed") {
            let users = node.users(&Caller::agent()).await?;
            let valid: HashSet<(&str, &str)> = users
                .iter()
                .flat_map(|user| user.keys.iter().map(|key| (user.name.as_str(), key.fingerprint.as_str())))
                .collect();
            live.end_invalid(|user, key| valid.contains(&(user, key)));
        }
        *after = last;
    }
}
