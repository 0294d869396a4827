//! Reports what clients do and what was refused, as one event each, to the log and to the ledger.
//!
//! It must never make a connection wait: events go to a thread of their own. When that thread is behind, or clients
//! that have not logged in cause too many events, events are only counted.

use crate::model::inside_event::{INSIDE_SCHEMA, InsideEvent, What};
use crate::model::rate::Rate;
use crate::model::text::clean;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events that wait for the sink.
const QUEUE: usize = 1024;
/// Of what strangers can cause as often as they like, as many of a kind are told at once,
const BURST: u32 = 20;
/// and then one in this time.
const REFILL: Duration = Duration::from_secs(2);

/// Whom an event is about, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(in crate::ssh) struct Who {
    pub(in crate::ssh) user: Option<String>,
    pub(in crate::ssh) key: Option<String>,
    pub(in crate::ssh) peer: Option<SocketAddr>,
}

pub(in crate::ssh) struct Reporter {
    queue: SyncSender<InsideEvent>,
    /// By the kind of event.
    kinds: Mutex<HashMap<&'static str, Told>>,
}

impl Reporter {
    /// Starts the thread on which `sink` takes the events, one after the other.
    pub(in crate::ssh) fn start(sink: impl Fn(&InsideEvent) + Send + 'static) -> Self {
        let (queue, events) = sync_channel::<InsideEvent>(QUEUE);
        std::thread::spawn(move || {
            for event in events {
                tracing::info!("{event}");
                // The thread goes on: the events that come after this one are to be told.
                if catch_unwind(AssertUnwindSafe(|| sink(&event))).is_err() {
                    tracing::error!("an event could not be told");
                }
            }
        });
        Self { queue, kinds: Mutex::default() }
    }

    pub(in crate::ssh) fn report(&self, who: &Who, what: What) {
        let Some(more) = self.admit(&what) else { return };
        let kind = what.kind();
        let event = InsideEvent {
            schema: INSIDE_SCHEMA,
            at: Timestamp::now(),
            user: who.user.as_deref().map(clean),
            key: who.key.clone(),
            peer: who.peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()),
            more,
            // Much of it is what a client says.
            what: what.cleaned(),
        };
        if self.queue.try_send(event).is_err()
            && let Some(told) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get_mut(kind)
        {
            told.untold = told.untold.saturating_add(more + 1);
        }
    }

    /// `None`: this one is only counted. Else how many were, since the last.
    fn admit(&self, what: &What) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let told = kinds
            .entry(what.kind())
            .or_insert_with(|| Told { rate: Rate::new(BURST, REFILL, now), untold: 0 });
        if what.is_strangers() && !told.rate.take(now) {
            told.untold += 1;
            return None;
        }
        Some(std::mem::take(&mut told.untold))
    }
}

/// One kind of event.
struct Told {
    rate: Rate,
    /// Only counted since the last that was told.
    untold: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_panics_is_given_the_next_event() {
        let (told, events) = std::sync::mpsc::channel();
        let reporter = Reporter::start(move |event| {
            assert!(event.user.is_some(), "without a user");
            let _ = told.send(());
        });
        reporter.report(&Who::default(), What::Login);
        reporter.report(&Who { user: Some("alice".into()), ..Who::default() }, What::Login);
        drop(reporter);
        assert_eq!(events.iter().count(), 1);
    }

    #[test]
    fn strangers_are_counted_and_users_are_told() {
        let (told, events) = std::sync::mpsc::channel();
        let reporter = Reporter::start(move |event| drop(told.send(event.clone())));
        let who = Who { user: Some("x\u{7}".into()), ..Who::default() };
        for _ in 0..BURST + 5 {
            reporter.report(&who, What::LoginRefused { reason: "no".into() });
        }
        for _ in 0..100 {
            reporter.report(&who, What::Login);
        }
        drop(reporter);
        let events: Vec<_> = events.iter().collect();
        assert_eq!(events.len(), BURST as usize + 100);
        assert!(events.iter().all(|event| event.user.as_deref() == Some("x\u{fffd}")));
    }
}
