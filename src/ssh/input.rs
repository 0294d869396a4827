//! Input on its way from the client to a program or a socket, and how the client is slowed down when that is slow.
//!
//! russh opens a channel's window again as soon as data comes in, read or not, and gives no way to open it later.
//! Not reading from the connection is no brake either: the client's own window updates and signals come on it, and
//! a program that waits for those (`cat` both ways) would wait for ever. What russh has is a hook for the *size*
//! that windows are opened to next, one for all channels of a connection: [`super::windows`] says which. Here is what
//! waits, and who is behind.
//! A client that ignores its windows is disconnected: what waits in one connection, and in all, has a limit.

use super::windows::{PLENTY, Reader, TRICKLE, WINDOW, Windows};
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// From here on a queue is long, and its channel slowed down.
const LONG: usize = 1 << 20;
/// What one queue may hold. Who keeps to the windows has less, however they were opened.
const MOST: usize = PLENTY + 2 * WINDOW as usize;
/// What all connections of this process may have waiting together.
const ALL: usize = 512 << 20;
/// How often a slowed client may ask.
const PAUSE: Duration = Duration::from_millis(5);
/// What is kept, and handed on, in one piece: with more that waits, the next piece is begun. Large enough for the
/// memory to go back to the system with it.
const CHUNK: usize = 256 << 10;

static EVERYWHERE: AtomicUsize = AtomicUsize::new(0);

/// The client sent more than its windows allow, or there is no room at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// All queues of one connection, by the number of their channel.
#[derive(Debug, Default, Clone)]
pub(super) struct Inputs {
    queues: Arc<Mutex<HashMap<u32, Weak<InputQueue>>>>,
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
    pub(super) fn add(&self, channel: u32) -> Arc<InputQueue> {
        let queue = Arc::new(InputQueue::new(Arc::clone(&self.waiting)));
        let mut queues = self.queues();
        queues.retain(|_, queue| queue.strong_count() > 0);
        queues.insert(channel, Arc::downgrade(&queue));
        queue
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<u32, Weak<InputQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size to open windows to, after that of a channel was opened.
    pub(super) fn next_window(&self, windows: &mut Windows<u32>, channel: u32, opened_to: u32) -> u32 {
        let queues = self.queues();
        let reader = |channel| match queues.get(&channel).and_then(Weak::upgrade) {
            None => Reader::Gone,
            Some(queue) if queue.is_long() => Reader::Behind,
            Some(_) => Reader::UpToDate,
        };
        windows.opened(channel, opened_to, self.waiting.0.load(Ordering::Relaxed), reader)
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
    pieces: VecDeque<BytesMut>,
    /// The sum of their lengths.
    waiting: usize,
    ended: bool,
    /// Nobody reads it any more.
    refused: bool,
}

impl State {
    fn append(&mut self, data: &[u8]) {
        self.waiting += data.len();
        match self.pieces.back_mut() {
            Some(last) if last.capacity() - last.len() >= data.len() => last.extend_from_slice(data),
            Some(_) => {
                let mut piece = BytesMut::with_capacity(CHUNK.max(data.len()));
                piece.extend_from_slice(data);
                self.pieces.push_back(piece);
            }
            // An idle channel keeps no buffer, and one that is up to date has small ones.
            None => self.pieces.push_back(data.into()),
        }
    }
}

impl InputQueue {
    fn new(connection: Arc<Waiting>) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), drained: Notify::new(), connection }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_long(&self) -> bool {
        self.state().waiting >= LONG
    }

    /// Adds data. `true`: it is one that is slowed down, and sent no more than it may.
    pub(super) fn push(&self, data: &[u8]) -> Result<bool, TooMuch> {
        let waiting = {
            let mut state = self.state();
            if state.refused || state.ended {
                return Ok(false);
            }
            let in_connection = self.connection.add(data.len());
            let is_too_much = state.waiting + data.len() > MOST
                || EVERYWHERE.load(Ordering::Relaxed) > ALL && in_connection > WINDOW as usize;
            if is_too_much {
                self.connection.remove(data.len());
                return Err(TooMuch);
            }
            state.append(data);
            state.waiting
        };
        self.filled.notify_one();
        Ok(waiting >= LONG && data.len() <= TRICKLE as usize)
    }

    /// Waits a moment, or until something was read: either way it is time for the client to ask again.
    pub(super) async fn pause(&self) {
        let _ = tokio::time::timeout(PAUSE, self.drained.notified()).await;
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
                if let Some(piece) = state.pieces.pop_front() {
                    state.waiting -= piece.len();
                    if state.pieces.is_empty() {
                        state.pieces = VecDeque::new();
                    }
                    drop(state);
                    self.connection.remove(piece.len());
                    self.drained.notify_one();
                    return Some(piece.freeze());
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
        let dropped = std::mem::take(&mut state.waiting);
        state.pieces = VecDeque::new();
        drop(state);
        self.connection.remove(dropped);
        self.drained.notify_one();
    }
}

impl Drop for InputQueue {
    fn drop(&mut self) {
        let left = self.state().waiting;
        self.connection.remove(left);
    }
}

/// Refuses what comes for a channel whose task has ended, however that ended: what waits there is given back at once,
/// and not when the client says something next.
pub(super) struct UntilDropped(pub(super) Arc<InputQueue>);

impl Drop for UntilDropped {
    fn drop(&mut self) {
        self.0.refuse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_out_in_order_and_then_the_end() {
        let queue = Inputs::default().add(1);
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3 * CHUNK).collect();
        for packet in sent.chunks(10_007) {
            queue.push(packet).unwrap();
        }
        queue.end();
        queue.push(b"late").unwrap();
        let mut got = Vec::new();
        while let Some(piece) = queue.take().await {
            assert!(piece.len() <= CHUNK);
            got.extend_from_slice(&piece);
        }
        assert!(got == sent);
    }

    #[test]
    fn a_long_queue_shrinks_its_own_window_until_it_is_read_or_given_up() {
        let inputs = Inputs::default();
        let mut windows = Windows::default();
        let queue = UntilDropped(inputs.add(1));
        let _other = inputs.add(2);
        queue.0.push(&vec![0; LONG]).unwrap();
        assert_eq!(inputs.next_window(&mut windows, 1, WINDOW), TRICKLE);
        assert!(queue.0.push(b"xy").unwrap() && !queue.0.push(b"xyz").unwrap());
        drop(queue);
        assert_eq!(inputs.waiting.0.load(Ordering::Relaxed), 0);
        assert_eq!(inputs.next_window(&mut windows, 2, TRICKLE), WINDOW);
    }

    #[test]
    fn with_too_much_waiting_every_window_shrinks() {
        let inputs = Inputs::default();
        let mut windows = Windows::default();
        let (queues, _other) = ([inputs.add(1), inputs.add(2)], inputs.add(3));
        for queue in &queues {
            queue.push(&vec![0; PLENTY]).unwrap();
        }
        assert_eq!(inputs.next_window(&mut windows, 3, WINDOW), TRICKLE);
        for queue in &queues {
            queue.refuse();
            queue.push(&vec![0; PLENTY]).unwrap();
        }
        assert_eq!(inputs.next_window(&mut windows, 3, TRICKLE), WINDOW);
        assert_eq!(inputs.waiting.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_that_ignores_its_window_is_found_out() {
        let inputs = Inputs::default();
        let queue = inputs.add(1);
        queue.push(&vec![0; MOST]).unwrap();
        assert_eq!(queue.push(b"x"), Err(TooMuch));
        drop(queue);
        assert_eq!(inputs.waiting.0.load(Ordering::Relaxed), 0);
    }
}
