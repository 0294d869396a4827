//! How much all connections of one server carried, in channels of sessions and forwarded connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes since they were last taken.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Traffic {
    typed: AtomicU64,
    shown: AtomicU64,
}

impl Traffic {
    pub(super) fn typed(&self, bytes: usize) {
        add(&self.typed, bytes);
    }

    pub(super) fn shown(&self, bytes: usize) {
        add(&self.shown, bytes);
    }

    /// Bytes from clients and to clients; from here on they are counted anew.
    pub(in crate::ssh) fn take(&self) -> (u64, u64) {
        (self.typed.swap(0, Ordering::Relaxed), self.shown.swap(0, Ordering::Relaxed))
    }
}

fn add(to: &AtomicU64, bytes: usize) {
    // It would take centuries to come around.
    to.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
