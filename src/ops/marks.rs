//! Marks on things that one task at a time has: a berth that is worked on, a port that the agent answers on. Others wait
//! until a mark is gone.

use super::locks;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub(super) struct Marks<K> {
    keys: Arc<Mutex<BTreeSet<K>>>,
    left: Arc<Notify>,
}

/// Its mark goes when this is dropped.
pub(super) struct Mark<K: Ord + Copy> {
    marks: Marks<K>,
    key: K,
}

impl<K> Default for Marks<K> {
    fn default() -> Self {
        Self { keys: Arc::default(), left: Arc::default() }
    }
}

impl<K: Ord + Copy> Marks<K> {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when another task has it.
    pub(super) fn enter(&self, key: K) -> Option<Mark<K>> {
        let entered = self.keys().insert(key);
        entered.then(|| Mark { marks: self.clone(), key })
    }

    /// As `enter`, but waits up to `limit` for another task, such as the reconciler with its short looks.
    pub(super) async fn enter_within(&self, key: K, limit: Duration) -> Option<Mark<K>> {
        locks::assert_none_held();
        self.until(limit, || self.enter(key)).await
    }

    /// Waits until nobody has it; `false` where that takes longer than `limit`.
    pub(super) async fn is_left_within(&self, key: K, limit: Duration) -> bool {
        self.until(limit, || (!self.keys().contains(&key)).then_some(())).await.is_some()
    }

    async fn until<T>(&self, limit: Duration, attempt: impl Fn() -> Option<T>) -> Option<T> {
        // A wait, and no decision: tokio wakes by this clock.
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Before the attempt: whoever leaves after it is heard.
            left.as_mut().enable();
            if let Some(done) = attempt() {
                return Some(done);
            }
            tokio::time::timeout_at(deadline, left).await.ok()?;
        }
    }
}

impl<K: Ord + Copy> Drop for Mark<K> {
    fn drop(&mut self) {
        self.marks.keys().remove(&self.key);
        self.marks.left.notify_waiters();
    }
}
