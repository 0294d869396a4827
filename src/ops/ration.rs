//! How often one user may do what costs all users something. Each renewal and each key adds an event that is kept
//! for ever. Each request and each probe of an image is work for Docker. Each look at events reads the ledger. The
//! limits are the same over the socket and at the gateway. They do not apply to administrators.

use super::{Caller, Node};
use crate::error::Fault;
use crate::model::clock::BootTime;
use crate::model::places::{Place, Places};
use crate::model::rate::Rate;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many keys one user may have.
pub(super) const MOST_KEYS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Renew,
    Rename,
    /// An image made of a berth.
    Snapshot,
    /// A key that is added or removed.
    Key,
    /// A request for a berth. Releases are never limited, because they give cards back.
    Request,
    Look,
    /// A look back at the events.
    Events,
}

impl Act {
    /// How many are allowed at once, and the time in which one more is.
    const fn rate(self) -> (u32, Duration) {
        match self {
            Self::Renew | Self::Rename | Self::Key => (20, Duration::from_secs(15)),
            Self::Snapshot => (5, Duration::from_mins(1)),
            Self::Request => (40, Duration::from_secs(5)),
            Self::Look => (10, Duration::from_secs(10)),
            Self::Events => (60, Duration::from_secs(1)),
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Renew => "renewals",
            Self::Rename => "renames",
            Self::Snapshot => "images of berths",
            Self::Key => "changes of keys",
            Self::Request => "requests",
            Self::Look => "looks into images",
            Self::Events => "calls for events",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rations(Mutex<HashMap<(String, Act), Rate<BootTime>>>);

impl Rations {
    fn take(&self, user: &str, act: Act, now: BootTime) -> Result<(), Fault> {
        let mut rations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (burst, refill) = act.rate();
        // Of users who were removed nothing stays for long: what is full again says nothing.
        rations.retain(|_, rate| !rate.is_full(now));
        let rate = rations.entry((user.to_owned(), act)).or_insert_with(|| Rate::new(burst, refill, now));
        if rate.take(now) {
            return Ok(());
        }
        let seconds = rate.wait(now).as_secs().max(1);
        let what = act.what();
        Err(Fault::busy(format!(
            "these are too many {what}: {burst} at once, then one in {} s",
            refill.as_secs()
        ))
        .help(format!("try again in {seconds} s")))
    }
}

/// How many answers with events one user may have open. Each holds in memory what its reader has not taken yet.
const MOST_READERS: usize = 8;

/// The open answers with events, by user. Their total is limited by the number of connections.
#[derive(Debug)]
pub(super) struct Readers(Arc<Places<String>>);

impl Default for Readers {
    fn default() -> Self {
        Self(Places::new(MOST_READERS, usize::MAX))
    }
}

impl Readers {
    /// A place for one more answer, for as long as it is kept; `None` for an administrator, who needs none.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Option<Place<String>>, Fault> {
        let Some(user) = caller.user.as_ref().filter(|_| !caller.admin) else { return Ok(None) };
        self.0.take(user).map(Some).map_err(|_| {
            Fault::busy(format!("{user} reads events {MOST_READERS} times already, as often as one may"))
                .help("end one of them, such as `berth events --follow`")
        })
    }
}

/// How many requests of one user may wait at the same time. Each looks at the cards repeatedly.
const MOST_WAITING: u32 = 4;

/// The number of waiting requests of each user.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<String, u32>>>);

/// Counts one waiting request for as long as it exists.
#[derive(Debug)]
pub(super) struct WaitingPlace {
    all: Arc<Mutex<HashMap<String, u32>>>,
    owner: String,
}

impl Waiting {
    pub(super) fn enter(&self, owner: &str) -> Result<WaitingPlace, Fault> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(owner.to_owned()).or_default();
        if *count >= MOST_WAITING {
            return Err(Fault::busy(format!("{MOST_WAITING} requests of {owner} wait already"))
                .help("end one of them, or ask without --wait"));
        }
        *count += 1;
        Ok(WaitingPlace { all: Arc::clone(&self.0), owner: owner.to_owned() })
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.owner);
            }
        }
    }
}

impl Node {
    /// An error when the caller has done this too often.
    pub(super) fn ration(&self, caller: &Caller, act: Act) -> Result<(), Fault> {
        match &caller.user {
            Some(user) if !caller.admin => self.rations.take(user, act, self.now().boot),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn each_user_has_a_ration_of_each_that_comes_again() {
        let (rations, start) = (Rations::default(), BootTime::default());
        for act in [Act::Renew, Act::Key, Act::Request, Act::Look, Act::Events] {
            let (burst, refill) = act.rate();
            let taken = (0..1000).filter(|_| rations.take("alice", act, start).is_ok()).count();
            assert_eq!(taken, usize::try_from(burst).unwrap());
            assert!(rations.take("bob", act, start).is_ok());
            let fault = rations.take("alice", act, start).unwrap_err();
            assert_eq!(
                (fault.class, fault.help),
                (ErrorClass::Busy, Some(format!("try again in {} s", refill.as_secs())))
            );
            assert!(rations.take("alice", act, start + refill).is_ok());
        }
        let long = start + Duration::from_hours(1);
        assert!(rations.take("carol", Act::Key, long).is_ok());
        assert_eq!(rations.0.lock().unwrap().len(), 1, "what is full again is forgotten");
    }

    #[test]
    fn a_user_waits_a_few_times_and_others_are_not_counted() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..MOST_WAITING).map(|_| waiting.enter("mallory").unwrap()).collect();
        let fault = waiting.enter("mallory").unwrap_err();
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (ErrorClass::Busy, "4 requests of mallory wait already")
        );
        let bob = waiting.enter("bob").unwrap();
        drop(places);
        assert!(waiting.enter("mallory").is_ok());
        drop(bob);
        assert!(waiting.0.lock().unwrap().is_empty(), "who does not wait is forgotten");
    }
}
