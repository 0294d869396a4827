//! One connection as its handler knows it, and all that are logged in: how many, with which key, since when nothing
//! happened on them, and since when their clients do not answer. It must never keep a connection alive: it only knows how to end one.

use super::admission::Stage;
use super::front::Front;
use super::program::Ends;
use super::report::Who;
use super::wire::Progress;
use crate::model::inside_event::{Forward, What};
use crate::model::limits::SshLimits;
use crate::model::text::clean;
use russh::Disconnect;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often unused, idle and silent connections are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether somebody has left.
const LOOK_SOON: Duration = Duration::from_millis(10);

/// A client that has not answered for this long gives its place up to a newcomer, where no other is left. It may only
/// sleep, but it may as well be a connection that broke without a word.
const SILENT: Duration = Duration::from_mins(5);

/// Different targets of one connection that are told; more are in the debug log only.
const FORWARDS: usize = 64;

/// Why a connection is ended from our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    Crowded,
    NoLogin(Duration),
    Full(u32),
    KeyRemoved,
    Unused(Duration),
    Idle(Duration),
    Silent(Duration),
    /// Somebody else wanted its place.
    MadeRoom(Duration),
    /// Of all that waits for readers in this process, most waits here, and there is no more room.
    MostWaits,
    /// The server ends.
    Stopped,
}

impl Why {
    pub(super) fn code(&self) -> Disconnect {
        match self {
            Self::Crowded | Self::Full(_) => Disconnect::TooManyConnections,
            Self::KeyRemoved => Disconnect::NoMoreAuthMethodsAvailable,
            Self::NoLogin(_)
            | Self::Unused(_)
            | Self::Idle(_)
            | Self::Silent(_)
            | Self::MadeRoom(_)
            | Self::MostWaits
            | Self::Stopped => Disconnect::ByApplication,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        match self {
            Self::Crowded => f.write_str("too many connections have not logged in yet: try again"),
            Self::NoLogin(limit) => write!(f, "no login within {}", time(*limit)),
            Self::Full(most) => {
                write!(f, "{most} connections are logged in already: close one and try again")
            }
            Self::KeyRemoved => f.write_str("the key that this connection logged in with was removed"),
            Self::Unused(limit) => write!(f, "no session or forward for {}", time(*limit)),
            Self::Idle(limit) => write!(f, "nothing happened for {}", time(*limit)),
            Self::Silent(limit) => write!(f, "the client did not answer for {}", time(*limit)),
            Self::MadeRoom(silence) => {
                write!(f, "the client did not answer for {}, and another needed its place", time(*silence))
            }
            Self::MostWaits => f.write_str(
                "too much waits for programs that do not read it, and most of it on this connection",
            ),
            Self::Stopped => f.write_str("this berth stops: it was released, or its node goes down"),
        }
    }
}

/// Ends one connection, once.
#[derive(Debug, Clone)]
pub(super) struct Ender(mpsc::Sender<Why>);

impl Ender {
    pub(super) fn new() -> (Self, mpsc::Receiver<Why>) {
        let (sender, told) = mpsc::channel(1);
        (Self(sender), told)
    }

    pub(super) fn end(&self, why: Why) {
        // It is being ended, or has ended: the first reason counts.
        let _ = self.0.try_send(why);
    }
}

/// A connection, for its handler.
pub(super) struct Guest {
    pub(super) ends: Ends,
    front: Arc<Front>,
    progress: Arc<Progress>,
    ender: Ender,
    activity: Arc<Activity>,
    who: Arc<OnceLock<Who>>,
    /// Once logged in.
    id: Option<u64>,
    turned_away: Option<Why>,
    refused_keys: u32,
    /// That it has too many channels was told.
    told_full: AtomicBool,
    told_forwards: Mutex<HashSet<(Forward, String)>>,
}

impl Guest {
    pub(super) fn new(
        front: &Arc<Front>,
        (peer, local): (SocketAddr, SocketAddr),
        progress: Arc<Progress>,
        ender: Ender,
    ) -> Self {
        let activity = Arc::new(Activity::new(front.limits.each.channels));
        let front = Arc::clone(front);
        Self {
            ends: Ends { peer, local },
            front,
            progress,
            ender,
            activity,
            who: Arc::default(),
            id: None,
            turned_away: None,
            refused_keys: 0,
            told_full: AtomicBool::default(),
            told_forwards: Mutex::default(),
        }
    }

    /// Whom the front's events about it are about; filled in at login.
    pub(super) fn who(&self) -> Arc<OnceLock<Who>> {
        Arc::clone(&self.who)
    }

    pub(super) fn ender(&self) -> Ender {
        self.ender.clone()
    }

    /// To be called in `authentication_banner`: the first that arrives encrypted.
    pub(super) fn is_encrypted(&self) {
        self.progress.reach(Stage::Encrypted);
    }

    /// To be called when a key was offered that may log in.
    pub(super) fn is_known(&self) {
        self.progress.reach(Stage::Known);
    }

    /// To be asked before a key is looked at: whether the client may try one more.
    pub(super) fn may_try(&self) -> bool {
        self.refused_keys < self.front.limits.each.tries
    }

    /// To be called for each key that is refused.
    pub(super) fn key_refused(&mut self) {
        self.refused_keys = self.refused_keys.saturating_add(1);
    }

    /// Ends the connection of this user that has been silent for longest, if it is silent enough.
    pub(super) fn end_silent_of(&self, user: &str) -> bool {
        self.front.live.end_silent(|stay| stay.user == user)
    }

    /// To be called when the client proved that it has the key. `false`: it is one too many, and must not get a grant;
    /// then [`Guest::turned_away`] says what to tell it.
    pub(super) fn log_in(&mut self, user: &str, fingerprint: &str) -> bool {
        let joined = self.join(user, fingerprint);
        if joined {
            self.is_in(user, fingerprint);
        }
        joined
    }

    /// The first half of [`Guest::log_in`], for who has to look again once a removed key finds this connection.
    pub(super) fn join(&mut self, user: &str, fingerprint: &str) -> bool {
        let limit = self.front.limits.each.connections;
        let stay = Stay {
            user: user.to_owned(),
            fingerprint: fingerprint.to_owned(),
            ender: self.ender.clone(),
            progress: Arc::clone(&self.progress),
            activity: Arc::clone(&self.activity),
        };
        let Some(id) = self.front.live.add(stay) else {
            let why = Why::Full(limit);
            let who = self.known_as(user, fingerprint);
            self.front.reporter.report(&who, What::Limit { reason: why.to_string() });
            self.turned_away = Some(why);
            return false;
        };
        self.id = Some(id);
        true
    }

    /// The second half.
    pub(super) fn is_in(&self, user: &str, fingerprint: &str) {
        let who = self.known_as(user, fingerprint);
        self.front.reporter.report(&who, What::Login);
        let _ = self.who.set(who);
        self.progress.log_in();
    }

    fn known_as(&self, user: &str, fingerprint: &str) -> Who {
        Who { user: Some(user.to_owned()), key: Some(fingerprint.to_owned()), peer: Some(self.ends.peer) }
    }

    /// To be asked in `auth_succeeded`: only there a client hears why it cannot stay.
    pub(super) fn turned_away(&self) -> Option<&Why> {
        self.turned_away.as_ref()
    }

    /// Where its listeners get places for what they accept.
    pub(super) fn places(&self) -> Places {
        Places(Arc::clone(&self.activity))
    }

    /// A place for one more session or forwarded connection, which frees it when dropped.
    pub(super) fn open_channel(&self) -> Option<ChannelPlace> {
        let place = self.activity.open();
        if place.is_none() && !self.told_full.swap(true, Ordering::Relaxed) {
            let reason = format!("{} channels are open already", self.front.limits.each.channels);
            self.report(What::Limit { reason });
        }
        place
    }

    /// Something went over one of its channels.
    pub(super) fn touch(&self) {
        self.activity.touch();
    }

    /// Tells an event with this connection's user, key and address.
    pub(super) fn report(&self, what: What) {
        match self.who.get() {
            Some(who) => self.front.reporter.report(who, what),
            None => self.front.reporter.report(&Who { peer: Some(self.ends.peer), ..Who::default() }, what),
        }
    }

    /// Tells that something is forwarded, once for each target: a browser opens hundreds of connections to one.
    pub(super) fn report_forward(&self, how: Forward, target: &str) {
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

    /// As [`Guest::report`], about somebody who was not let in.
    pub(super) fn report_refused(&self, user: &str, key: Option<&str>, reason: String) {
        let who = Who {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            key: key.map(str::to_owned),
            peer: Some(self.ends.peer),
        };
        self.front.reporter.report(&who, What::LoginRefused { reason });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.front.live.stays().remove(&id);
        }
    }
}

/// The open channels of one connection, and when something last went over one.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    most: u32,
    channels: AtomicU32,
    /// Milliseconds since `start`.
    last: AtomicU64,
}

/// The places of one connection.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Activity>);

impl Places {
    pub(super) fn take(&self) -> Option<ChannelPlace> {
        self.0.open()
    }
}

/// One of a connection's channels.
#[derive(Debug)]
pub(super) struct ChannelPlace(Arc<Activity>);

impl Activity {
    fn new(most: u32) -> Self {
        Self { start: Instant::now(), most, channels: AtomicU32::new(0), last: AtomicU64::new(0) }
    }

    fn open(self: &Arc<Self>) -> Option<ChannelPlace> {
        let more = |open: u32| Some(open + 1).filter(|open| *open <= self.most);
        self.channels.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.touch();
        Some(ChannelPlace(Arc::clone(self)))
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Why it should end, if it should.
    fn overstayed(&self, limits: &SshLimits) -> Option<Why> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        let quiet = self.start.elapsed().saturating_sub(last);
        let (limit, why): (_, fn(Duration) -> Why) = match self.channels.load(Ordering::Relaxed) {
            0 => (limits.unused_time, Why::Unused),
            _ => (limits.idle_time, Why::Idle),
        };
        (!limit.is_zero() && quiet >= limit).then(|| why(limit))
    }
}

impl ChannelPlace {
    /// Something went over this channel.
    pub(super) fn touch(&self) {
        self.0.touch();
    }
}

impl Drop for ChannelPlace {
    fn drop(&mut self) {
        self.0.touch();
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everybody who is logged in.
pub(super) struct Live {
    limits: SshLimits,
    stays: Mutex<HashMap<u64, Stay>>,
    last_id: AtomicU64,
    came: tokio::sync::Notify,
}

/// One connection that is logged in.
pub(super) struct Stay {
    pub(super) user: String,
    pub(super) fingerprint: String,
    ender: Ender,
    progress: Arc<Progress>,
    activity: Arc<Activity>,
}

impl Stay {
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
    pub(super) fn new(limits: &SshLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            stays: Mutex::default(),
            last_id: AtomicU64::default(),
            came: tokio::sync::Notify::new(),
        })
    }

    fn stays(&self) -> MutexGuard<'_, HashMap<u64, Stay>> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when as many are there as may be, and all of them answer.
    fn add(&self, stay: Stay) -> Option<u64> {
        let most = usize::try_from(self.limits.connections).unwrap_or(usize::MAX);
        let is_full = self.stays().len() >= most;
        if is_full && !self.end_silent(|_| true) {
            return None;
        }
        let mut stays = self.stays();
        if stays.len() >= most {
            return None;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        stays.insert(id, stay);
        drop(stays);
        self.came.notify_waiters();
        Some(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stays().is_empty()
    }

    /// Changes with each login.
    pub(super) fn newest(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// Comes back when somebody is logged in.
    pub(super) async fn somebody(&self) {
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
    pub(super) fn end_invalid(&self, valid: impl Fn(&str, &str) -> bool) {
        for stay in self.stays().values() {
            if !valid(&stay.user, &stay.fingerprint) {
                stay.ender.end(Why::KeyRemoved);
            }
        }
    }

    /// Ends the one that has been silent for longest among those that fit, if that is long enough. It counts no more.
    fn end_silent(&self, fits: impl Fn(&Stay) -> bool) -> bool {
        let mut stays = self.stays();
        let silent =
            stays.iter().filter(|(_, stay)| fits(stay)).map(|(id, stay)| (stay.progress.silence(), *id));
        let Some((silence, id)) = silent.max().filter(|(silence, _)| *silence >= SILENT) else {
            return false;
        };
        if let Some(stay) = stays.remove(&id) {
            stay.ender.end(Why::MadeRoom(Duration::from_secs(silence.as_secs())));
        }
        true
    }

    /// Tells everybody that the server ends.
    pub(super) fn end_all(&self) {
        for stay in self.stays().values() {
            stay.ender.end(Why::Stopped);
        }
    }

    /// Comes back when everybody has left, or heard enough.
    pub(super) async fn emptied(&self, limit: Duration) {
        let left = async {
            while !self.is_empty() {
                tokio::time::sleep(LOOK_SOON).await;
            }
        };
        // Who does not read why is left.
        let _ = tokio::time::timeout(limit, left).await;
    }

    /// Ends connections that overstay, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let limits = &self.limits;
        if [limits.silent_time, limits.unused_time, limits.idle_time].iter().all(Duration::is_zero) {
            // Nobody overstays.
            std::future::pending::<()>().await;
        }
        loop {
            self.somebody().await;
            tokio::time::sleep(LOOK_EVERY).await;
            for stay in self.stays().values() {
                if let Some(why) = stay.overstayed(&self.limits) {
                    stay.ender.end(why);
                }
            }
        }
    }
}
