//! Input on its way from the client to a program or a socket, and how the client is slowed down when that is slow.
//!
//! russh opens a channel's window again as soon as data comes in, read or not, and gives no way to open it later.
//! Not reading from the connection is no brake either: the client's own window updates and signals come on it, and
//! a program that waits for those (`cat` both ways) would wait for ever. What russh has is a hook for the *size*
//! that windows are opened to next, one for all channels of a connection. So when a queue is long, that size becomes
//! [`TRICKLE`]: the client uses up its window and then sends two bytes a round trip, which keeps asking the hook until
//! the program has caught up. While the connection's queues are short together, a channel that is up to date still
//! gives the others a window; some of it goes to the slow one, until [`PLENTY`] waits.
//! A client that ignores its windows is disconnected: what waits in one connection, and in all, has a limit.

use bytes::{Bytes, BytesMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What a client may send before it must wait for us.
pub(super) const WINDOW: u32 = 2 << 20;
/// The smallest window size that russh opens again (below half of it, which is at zero).
const TRICKLE: u32 = 2;
/// From here on a queue is long, and its channel slowed down.
const LONG: usize = 1 << 20;
/// From here on all channels of a connection are slowed down.
const PLENTY: usize = 16 << 20;
/// What all connections of this process may have waiting together.
const ALL: usize = 512 << 20;
/// How often a slowed client may ask.
const PAUSE: Duration = Duration::from_millis(5);
const CHUNK: usize = 256 << 10;

static EVERYWHERE: AtomicUsize = AtomicUsize::new(0);

/// The client sent more than its windows allow, or there is no room at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// All queues of one connection.
#[derive(Debug, Default, Clone)]
pub(super) struct Inputs {
    queues: Arc<Mutex<Vec<Weak<InputQueue>>>>,
    waiting: Arc<Waiting>,
}

/// Bytes that wait in one connection.
#[derive(Debug, Default)]
struct Waiting(AtomicUsize);

impl Waiting {
    fn add(&self, count: usize) -> usize {
        EVERYWHERE.fetch_add(count, Ordering::Relaxed);
        self.0.fetch_add(count, Ordering::Relaxed) + count
    }
    fn remove(&self, count: usize) {
        EVERYWHERE.fetch_sub(count, Ordering::Relaxed);
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Inputs {
    pub(super) fn add(&self) -> Arc<InputQueue> {
        let queue = Arc::new(InputQueue::new(Arc::clone(&self.waiting)));
        let mut queues = self.queues();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        queue
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Weak<InputQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size to open windows to, after one was opened for a channel with this queue.
    pub(super) fn next_window(&self, of: Option<&InputQueue>) -> u32 {
        let is_behind = match of {
            Some(queue) => queue.is_long(),
            // One that we opened: it has a queue, but nobody knows here which.
            None => self.queues().iter().filter_map(Weak::upgrade).any(|queue| queue.is_long()),
        };
        let is_plenty = self.waiting.0.load(Ordering::Relaxed) >= PLENTY;
        if is_behind || is_plenty { TRICKLE } else { WINDOW }
    }
}

#[derive(Debug)]
pub(super) struct InputQueue {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
    connection: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BytesMut,
    ended: bool,
    /// Nobody reads it any more.
    refused: bool,
}

impl InputQueue {
    fn new(connection: Arc<Waiting>) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), drained: Notify::new(), connection }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_long(&self) -> bool {
        self.state().waiting.len() >= LONG
    }

    /// Adds data, and waits a moment if that is what slows the client down.
    pub(super) async fn push(&self, data: &[u8]) -> Result<(), TooMuch> {
        let waiting = {
            let mut state = self.state();
            if state.refused || state.ended {
                return Ok(());
            }
            let in_connection = self.connection.add(data.len());
            // Who keeps to the windows has no more than this in one queue, however they were opened.
            let most = PLENTY + 2 * WINDOW as usize;
            let is_too_much = state.waiting.len() + data.len() > most
                || EVERYWHERE.load(Ordering::Relaxed) > ALL && in_connection > WINDOW as usize;
            if is_too_much {
                self.connection.remove(data.len());
                return Err(TooMuch);
            }
            state.waiting.extend_from_slice(data);
            state.waiting.len()
        };
        self.filled.notify_one();
        if waiting >= LONG && data.len() <= TRICKLE as usize {
            // Either way it is time to look again.
            let _ = tokio::time::timeout(PAUSE, self.drained.notified()).await;
        }
        Ok(())
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
                    if state.waiting.is_empty() {
                        // An idle channel keeps no buffer.
                        state.waiting = BytesMut::new();
                    }
                    drop(state);
                    self.connection.remove(count);
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
        let dropped = std::mem::take(&mut state.waiting).len();
        drop(state);
        self.connection.remove(dropped);
        self.drained.notify_one();
    }
}

impl Drop for InputQueue {
    fn drop(&mut self) {
        let left = self.state().waiting.len();
        self.connection.remove(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_out_in_order_and_then_the_end() {
        let queue = Inputs::default().add();
        queue.push(&vec![1; CHUNK + 1]).await.unwrap();
        queue.push(b"xy").await.unwrap();
        queue.end();
        queue.push(b"late").await.unwrap();
        assert_eq!(queue.take().await.unwrap().len(), CHUNK);
        assert_eq!(queue.take().await.unwrap(), Bytes::from_static(b"\x01xy"));
        assert_eq!(queue.take().await, None);
    }

    #[tokio::test]
    async fn a_long_queue_shrinks_its_window_until_it_is_read() {
        let inputs = Inputs::default();
        let (queue, other) = (inputs.add(), inputs.add());
        queue.push(&vec![0; LONG]).await.unwrap();
        assert_eq!(inputs.next_window(Some(&queue)), TRICKLE);
        assert_eq!(inputs.next_window(None), TRICKLE);
        assert_eq!(inputs.next_window(Some(&other)), WINDOW);
        queue.take().await;
        assert_eq!(inputs.next_window(Some(&queue)), WINDOW);
    }

    #[tokio::test]
    async fn with_plenty_waiting_every_window_shrinks() {
        let inputs = Inputs::default();
        let (queue, other) = (inputs.add(), inputs.add());
        queue.push(&vec![0; PLENTY]).await.unwrap();
        assert_eq!(inputs.next_window(Some(&other)), TRICKLE);
        queue.refuse();
        queue.push(&vec![0; PLENTY]).await.unwrap();
        assert_eq!(inputs.next_window(Some(&other)), WINDOW);
        assert_eq!(inputs.waiting.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_client_that_ignores_its_window_is_found_out() {
        let inputs = Inputs::default();
        let queue = inputs.add();
        queue.push(&vec![0; PLENTY + 2 * WINDOW as usize]).await.unwrap();
        assert_eq!(queue.push(b"x").await, Err(TooMuch));
        drop(queue);
        assert_eq!(inputs.waiting.0.load(Ordering::Relaxed), 0);
    }
}
