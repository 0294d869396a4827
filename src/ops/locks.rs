//! The locks of a node that are held across an `.await`, and their order.
//!
//! A task that holds one lock waits only for locks that come later in [`Rank`]; otherwise two tasks could wait for
//! each other for ever. Where assertions are on, as in every test, each lock checks this before it waits. Futures
//! that run side by side in one task ([`beside`]) do not wait for each other: each is checked against its own locks
//! and those that were held where it began.
//!
//! Two kinds of lock are not here. A `std::sync::Mutex` is released before the next `.await`. A berth's mark in
//! `BusyBerths` (`marks`) is waited for only by a task that holds none of these locks; any other task tries it once.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use tokio::sync::{Mutex, MutexGuard};

/// From the outermost to the innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// `Node.reconciled`: the ledger is compared with the containers there are.
    Reconciled,
    /// `Node.deciding`: cards are chosen and claimed.
    Deciding,
    /// `Node.editing_catalogue`
    Catalogue,
    /// `Looks.npu`: npu-smi is asked.
    Npu,
    /// `Looks.sight`: everything else about the cards is looked at.
    Sight,
    /// `Node.apart`: the rules that keep berths apart.
    Apart,
    /// `Looks.foreign`: the containers of others.
    Foreign,
    /// `Node.making_host_keys`
    HostKeys,
    /// `Node.writing_keys`
    Keys,
    /// `Node.writing_leases`
    Leases,
    /// `Node.engine`
    Engine,
}

/// A lock with its place in the order.
#[derive(Debug)]
pub(super) struct Ordered<T> {
    rank: Rank,
    lock: Mutex<T>,
}

pub(super) struct Guard<'a, T> {
    value: MutexGuard<'a, T>,
    _held: Option<held::Held>,
}

impl<T> Ordered<T> {
    pub(super) fn new(rank: Rank, value: T) -> Self {
        Self { rank, lock: Mutex::new(value) }
    }

    pub(super) async fn lock(&self) -> Guard<'_, T> {
        let held = cfg!(debug_assertions).then(|| held::note(self.rank));
        Guard { value: self.lock.lock().await, _held: held }
    }

    /// Takes the lock if it is free; `None` if it is not. It checks no order, because it does not wait.
    pub(super) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let value = self.lock.try_lock().ok()?;
        Some(Guard { value, _held: cfg!(debug_assertions).then(|| held::note(self.rank)) })
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Wraps one of several futures that run side by side in one task and take locks.
pub(super) fn beside<F: Future>(future: F) -> impl Future<Output = F::Output> {
    // Boxed: it would be kept twice over in the future that waits for it.
    let future = Box::pin(future);
    async move { if cfg!(debug_assertions) { held::branch(future).await } else { future.await } }
}

/// Asserts that no lock is held, before a wait that requires this.
pub(super) fn assert_none_held() {
    debug_assert!(held::now().is_empty(), "waits for a berth's mark with {:?} held", held::now());
}

/// Which task holds which locks. Used for the check only.
mod held {
    use super::Rank;
    use std::collections::HashMap;
    use std::future::Future;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A sequence of work: one branch, task or thread, in which one thing happens after the other.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum Line {
        Branch(u64),
        Task(tokio::task::Id),
        Thread(std::thread::ThreadId),
    }

    static HELD: Mutex<Option<HashMap<Line, Vec<Rank>>>> = Mutex::new(None);
    static BRANCHES: AtomicU64 = AtomicU64::new(0);

    tokio::task_local! {
        static BRANCH: u64;
    }

    impl Line {
        fn here() -> Self {
            match (BRANCH.try_with(|branch| *branch), tokio::task::try_id()) {
                (Ok(branch), _) => Self::Branch(branch),
                (Err(_), Some(task)) => Self::Task(task),
                (Err(_), None) => Self::Thread(std::thread::current().id()),
            }
        }

        fn leave(self, rank: Rank) {
            let mut all = all();
            let lines = all.get_or_insert_default();
            if let Some(ranks) = lines.get_mut(&self) {
                if let Some(at) = ranks.iter().rposition(|held| *held == rank) {
                    ranks.remove(at);
                }
                if ranks.is_empty() {
                    lines.remove(&self);
                }
            }
        }
    }

    fn all() -> MutexGuard<'static, Option<HashMap<Line, Vec<Rank>>>> {
        HELD.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The locks that this sequence of work holds.
    pub(super) fn now() -> Vec<Rank> {
        all().as_ref().and_then(|lines| lines.get(&Line::here())).cloned().unwrap_or_default()
    }

    /// One lock that is held, or waited for.
    pub(super) struct Held(Line, Rank);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.leave(self.1);
        }
    }

    pub(super) fn note(rank: Rank) -> Held {
        let (line, before) = (Line::here(), now());
        debug_assert!(
            before.iter().all(|held| *held < rank),
            "the lock {rank:?} is waited for with {before:?} held: see the order in ops::locks"
        );
        all().get_or_insert_default().entry(line).or_default().push(rank);
        Held(line, rank)
    }

    /// Removes a branch when it ends, also after a panic.
    struct Branch(u64);

    impl Drop for Branch {
        fn drop(&mut self) {
            all().get_or_insert_default().remove(&Line::Branch(self.0));
        }
    }

    pub(super) async fn branch<F: Future>(future: F) -> F::Output {
        let branch = Branch(BRANCHES.fetch_add(1, Ordering::Relaxed));
        let inherited = now();
        if !inherited.is_empty() {
            all().get_or_insert_default().insert(Line::Branch(branch.0), inherited);
        }
        BRANCH.scope(branch.0, future).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn locks_are_taken_in_their_order_and_given_back() {
        let (npu, engine) = (Ordered::new(Rank::Npu, 1), Ordered::new(Rank::Engine, 2));
        for _ in 0..2 {
            let (first, mut second) = (npu.lock().await, engine.lock().await);
            *second += *first;
        }
        drop(engine.lock().await);
        drop(npu.lock().await);
        assert_eq!(*engine.lock().await, 4);
        assert_none_held();
    }

    #[tokio::test]
    #[should_panic(expected = "the lock Npu is waited for with [Engine] held")]
    async fn the_wrong_order_is_seen_before_anybody_waits() {
        let (npu, engine) = (Ordered::new(Rank::Npu, ()), Ordered::new(Rank::Engine, ()));
        let _second = engine.lock().await;
        let _first = npu.lock().await;
    }

    #[tokio::test]
    #[should_panic(expected = "waits for a berth's mark with [Deciding] held")]
    async fn a_berth_is_not_waited_for_under_a_lock() {
        let deciding = Ordered::new(Rank::Deciding, ());
        let _deciding = deciding.lock().await;
        let _ = super::super::node::BusyBerths::default().enter_within(7, std::time::Duration::ZERO).await;
    }

    #[tokio::test]
    async fn futures_side_by_side_do_not_count_each_others_locks() {
        let (npu, sight) = (Ordered::new(Rank::Npu, ()), Ordered::new(Rank::Sight, ()));
        let both = tokio::sync::Barrier::new(2);
        let take = async |lock: &Ordered<()>| {
            let _held = lock.lock().await;
            both.wait().await;
        };
        tokio::join!(beside(take(&sight)), beside(take(&npu)));
        assert_none_held();
    }

    #[tokio::test]
    #[should_panic(expected = "[Engine] held")]
    async fn a_future_beside_others_has_what_was_held_before() {
        let (npu, engine) = (Ordered::new(Rank::Npu, ()), Ordered::new(Rank::Engine, ()));
        let _engine = engine.lock().await;
        beside(async { drop(npu.lock().await) }).await;
    }
}
