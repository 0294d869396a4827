//! Input on its way from the client to a program or a socket, and how a client is slowed down when its reader is
//! slow.
//!
//! russh opens a channel's window again as soon as data comes in, whether or not it was read, and has no call to
//! open it later. berth cannot stop reading the connection either: the client's own window updates and signals come
//! on it, and a program that waits for those (`cat` both ways) would wait for ever. What russh has is a hook for
//! the *size* that windows are opened to next, one size for all channels of a connection; [`super::windows`]
//! computes it. This module has the data that waits, and knows which channels are behind.
//!
//! A russh with our changes (`scripts/lib/russh-*.diff`) asks for each channel's size, and opens a window when it
//! is told to. With it, a channel that is behind has no window until its reader has caught up
//! ([`InputQueue::reopen`]).
//!
//! The data that waits is limited three times. Per connection: a client that sends more than its windows allow is
//! disconnected. Per user: near the limit the user's windows are small, and beyond it the user's largest connection
//! is ended. In the whole process: beyond the limit, the user with most data waiting loses a connection.

use super::windows::{PLENTY, Reader, TOO_MUCH, TRICKLE, WINDOW, Windows, own_window};
use crate::ssh::connection::closing::{Closer, Why};
use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// A queue of this many bytes is long, and its channel is slowed down.
const LONG: usize = 1 << 20;
/// The most bytes of one queue. A client that keeps to its windows never reaches it, however they were opened.
const MOST: usize = PLENTY + 2 * WINDOW as usize;
/// The most bytes that may wait in all connections of this process together.
const ALL: usize = 512 << 20;
/// All connections of one user together may have [`ALL`] divided by this.
const EACH: usize = 2;
/// The pause before a channel that is slowed down may ask again.
const PAUSE: Duration = Duration::from_millis(5);
/// What is kept, and handed on, in one piece: with more that waits, the next piece is begun. Large enough for the
/// memory to go back to the system with it.
const CHUNK: usize = 256 << 10;

static EVERYWHERE: LazyLock<Arc<Everywhere>> = LazyLock::new(|| Everywhere::new(ALL));

/// The client sent more than its windows allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) struct TooMuch;

/// The bytes that wait in all connections of one user.
type Account = Arc<AtomicUsize>;

/// All connections of a process.
#[derive(Debug)]
struct Everywhere {
    /// How many bytes may wait in all of them together, and how many do.
    most: usize,
    waiting: AtomicUsize,
    connections: Mutex<Vec<Weak<Connection>>>,
    /// The bytes of each user who is connected.
    accounts: Mutex<HashMap<String, Weak<AtomicUsize>>>,
}

impl Everywhere {
    fn new(most: usize) -> Arc<Self> {
        let (connections, accounts) = (Mutex::default(), Mutex::default());
        Arc::new(Self { most, waiting: AtomicUsize::new(0), connections, accounts })
    }

    fn account(&self, user: &str) -> Account {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(user).and_then(Weak::upgrade) {
            return account;
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Account::default();
        accounts.insert(user.to_owned(), Arc::downgrade(&account));
        account
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.most
    }

    /// Ends a connection when too much waits. If the user of `comes` is over their limit, it is the largest of
    /// theirs. Else, if the process has no more room, it is the largest of the user with most bytes waiting.
    fn make_room(&self, comes: &Connection) {
        let connections = self.connections();
        let all = || connections.iter().filter_map(Weak::upgrade);
        let of_all =
            |connection: &Arc<Connection>| (connection.of_user(), connection.waiting.load(Ordering::Relaxed));
        // Somebody else may just have made some.
        let largest = if comes.of_user() > self.each() {
            all().filter(|other| other.is_of_the_same(comes)).max_by_key(of_all)
        } else if self.is_full() {
            all().max_by_key(of_all)
        } else {
            None
        };
        if let Some(largest) = largest {
            largest.end();
        }
    }

    fn each(&self) -> usize {
        self.most / EACH
    }
}

/// One connection: its queues by the number of their channel, and the bytes that wait in them.
#[derive(Debug)]
struct Connection {
    everywhere: Arc<Everywhere>,
    queues: Mutex<HashMap<u32, Weak<InputQueue>>>,
    channels: AtomicUsize,
    waiting: AtomicUsize,
    /// Set at login, which is before any data can wait.
    account: OnceLock<Account>,
    closer: Closer,
    has_ended: AtomicBool,
}

impl Connection {
    fn add(&self, count: usize) -> usize {
        self.everywhere.waiting.fetch_add(count, Ordering::Relaxed);
        if let Some(account) = self.account.get() {
            account.fetch_add(count, Ordering::Relaxed);
        }
        self.waiting.fetch_add(count, Ordering::Relaxed) + count
    }

    fn remove(&self, count: usize) {
        self.everywhere.waiting.fetch_sub(count, Ordering::Relaxed);
        if let Some(account) = self.account.get() {
            account.fetch_sub(count, Ordering::Relaxed);
        }
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// What waits in all connections of its user.
    fn of_user(&self) -> usize {
        self.account.get().unwrap_or(&Account::default()).load(Ordering::Relaxed)
    }

    fn is_of_the_same(&self, other: &Self) -> bool {
        let both = self.account.get().zip(other.account.get());
        both.is_some_and(|(own, others)| Arc::ptr_eq(own, others))
    }

    /// The number of waiting bytes that decides the size of windows.
    fn pressure(&self) -> usize {
        if self.of_user() > self.everywhere.each() / 4 * 3 {
            return TOO_MUCH;
        }
        self.waiting.load(Ordering::Relaxed)
    }

    /// From [`TOO_MUCH`] on no window is opened: all that may come is what they were opened to before.
    fn most(&self) -> usize {
        TOO_MUCH + self.channels.load(Ordering::Relaxed) * WINDOW as usize
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<u32, Weak<InputQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection and drops what waits at once, because there must be room before the last of its tasks
    /// has ended.
    fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.closer.end(Why::MostWaits);
        for queue in self.queues().values().filter_map(Weak::upgrade) {
            queue.refuse();
        }
    }
}

/// The queues of all channels of one connection.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct Inputs(Arc<Connection>);

impl Inputs {
    pub(in crate::ssh) fn new(closer: Closer) -> Self {
        Self::among(&EVERYWHERE, closer)
    }

    fn among(everywhere: &Arc<Everywhere>, closer: Closer) -> Self {
        let connection = Arc::new(Connection {
            everywhere: Arc::clone(everywhere),
            queues: Mutex::default(),
            channels: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            account: OnceLock::new(),
            closer,
            has_ended: AtomicBool::new(false),
        });
        let mut connections = everywhere.connections();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        drop(connections);
        Self(connection)
    }

    /// To be called at login, before the first channel is opened: the bytes of all connections of a user are
    /// counted together.
    pub(in crate::ssh) fn belong_to(&self, user: &str) {
        let _ = self.0.account.set(self.0.everywhere.account(user));
    }

    pub(in crate::ssh) fn add(&self, channel: u32) -> Arc<InputQueue> {
        let queue = Arc::new(InputQueue::new(Arc::clone(&self.0)));
        let mut queues = self.0.queues();
        queues.retain(|_, queue| queue.strong_count() > 0);
        queues.insert(channel, Arc::downgrade(&queue));
        queue
    }

    /// The size to open windows to, after that of a channel was opened.
    pub(in crate::ssh) fn next_window(
        &self,
        windows: &mut Windows<u32>,
        channel: u32,
        opened_to: u32,
    ) -> u32 {
        let queues = self.0.queues();
        let reader = |channel| reader(&queues, channel);
        windows.opened(channel, opened_to, self.0.pressure(), reader)
    }

    /// The size to open this channel's window to. One whose queue is long is shut, until that says otherwise
    /// ([`InputQueue::reopens_to`]).
    pub(in crate::ssh) fn own_window(&self, channel: u32) -> u32 {
        let queue = self.0.queues().get(&channel).and_then(Weak::upgrade);
        let reader = queue.map_or(Reader::Gone, |queue| queue.look());
        own_window(reader, self.0.pressure())
    }
}

fn reader(queues: &HashMap<u32, Weak<InputQueue>>, channel: u32) -> Reader {
    match queues.get(&channel).and_then(Weak::upgrade) {
        None => Reader::Gone,
        Some(queue) if queue.is_long() => Reader::Behind,
        Some(_) => Reader::UpToDate,
    }
}

#[derive(Debug)]
pub(in crate::ssh) struct InputQueue {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
    connection: Arc<Connection>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<BytesMut>,
    /// The sum of their lengths.
    waiting: usize,
    ended: bool,
    /// Set when nothing reads the queue any more.
    refused: bool,
    /// Set when the client's window was not opened, because too much waited.
    is_shut: bool,
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
    fn new(connection: Arc<Connection>) -> Self {
        connection.channels.fetch_add(1, Ordering::Relaxed);
        Self { state: Mutex::default(), filled: Notify::new(), drained: Notify::new(), connection }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_long(&self) -> bool {
        self.state().waiting >= LONG
    }

    /// How far the reader is. If it is behind, this marks the window as shut.
    fn look(&self) -> Reader {
        let mut state = self.state();
        state.is_shut = state.waiting >= LONG;
        if state.is_shut { Reader::Behind } else { Reader::UpToDate }
    }

    /// The size to open the client's window to, when it was shut and the reader has caught up; else `None`.
    fn reopens_to(&self) -> Option<u32> {
        {
            let mut state = self.state();
            if !state.is_shut || state.waiting >= LONG {
                return None;
            }
            state.is_shut = false;
        }
        Some(own_window(Reader::UpToDate, self.connection.pressure()))
    }

    /// Opens the client's window if it was shut and need not be any more. To be called whenever data was taken or
    /// dropped: a client without a window sends nothing, so russh gets no other chance to open it.
    pub(in crate::ssh) async fn reopen(&self, writer: &ChannelWriteHalf<Msg>) {
        if let Some(size) = self.reopens_to() {
            // To a russh with our changes (`scripts/lib/russh-*.diff`) this means the window of the channel; with another
            // one none is shut. When the connection is gone there is none to open.
            let _ = writer.window_change(size, 0, 0, 0).await;
        }
    }

    /// Adds data. `Ok(true)`: the channel is slowed down, and the client kept to its window. An error when the
    /// client sent more than its windows allow.
    pub(in crate::ssh) fn push(&self, data: &[u8]) -> Result<bool, TooMuch> {
        if self.connection.has_ended.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let waiting = {
            let mut state = self.state();
            if state.refused || state.ended {
                return Ok(false);
            }
            let in_connection = self.connection.add(data.len());
            let is_too_much = state.waiting + data.len() > MOST || in_connection > self.connection.most();
            if is_too_much {
                self.connection.remove(data.len());
                return Err(TooMuch);
            }
            state.append(data);
            state.waiting
        };
        // Without our own queue locked: it may be one of those that go.
        let everywhere = &self.connection.everywhere;
        if everywhere.is_full() || self.connection.of_user() > everywhere.each() {
            everywhere.make_room(&self.connection);
        }
        self.filled.notify_one();
        Ok(waiting >= LONG && data.len() <= TRICKLE as usize)
    }

    /// Waits [`PAUSE`], or until something was read. After either, the client may ask again.
    pub(in crate::ssh) async fn pause(&self) {
        let _ = tokio::time::timeout(PAUSE, self.drained.notified()).await;
    }

    pub(in crate::ssh) fn end(&self) {
        self.state().ended = true;
        self.filled.notify_one();
    }

    /// Takes the next piece of bounded size, waiting for one; `None` when the client has sent everything.
    pub(in crate::ssh) async fn take(&self) -> Option<Bytes> {
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
    pub(in crate::ssh) fn refuse(&self) {
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
        self.connection.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When it is dropped, refuses what comes for a channel whose task has ended, however it ended. What waits is freed
/// at once, and not only when the client sends more.
pub(in crate::ssh) struct UntilDropped(pub(in crate::ssh) Arc<InputQueue>);

impl Drop for UntilDropped {
    fn drop(&mut self) {
        self.0.refuse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> Inputs {
        Inputs::new(Closer::new().0)
    }

    #[tokio::test]
    async fn everything_comes_out_in_order_and_then_the_end() {
        let queue = inputs().add(1);
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
        let inputs = inputs();
        let mut windows = Windows::default();
        let queue = UntilDropped(inputs.add(1));
        let _other = inputs.add(2);
        queue.0.push(&vec![0; LONG]).unwrap();
        assert_eq!(inputs.next_window(&mut windows, 1, WINDOW), TRICKLE);
        assert!(queue.0.push(b"xy").unwrap() && !queue.0.push(b"xyz").unwrap());
        drop(queue);
        assert_eq!(inputs.0.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(inputs.next_window(&mut windows, 2, TRICKLE), WINDOW);
    }

    #[test]
    fn with_too_much_waiting_every_window_shrinks() {
        let inputs = inputs();
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
        assert_eq!(inputs.0.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_that_ignores_its_window_is_found_out() {
        let inputs = inputs();
        let queue = inputs.add(1);
        queue.push(&vec![0; MOST]).unwrap();
        assert_eq!(queue.push(b"x"), Err(TooMuch));
        drop(queue);
        assert_eq!(inputs.0.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn many_channels_do_not_make_a_connection_larger_than_their_windows() {
        let inputs = inputs();
        let queues: Vec<_> = (0..15).map(|channel| inputs.add(channel)).collect();
        let bytes = vec![0; PLENTY];
        let most = TOO_MUCH + 15 * WINDOW as usize;
        let took = queues.iter().filter(|queue| queue.push(&bytes).is_ok()).count();
        assert_eq!(took, most / PLENTY);
        assert!(inputs.0.waiting.load(Ordering::Relaxed) <= most);
    }

    #[test]
    fn where_too_much_waits_in_all_the_largest_connection_goes_and_no_other() {
        let everywhere = Everywhere::new(4 << 20);
        let ((large_ender, mut large_told), (closer, mut told)) = (Closer::new(), Closer::new());
        let (large, small) = (Inputs::among(&everywhere, large_ender), Inputs::among(&everywhere, closer));
        let (queues, own) = ([large.add(1), large.add(2)], small.add(1));
        for queue in &queues {
            queue.push(&vec![0; 3 << 19]).unwrap();
        }
        for _ in 0..2 {
            own.push(&vec![0; 1 << 20]).unwrap();
        }
        assert_eq!((large_told.try_recv().ok(), told.try_recv().ok()), (Some(Why::MostWaits), None));
        assert_eq!(everywhere.waiting.load(Ordering::Relaxed), 2 << 20, "there is room at once");
        // Its tasks have not ended yet; what comes is dropped, also on new channels.
        assert_eq!(queues[0].push(b"x"), Ok(false));
        assert_eq!(large.add(3).push(b"x"), Ok(false));
        assert_eq!(everywhere.waiting.load(Ordering::Relaxed), 2 << 20);
        // The next time it is the one that comes itself.
        for _ in 0..3 {
            own.push(&vec![0; 1 << 20]).unwrap();
        }
        assert_eq!(told.try_recv().ok(), Some(Why::MostWaits));
        assert_eq!(everywhere.waiting.load(Ordering::Relaxed), 0);
    }
}

#[cfg(test)]
#[path = "input_users_tests.rs"]
mod users_tests;

#[cfg(test)]
#[path = "input_windows_tests.rs"]
mod windows_tests;
