//! A counter with two limits: one for each key (such as a user or an address), and one for all keys together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places, so many for each key and so many in all.
#[derive(Debug)]
pub struct Places<K: Eq + Hash> {
    each: usize,
    all: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    by_key: HashMap<K, usize>,
    all: usize,
}

/// A place that was taken; dropping it gives it back.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    key: K,
}

/// Which limit was reached, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Whoever asks has as many as one may have.
    Own(usize),
    /// All together have as many as there are.
    All(usize),
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { each, all, taken: Mutex::new(Taken { by_key: HashMap::new(), all: 0 }) })
    }

    pub fn take(self: &Arc<Self>, key: &K) -> Result<Place<K>, Full> {
        let mut taken = self.taken();
        let own = taken.by_key.get(key).copied().unwrap_or(0);
        if own >= self.each {
            return Err(Full::Own(self.each));
        }
        if taken.all >= self.all {
            return Err(Full::All(self.all));
        }
        taken.by_key.insert(key.clone(), own + 1);
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), key: key.clone() })
    }
}

impl<K: Eq + Hash> Places<K> {
    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_key.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_takes_is_bounded_and_given_back() {
        let places = Places::new(2, 3);
        let mut held: Vec<_> = (0..2).map(|_| places.take(&"a").unwrap()).collect();
        assert_eq!(places.take(&"a").unwrap_err(), Full::Own(2));
        held.push(places.take(&"b").unwrap());
        assert_eq!(places.take(&"c").unwrap_err(), Full::All(3));
        drop(held);
        assert!(places.take(&"a").is_ok());
        assert!(places.taken().by_key.is_empty() && places.taken().all == 0);
    }
}
