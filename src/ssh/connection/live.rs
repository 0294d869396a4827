//! The connections that are logged in to one server. It never keeps a connection alive; it only can end one.

use super::activity::Activity;
use super::closing::{Closer, Why};
use super::wire::LoginProgress;
use crate::model::limits::SshLimits;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often unused, idle and silent connections are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often to check whether all have left, when the server ends.
const LOOK_SOON: Duration = Duration::from_millis(10);

/// A client that has not answered for this long loses its place to a new one, where no other place is free. It may
/// only be asleep, or the connection may have broken without a word.
const SILENT: Duration = Duration::from_mins(5);

/// Everybody who is logged in.
pub(in crate::ssh) struct Live {
    limits: SshLimits,
    logged_in: Mutex<HashMap<u64, LoggedIn>>,
    last_id: AtomicU64,
    came: tokio::sync::Notify,
}

/// One connection that is logged in.
pub(in crate::ssh) struct LoggedIn {
    pub(in crate::ssh) user: String,
    pub(in crate::ssh) fingerprint: String,
    pub(super) closer: Closer,
    pub(super) progress: Arc<LoginProgress>,
    pub(super) activity: Arc<Activity>,
}

impl LoggedIn {
    /// Why it should end, if it should.
    fn overstayed(&self, limits: &SshLimits) -> Option<Why> {
        let limit = limits.silent_time;
        if !limit.is_zero() && self.progress.silence() >= limit {
            return Some(Why::Silent(limit));
        }
        self.activity.overstayed(limits)
    }
}

impl Live {
    pub(in crate::ssh) fn new(limits: &SshLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            logged_in: Mutex::default(),
            last_id: AtomicU64::default(),
            came: tokio::sync::Notify::new(),
        })
    }

    pub(super) fn logged_in(&self) -> MutexGuard<'_, HashMap<u64, LoggedIn>> {
        self.logged_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection and returns its id. `None` when the limit is reached and all clients answer.
    pub(super) fn add(&self, client: LoggedIn) -> Option<u64> {
        let most = usize::try_from(self.limits.connections).unwrap_or(usize::MAX);
        let is_full = self.logged_in().len() >= most;
        if is_full && !self.end_silent(|_| true) {
            return None;
        }
        let mut logged_in = self.logged_in();
        if logged_in.len() >= most {
            return None;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        logged_in.insert(id, client);
        drop(logged_in);
        self.came.notify_waiters();
        Some(id)
    }

    pub(in crate::ssh) fn is_empty(&self) -> bool {
        self.logged_in().is_empty()
    }

    /// Changes with each login.
    pub(in crate::ssh) fn newest(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// Returns when somebody is logged in.
    pub(in crate::ssh) async fn somebody(&self) {
        loop {
            let mut came = std::pin::pin!(self.came.notified());
            // Before the look: whoever comes after it is heard.
            came.as_mut().enable();
            if !self.is_empty() {
                return;
            }
            came.await;
        }
    }

    /// Ends the connections whose keys are no longer `valid` (user, fingerprint).
    pub(in crate::ssh) fn end_invalid(&self, valid: impl Fn(&str, &str) -> bool) {
        for client in self.logged_in().values() {
            if !valid(&client.user, &client.fingerprint) {
                client.closer.end(Why::KeyRemoved);
            }
        }
    }

    /// Ends the connection that has been silent for longest among those that fit, if it is longer than [`SILENT`].
    /// Returns whether it did; that connection no longer counts.
    pub(super) fn end_silent(&self, fits: impl Fn(&LoggedIn) -> bool) -> bool {
        let mut logged_in = self.logged_in();
        let silent = logged_in
            .iter()
            .filter(|(_, client)| fits(client))
            .map(|(id, client)| (client.progress.silence(), *id));
        let Some((silence, id)) = silent.max().filter(|(silence, _)| *silence >= SILENT) else {
            return false;
        };
        if let Some(client) = logged_in.remove(&id) {
            client.closer.end(Why::MadeRoom(Duration::from_secs(silence.as_secs())));
        }
        true
    }

    /// Tells everybody that the server ends.
    pub(in crate::ssh) fn end_all(&self) {
        for client in self.logged_in().values() {
            client.closer.end(Why::Stopped);
        }
    }

    /// Returns when all connections have ended, or after `limit`.
    pub(in crate::ssh) async fn emptied(&self, limit: Duration) {
        let left = async {
            while !self.is_empty() {
                tokio::time::sleep(LOOK_SOON).await;
            }
        };
        // Who does not read why is left.
        let _ = tokio::time::timeout(limit, left).await;
    }

    /// Ends connections that are over a time limit. Never returns.
    pub(in crate::ssh) async fn watch(self: Arc<Self>) {
        let limits = &self.limits;
        if [limits.silent_time, limits.unused_time, limits.idle_time].iter().all(Duration::is_zero) {
            // Nobody overstays.
            std::future::pending::<()>().await;
        }
        loop {
            self.somebody().await;
            tokio::time::sleep(LOOK_EVERY).await;
            for client in self.logged_in().values() {
                if let Some(why) = client.overstayed(&self.limits) {
                    client.closer.end(why);
                }
            }
        }
    }
}
