//! What one user may have at a time, over all of their connections, so that nobody takes the whole gateway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Connection,
    Command,
    Jump,
}

impl Kind {
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Connection | Self::Command => 32,
            Self::Jump => 512,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<(String, Kind), usize>>);

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    places: Arc<Places>,
    key: (String, Kind),
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<(String, Kind), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the user has as many as they may.
    pub(super) fn take(self: &Arc<Self>, user: &str, kind: Kind) -> Option<Taken> {
        let key = (user.to_owned(), kind);
        let mut taken = self.taken();
        let count = taken.entry(key.clone()).or_default();
        if *count >= kind.most() {
            return None;
        }
        *count += 1;
        Some(Taken { places: Arc::clone(self), key })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_user_takes_is_bounded_and_given_back() {
        let places = Arc::new(Places::default());
        let take = |user: &str, kind: Kind| places.take(user, kind);
        let all: Vec<Taken> = (0..Kind::Command.most()).filter_map(|_| take("a", Kind::Command)).collect();
        assert_eq!(all.len(), Kind::Command.most());
        assert!(take("a", Kind::Command).is_none());
        assert!(take("a", Kind::Jump).is_some() && take("b", Kind::Command).is_some());
        drop(all);
        assert!(take("a", Kind::Command).is_some());
        assert!(places.taken().is_empty());
    }
}
