//! The stream of events: those in the ledger first, then each new one. And a berth's log, the same way.

use super::answer::encode;
use super::types::ErrorBody;
use crate::error::flatten;
use crate::ops::Node;
use crate::ops::berth_logs::BerthLog;
use crate::ops::history::LookBack;
use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How many events are read from the ledger at a time.
const BATCH: u32 = 1000;

/// Both ends of the stream. It holds one batch, so that a client that does not read costs no more memory than that.
pub(super) fn queue() -> (Sender<Bytes>, Receiver<Bytes>) {
    channel(1)
}

/// Sends the events. It ends when the reader has gone, or when all were sent and the reader does not follow. After
/// an error, the last
/// line is that error.
pub(super) async fn send_events(node: Arc<Node>, from: LookBack, follow: bool, lines: Sender<Bytes>) {
    let mut changed = node.subscribe_events();
    let mut after = from.after;
    loop {
        // Before the look: the next batch is read when the last one was taken.
        let free = tokio::select! {
            free = lines.reserve() => free,
            () = node.stopping() => return,
        };
        let Ok(free) = free else { return };
        // What is added during the look is looked for again.
        changed.mark_unchanged();
        let batch = match node.events_of(&from, after, BATCH).await {
            Ok(batch) => batch,
            Err(error) => return free.send(encode(&ErrorBody { error: flatten(&error) })),
        };
        if let Some(last) = batch.last() {
            after = last.id;
            let mut text = Vec::new();
            for event in &batch {
                text.extend_from_slice(&encode(event));
            }
            free.send(text.into());
            continue;
        }
        drop(free);
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

/// Sends a berth's log; with `follow`, also what comes, until the berth has ended or the reader has gone. The place among
/// the readers is kept until then.
pub(super) async fn send_log(node: Arc<Node>, log: BerthLog, follow: bool, lines: Sender<Bytes>) {
    let BerthLog { lines: entries, place: _place, mut tail } = log;
    for entry in &entries {
        if lines.send(encode(entry)).await.is_err() {
            return;
        }
    }
    if !follow {
        return;
    }
    loop {
        // Before the look: nothing is read ahead of the reader.
        let free = tokio::select! {
            free = lines.reserve() => free,
            () = node.stopping() => return,
        };
        let Ok(free) = free else { return };
        let next = tokio::select! {
            next = tail.next(&node) => next,
            () = lines.closed() => return,
            () = node.stopping() => return,
        };
        match next {
            Ok(Some(entries)) => free.send(entries.iter().map(encode).collect::<Vec<_>>().concat().into()),
            Ok(None) => return,
            Err(error) => return free.send(encode(&ErrorBody { error: flatten(&error) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::SystemClock;
    use crate::ledger::EventFilter;
    use crate::ops::Caller;
    use std::task::Poll;

    /// Whoever reads nothing costs one batch, whatever the ledger has.
    #[tokio::test]
    async fn a_reader_who_stalls_holds_one_batch_and_later_misses_nothing() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        let text = "字".repeat(2000);
        for _ in 0..200 {
            node.tell("x", &text).await;
        }
        let from = node.look_back(&Caller::agent(), Some(0), 0, EventFilter::default()).await.unwrap();
        let (lines, mut body) = queue();
        let work = tokio::spawn(send_events(node.clone(), from, false, lines));
        let (mut seen, mut batches) = (Vec::new(), 0);
        while let Some(batch) = body.recv().await {
            assert!(batch.len() < 128 << 10, "{}", batch.len());
            batches += 1;
            for line in batch.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                seen.push(serde_json::from_slice::<crate::ledger::Event>(line).unwrap().id);
            }
        }
        assert_eq!(seen, (1..=200).collect::<Vec<_>>());
        assert!(batches >= 15, "{batches}");
        work.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_read_ahead_of_the_reader() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        node.tell("x", "first").await;
        let from = node.look_back(&Caller::agent(), Some(0), 0, EventFilter::default()).await.unwrap();
        let (lines, mut body) = queue();
        let full = lines.clone();
        full.send(Bytes::from_static(b"not taken yet")).await.unwrap();
        drop(full);
        let mut work = std::pin::pin!(send_events(node.clone(), from, false, lines));
        // It waits for its reader, so that what comes now is in the first batch.
        let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
        assert!(polled.await.is_pending());
        node.tell("x", "second").await;
        let read = async {
            body.recv().await.unwrap();
            body.recv().await.unwrap()
        };
        let ((), batch) = tokio::join!(work, read);
        assert_eq!(String::from_utf8_lossy(&batch).lines().count(), 2);
    }
}
