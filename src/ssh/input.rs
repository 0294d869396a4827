//! Input on its way from the client to a program, and how the client is slowed down when the program is slow.
//!
//! russh opens a channel's window again as soon as data comes in, read or not, and gives no way to open it later.
//! Not reading from the connection is no brake either: the client's own window updates and signals come on it, and
//! a program that waits for those (`cat` both ways) would wait for ever. What russh has is a hook for the *size*
//! that the window is opened to. So when a queue is long, that size becomes [`TRICKLE`]: the client uses up its
//! window and then sends two bytes a round trip, which keeps asking the hook until the program has caught up.
//! One window size serves a whole connection, so other channels' input may be slow too in that time.

use bytes::{Bytes, BytesMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a client may send before it must wait for us.
pub(super) const WINDOW: u32 = 2 << 20;
/// The smallest window size that russh opens again (below half of it, which is at zero).
const TRICKLE: u32 = 2;
/// From here on the client is slowed down.
const LONG: usize = 1 << 20;
/// No client that keeps to its window gets here soon; one that does not has to wait, with its whole connection.
const FULL: usize = 16 << 20;
/// How often a slowed client may ask.
const PAUSE: Duration = Duration::from_millis(5);
const CHUNK: usize = 64 << 10;

/// The size to open windows to.
pub(super) fn next_window(some_queue_is_long: bool) -> u32 {
    if some_queue_is_long { TRICKLE } else { WINDOW }
}

#[derive(Debug, Default)]
pub(super) struct InputQueue {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BytesMut,
    ended: bool,
    /// The program reads no more.
    refused: bool,
}

impl InputQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_long(&self) -> bool {
        self.state().waiting.len() >= LONG
    }

    /// Adds data, and waits a little if that is what slows the client down.
    pub(super) async fn push(&self, data: &Bytes) {
        let waiting = {
            let mut state = self.state();
            if state.refused || state.ended {
                return;
            }
            state.waiting.extend_from_slice(data);
            state.waiting.len()
        };
        self.filled.notify_one();
        if waiting >= FULL {
            while self.state().waiting.len() >= FULL {
                self.drained.notified().await;
            }
        } else if waiting >= LONG && data.len() <= TRICKLE as usize {
            // Either way it is time to look again.
            let _ = tokio::time::timeout(PAUSE, self.drained.notified()).await;
        }
    }

    pub(super) fn end(&self) {
        self.state().ended = true;
        self.filled.notify_one();
    }

    /// What waits, in bounded pieces; `None` when the client has sent everything.
    pub(super) async fn take(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
                let count = state.waiting.len().min(CHUNK);
                if count > 0 {
                    let data = state.waiting.split_to(count).freeze();
                    drop(state);
                    self.drained.notify_one();
                    return Some(data);
                }
                if state.ended {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Drops what waits and what will come, as a pipe without a reader does.
    pub(super) fn refuse(&self) {
        let mut state = self.state();
        state.refused = true;
        state.waiting = BytesMut::new();
        drop(state);
        self.drained.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_out_in_order_and_then_the_end() {
        let queue = InputQueue::default();
        queue.push(&Bytes::from(vec![1; CHUNK + 1])).await;
        queue.push(&Bytes::from_static(b"xy")).await;
        queue.end();
        queue.push(&Bytes::from_static(b"late")).await;
        assert_eq!(queue.take().await.unwrap().len(), CHUNK);
        assert_eq!(queue.take().await.unwrap(), Bytes::from_static(b"\x01xy"));
        assert_eq!(queue.take().await, None);
    }

    #[tokio::test]
    async fn a_long_queue_shrinks_the_window_until_it_is_read() {
        let queue = InputQueue::default();
        queue.push(&Bytes::from(vec![0; LONG])).await;
        assert_eq!(next_window(queue.is_long()), TRICKLE);
        queue.take().await;
        assert_eq!(next_window(queue.is_long()), WINDOW);
    }

    #[tokio::test]
    async fn a_client_that_ignores_its_window_waits_for_the_reader() {
        let queue = std::sync::Arc::new(InputQueue::default());
        let writer = std::sync::Arc::clone(&queue);
        let pushed = tokio::spawn(async move { writer.push(&Bytes::from(vec![0; FULL])).await });
        tokio::task::yield_now().await;
        assert!(!pushed.is_finished());
        queue.take().await;
        pushed.await.unwrap();
        queue.refuse();
        queue.push(&Bytes::from(vec![0; FULL])).await;
        assert!(!queue.is_long());
    }
}
