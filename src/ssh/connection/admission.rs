//! Places for connections that have not logged in, and which connection loses its place when all are taken. Pure:
//! no I/O.
//!
//! A new connection is never refused because others have not logged in yet. When all places are taken, one is
//! freed. The rules are applied in this order:
//! 1. from the *stage* of login in which most connections wait. So a client that only opens connections competes
//!    with others that do the same, and never with one that has come further. Later stages cost the client more:
//!    the last but one needs the mathematics of a key exchange, the last a key that may log in;
//! 2. from the *address* that has most connections in that stage, so that one client first pushes out its own;
//! 3. the connection that has waited longest *without coming further*.
//!
//! Let there be `n` places. A client that comes further with every round trip is safe while fewer than `n / 6`
//! other connections enter the same stage in one round trip, from whatever address (`n`, where the whole flood
//! stops at one stage).
//!
//! It must never forget a connection: a place is given back when its [`Place`] is dropped.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far a login has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ssh) enum Stage {
    /// Connected, nothing said.
    Silent,
    /// Said which version it speaks.
    Greeted,
    /// Sent its list of algorithms.
    Offered,
    /// Sent its half of the key exchange, made for this connection.
    Exchanging,
    /// Has the session's keys: they were exchanged.
    Encrypted,
    /// Named a key that may log in.
    Known,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Silent, Self::Greeted, Self::Offered, Self::Exchanging, Self::Encrypted, Self::Known];
}

/// Places for a number of connections.
pub(in crate::ssh) struct Places {
    total: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Counts steps of logins: a clock that needs no clock.
    steps: u64,
    places: HashMap<u64, (Stage, u64)>,
    /// By stage, and then by when it was reached.
    order: BTreeMap<(Stage, u64), Taken>,
    /// How many there are of an address in a stage, and how many addresses have that many.
    crowds: HashMap<(Stage, IpAddr), usize>,
    sizes: BTreeMap<(Stage, usize), usize>,
}

struct Taken {
    id: u64,
    address: IpAddr,
    give_up: Box<dyn FnOnce() + Send>,
}

/// One connection's place. Dropping it frees the place.
pub(in crate::ssh) struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    pub(in crate::ssh) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total: total.max(1), waiting: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, and the address of whoever had to give one up for it; that one's `give_up` was called.
    pub(in crate::ssh) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        give_up: impl FnOnce() + Send + 'static,
    ) -> (Place, Option<IpAddr>) {
        let mut waiting = self.waiting();
        let mut left = None;
        if waiting.places.len() >= self.total
            && let Some(victim) = waiting.victim()
        {
            left = waiting.remove(victim);
        }
        let id = waiting.step();
        let taken = Taken { id, address: network_of(address), give_up: Box::new(give_up) };
        waiting.insert(Stage::Silent, id, taken);
        drop(waiting);
        let left = left.map(|(_, left)| {
            (left.give_up)();
            left.address
        });
        (Place { places: Arc::clone(self), id }, left)
    }
}

impl Waiting {
    fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    fn insert(&mut self, stage: Stage, step: u64, taken: Taken) {
        self.places.insert(taken.id, (stage, step));
        self.resize((stage, taken.address), |size| size + 1);
        self.order.insert((stage, step), taken);
    }

    fn remove(&mut self, id: u64) -> Option<(Stage, Taken)> {
        let at = self.places.remove(&id)?;
        let taken = self.order.remove(&at)?;
        self.resize((at.0, taken.address), |size| size.saturating_sub(1));
        Some((at.0, taken))
    }

    fn resize(&mut self, crowd: (Stage, IpAddr), change: impl Fn(usize) -> usize) {
        let old = self.crowds.remove(&crowd).unwrap_or(0);
        if let Some(others) = self.sizes.get_mut(&(crowd.0, old)) {
            *others -= 1;
            if *others == 0 {
                self.sizes.remove(&(crowd.0, old));
            }
        }
        let new = change(old);
        if new > 0 {
            self.crowds.insert(crowd, new);
            *self.sizes.entry((crowd.0, new)).or_default() += 1;
        }
    }

    fn victim(&self) -> Option<u64> {
        let in_stage = |stage: Stage| self.order.range((stage, 0)..=(stage, u64::MAX));
        let crowded = |stage: &Stage| {
            let sizes = self.sizes.range((*stage, 0)..=(*stage, usize::MAX));
            sizes.map(|((_, size), addresses)| size * addresses).sum::<usize>()
        };
        // Of equals the earlier stage.
        let stage = Stage::ALL.into_iter().rev().max_by_key(crowded)?;
        let (most, _) = self.sizes.range((stage, 0)..=(stage, usize::MAX)).next_back()?;
        in_stage(stage)
            .find(|(_, taken)| self.crowds.get(&(stage, taken.address)) == Some(&most.1))
            .map(|(_, taken)| taken.id)
    }
}

/// Whoever has one IPv6 address has a whole network of them.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Place {
    /// Notes how far the login has come; going back is not possible.
    pub(in crate::ssh) fn reach(&self, stage: Stage) {
        let mut waiting = self.places.waiting();
        if waiting.places.get(&self.id).is_some_and(|(reached, _)| stage > *reached)
            && let Some((_, taken)) = waiting.remove(self.id)
        {
            let step = waiting.step();
            waiting.insert(stage, step, taken);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Forgotten already where it had to be given up.
        let _ = self.places.waiting().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn enter(places: &Arc<Places>, address: &str) -> (Place, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::default());
        let told = Arc::clone(&gone);
        let (place, _) = places.admit(address.parse().unwrap(), move || told.store(true, Ordering::SeqCst));
        (place, gone)
    }

    fn left(gone: &AtomicBool) -> bool {
        gone.load(Ordering::SeqCst)
    }

    #[test]
    fn who_comes_further_outlives_a_flood_from_the_same_address() {
        let places = Places::new(50);
        let (mine, gone) = enter(&places, "10.0.0.1");
        let mut flood: Vec<_> = (0..8).map(|_| enter(&places, "10.0.0.1")).collect();
        for stage in [Stage::Greeted, Stage::Offered, Stage::Exchanging, Stage::Encrypted, Stage::Known] {
            mine.reach(stage);
            flood.extend((0..10_000).map(|_| enter(&places, "10.0.0.1")));
            assert!(!left(&gone), "{stage:?}");
        }
        drop(flood);
        assert_eq!(places.waiting().places.len(), 1);
    }

    #[test]
    fn a_flood_in_one_stage_leaves_newcomers_their_time() {
        let places = Places::new(50);
        for stage in [Stage::Greeted, Stage::Offered, Stage::Exchanging, Stage::Encrypted, Stage::Known] {
            let flood: Vec<_> = (0..500)
                .map(|number| {
                    let entered = enter(&places, &format!("127.0.{}.{}", number / 250, number % 250));
                    entered.0.reach(stage);
                    entered
                })
                .collect();
            let (mine, gone) = enter(&places, "10.0.0.1");
            let _more: Vec<_> = (0..8)
                .map(|number| {
                    let entered = enter(&places, &format!("127.1.0.{number}"));
                    entered.0.reach(stage);
                    entered
                })
                .collect();
            assert!(!left(&gone), "{stage:?}");
            drop((flood, mine));
        }
    }

    #[test]
    fn the_address_with_most_places_gives_one_up() {
        let places = Places::new(4);
        let (_other, other_gone) = enter(&places, "10.0.0.2");
        // One network of IPv6 counts as one address.
        let crowd: Vec<_> = (1..=3).map(|n| enter(&places, &format!("2001:db8::{n}"))).collect();
        let (_new, new_gone) = enter(&places, "2001:db8::99");
        assert!(left(&crowd[0].1) && !left(&crowd[1].1) && !left(&other_gone) && !left(&new_gone));
    }

    #[test]
    fn who_has_waited_longest_goes_first_and_places_come_back() {
        let places = Places::new(2);
        let (first, first_gone) = enter(&places, "10.0.0.1");
        let (second, second_gone) = enter(&places, "10.0.0.1");
        drop(first);
        let _third = enter(&places, "10.0.0.1");
        assert!(!left(&second_gone) && !left(&first_gone));
        let _fourth = enter(&places, "10.0.0.1");
        assert!(left(&second_gone));
        second.reach(Stage::Known);
        assert_eq!(places.waiting().places.len(), 2);
    }
}
