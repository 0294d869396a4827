//! Counts the open channels of one connection and what they carry, and notes when one last carried data.

use super::closing::Why;
use super::traffic::Traffic;
use crate::model::limits::SshLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The open channels of one connection, and when something last went over one.
#[derive(Debug)]
pub(in crate::ssh) struct Activity {
    start: Instant,
    most: u32,
    channels: AtomicU32,
    /// Milliseconds since `start`.
    last: AtomicU64,
    /// Of all connections of the server.
    traffic: Arc<Traffic>,
}

/// The places of one connection.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct Places(pub(super) Arc<Activity>);

impl Places {
    pub(in crate::ssh) fn take(&self) -> Option<ChannelPlace> {
        self.0.open()
    }
}

/// One of a connection's channels.
#[derive(Debug)]
pub(in crate::ssh) struct ChannelPlace(Arc<Activity>);

impl Activity {
    pub(super) fn new(most: u32, traffic: Arc<Traffic>) -> Self {
        Self { start: Instant::now(), most, channels: AtomicU32::new(0), last: AtomicU64::new(0), traffic }
    }

    pub(super) fn open(self: &Arc<Self>) -> Option<ChannelPlace> {
        let more = |open: u32| Some(open + 1).filter(|open| *open <= self.most);
        self.channels.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.touch();
        Some(ChannelPlace(Arc::clone(self)))
    }

    /// So many bytes came from the client.
    pub(super) fn received(&self, bytes: usize, at_terminal: bool) {
        self.touch();
        self.traffic.received(bytes, at_terminal);
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Why it should end, if it should.
    pub(super) fn overstayed(&self, limits: &SshLimits) -> Option<Why> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        let quiet = self.start.elapsed().saturating_sub(last);
        let (limit, why): (_, fn(Duration) -> Why) = match self.channels.load(Ordering::Relaxed) {
            0 => (limits.unused_time, Why::Unused),
            _ => (limits.idle_time, Why::Idle),
        };
        (!limit.is_zero() && quiet >= limit).then(|| why(limit))
    }
}

impl ChannelPlace {
    /// So many bytes go to the client over this channel.
    pub(in crate::ssh) fn sent(&self, bytes: usize) {
        self.0.touch();
        self.0.traffic.sent(bytes);
    }
}

impl Drop for ChannelPlace {
    fn drop(&mut self) {
        self.0.touch();
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}
