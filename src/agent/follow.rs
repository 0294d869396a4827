//! The stream of events: what there is, and then what comes.

use super::answer::encode;
use super::types::ErrorBody;
use crate::error::flatten;
use crate::ops::{Caller, Node};
use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Events that one look at the ledger brings.
pub(super) const BATCH: u32 = 1000;

/// Ends when the reader goes away, when there is no more and nobody wants to follow, or with an error as its last
/// line.
pub(super) async fn send_events(
    node: Arc<Node>,
    caller: Caller,
    mut after: i64,
    follow: bool,
    lines: Sender<Bytes>,
) {
    let mut changed = node.subscribe_events();
    loop {
        // Before the look: what is added during it is looked for again.
        changed.mark_unchanged();
        let batch = match node.events(&caller, after, BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                let _ = lines.send(encode(&ErrorBody { error: flatten(&error) })).await;
                return;
            }
        };
        for event in &batch {
            if lines.send(encode(event)).await.is_err() {
                return;
            }
        }
        if let Some(last) = batch.last() {
            after = last.id;
            continue;
        }
        if !follow {
            return;
        }
        tokio::select! {
            news = changed.changed() => if news.is_err() { return },
            () = lines.closed() => return,
            () = node.stopping() => return,
        }
    }
}
