//! One connection as its handler sees it: who the client is, what it may open, and which events it reports.

use super::activity::{Activity, ChannelPlace, Places};
use super::admission::Stage;
use super::closing::{Closer, Why};
use super::live::LoggedIn;
use super::report::Who;
use super::state::ServerState;
use super::wire::LoginProgress;
use crate::model::inside_event::{Forward, What};
use crate::model::text::clean;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many different targets of one connection are reported as events. Further ones are in the debug log only.
const FORWARDS: usize = 64;

/// The two ends of the connection, for `SSH_CONNECTION`.
#[derive(Debug, Clone, Copy)]
pub(in crate::ssh) struct Ends {
    pub(in crate::ssh) peer: SocketAddr,
    pub(in crate::ssh) local: SocketAddr,
}

/// A connection, for its handler.
pub(in crate::ssh) struct ClientConnection {
    pub(in crate::ssh) ends: Ends,
    server: Arc<ServerState>,
    progress: Arc<LoginProgress>,
    closer: Closer,
    activity: Arc<Activity>,
    who: Arc<OnceLock<Who>>,
    /// Once logged in.
    id: Option<u64>,
    turned_away: Option<Why>,
    refused_keys: u32,
    /// Set once it was reported that the connection has too many channels.
    told_full: AtomicBool,
    told_forwards: Mutex<HashSet<(Forward, String)>>,
}

impl ClientConnection {
    pub(in crate::ssh) fn new(
        server: &Arc<ServerState>,
        (peer, local): (SocketAddr, SocketAddr),
        progress: Arc<LoginProgress>,
        closer: Closer,
    ) -> Self {
        let activity = Arc::new(Activity::new(server.limits.each.channels, Arc::clone(&server.traffic)));
        let server = Arc::clone(server);
        Self {
            ends: Ends { peer, local },
            server,
            progress,
            closer,
            activity,
            who: Arc::default(),
            id: None,
            turned_away: None,
            refused_keys: 0,
            told_full: AtomicBool::default(),
            told_forwards: Mutex::default(),
        }
    }

    /// The user, for events about this connection; set at login.
    pub(in crate::ssh) fn who(&self) -> Arc<OnceLock<Who>> {
        Arc::clone(&self.who)
    }

    pub(in crate::ssh) fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// To be called in `authentication_banner`: the first that arrives encrypted.
    pub(in crate::ssh) fn is_encrypted(&self) {
        self.progress.reach(Stage::Encrypted);
    }

    /// To be called when a key was offered that may log in.
    pub(in crate::ssh) fn is_known(&self) {
        self.progress.reach(Stage::Known);
    }

    /// To be asked before a key is looked at: whether the client may try one more.
    pub(in crate::ssh) fn may_try(&self) -> bool {
        self.refused_keys < self.server.limits.each.tries
    }

    /// To be called for each key that is refused.
    pub(in crate::ssh) fn key_refused(&mut self) {
        self.refused_keys = self.refused_keys.saturating_add(1);
    }

    /// Ends the connection of this user that has been silent for longest, if it is silent enough.
    pub(in crate::ssh) fn end_silent_of(&self, user: &str) -> bool {
        self.server.live.end_silent(|client| client.user == user)
    }

    /// To be called when the client proved that it has the key. `false`: it is one too many, and must not get a grant;
    /// then [`ClientConnection::turned_away`] says what to tell it.
    pub(in crate::ssh) fn log_in(&mut self, user: &str, fingerprint: &str) -> bool {
        let joined = self.join(user, fingerprint);
        if joined {
            self.is_in(user, fingerprint);
        }
        joined
    }

    /// The first half of [`ClientConnection::log_in`], for a caller that checks the key again after a removed key
    /// would end this connection.
    pub(in crate::ssh) fn join(&mut self, user: &str, fingerprint: &str) -> bool {
        let limit = self.server.limits.each.connections;
        let client = LoggedIn {
            user: user.to_owned(),
            fingerprint: fingerprint.to_owned(),
            closer: self.closer.clone(),
            progress: Arc::clone(&self.progress),
            activity: Arc::clone(&self.activity),
        };
        let Some(id) = self.server.live.add(client) else {
            let why = Why::Full(limit);
            let who = self.known_as(user, fingerprint);
            self.server.reporter.report(&who, What::Limit { reason: why.to_string() });
            self.turned_away = Some(why);
            return false;
        };
        self.id = Some(id);
        true
    }

    /// The second half of [`ClientConnection::log_in`].
    pub(in crate::ssh) fn is_in(&self, user: &str, fingerprint: &str) {
        let who = self.known_as(user, fingerprint);
        self.server.reporter.report(&who, What::Login);
        let _ = self.who.set(who);
        self.progress.log_in();
    }

    fn known_as(&self, user: &str, fingerprint: &str) -> Who {
        Who { user: Some(user.to_owned()), key: Some(fingerprint.to_owned()), peer: Some(self.ends.peer) }
    }

    /// To be asked in `auth_succeeded`: only there a client hears why it cannot stay.
    pub(in crate::ssh) fn turned_away(&self) -> Option<&Why> {
        self.turned_away.as_ref()
    }

    /// The places from which its listeners take one for each connection that they accept.
    pub(in crate::ssh) fn places(&self) -> Places {
        Places(Arc::clone(&self.activity))
    }

    /// A place for one more session or forwarded connection, which frees it when dropped.
    pub(in crate::ssh) fn open_channel(&self) -> Option<ChannelPlace> {
        let place = self.activity.open();
        if place.is_none() && !self.told_full.swap(true, Ordering::Relaxed) {
            let reason = format!("{} channels are open already", self.server.limits.each.channels);
            self.report(What::Limit { reason });
        }
        place
    }

    /// So many bytes came over one of its channels, or were typed at a terminal.
    pub(in crate::ssh) fn received(&self, bytes: usize, at_terminal: bool) {
        self.activity.received(bytes, at_terminal);
    }

    /// Tells an event with this connection's user, key and address.
    pub(in crate::ssh) fn report(&self, what: What) {
        match self.who.get() {
            Some(who) => self.server.reporter.report(who, what),
            None => self.server.reporter.report(&Who { peer: Some(self.ends.peer), ..Who::default() }, what),
        }
    }

    /// Tells that something is forwarded, once for each target: a browser opens hundreds of connections to one.
    pub(in crate::ssh) fn report_forward(&self, how: Forward, target: &str) {
        let new = {
            let mut told = self.told_forwards.lock().unwrap_or_else(PoisonError::into_inner);
            told.len() < FORWARDS && told.insert((how, target.to_owned()))
        };
        if new {
            self.report(What::Forward { how, target: clean(target) });
        } else {
            tracing::debug!(peer = %self.ends.peer, "{how} {target}");
        }
    }

    /// As [`ClientConnection::report`], about somebody who was not let in.
    pub(in crate::ssh) fn report_refused(&self, user: &str, key: Option<&str>, reason: String) {
        let who = Who {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            key: key.map(str::to_owned),
            peer: Some(self.ends.peer),
        };
        self.server.reporter.report(&who, What::LoginRefused { reason });
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.server.live.logged_in().remove(&id);
        }
    }
}
