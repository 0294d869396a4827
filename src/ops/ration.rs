//! How often one user may do what costs everybody: each renewal and each key is an event that stays, each request and
//! each look into an image is work for Docker. The same over the socket and at the gateway; administrators are not counted.

use super::{Caller, Node};
use crate::error::Fault;
use crate::model::clock::BootTime;
use crate::model::rate::Rate;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Keys that one user may have.
pub(super) const MOST_KEYS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Renew,
    /// Added or removed.
    Key,
    /// A berth asked for. A release is never refused: it gives back.
    Request,
    Look,
}

impl Act {
    /// So many at once, and then one in this time.
    const fn rate(self) -> (u32, Duration) {
        match self {
            Self::Renew | Self::Key => (20, Duration::from_secs(15)),
            Self::Request => (40, Duration::from_secs(5)),
            Self::Look => (10, Duration::from_secs(10)),
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Renew => "renewals",
            Self::Key => "changes of keys",
            Self::Request => "requests",
            Self::Look => "looks into images",
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

/// Requests of one user that may wait at the same time: each of them looks again and again.
const MOST_WAITING: u32 = 4;

/// How many requests of whom wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<String, u32>>>);

/// One request that waits, as long as it is there.
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
    /// Whether the caller may do this once more now.
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
        for act in [Act::Renew, Act::Key, Act::Request, Act::Look] {
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
