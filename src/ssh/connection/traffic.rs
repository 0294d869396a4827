//! How much all connections of one server carried, in channels of sessions and forwarded connections.

use crate::model::inside_traffic::InsideTraffic;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes since they were last taken.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    /// Of those received, typed at terminals.
    typed: AtomicU64,
}

impl Traffic {
    pub(super) fn received(&self, bytes: usize, at_terminal: bool) {
        add(&self.received, bytes);
        if at_terminal {
            add(&self.typed, bytes);
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        add(&self.sent, bytes);
    }

    /// What was carried in these seconds; from here on it is counted anew.
    pub(in crate::ssh) fn take(&self, seconds: u32) -> InsideTraffic {
        let [received, sent, typed] =
            [&self.received, &self.sent, &self.typed].map(|count| count.swap(0, Ordering::Relaxed));
        InsideTraffic::new(seconds, received, sent, typed)
    }
}

fn add(to: &AtomicU64, bytes: usize) {
    // It would take centuries to come around.
    to.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
