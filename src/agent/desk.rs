//! Connections to the API, and the limits for one caller: connections, time for a request, bytes of a request.
//!
//! A caller over a limit is told which one. Root has places of its own, so that an administrator gets in while
//! others flood the agent. Users who come through the gateway have places of their own, too. Accounts that berth
//! does not know share a few places, because one person may have thousands of such accounts (`/etc/subuid`).

use super::answer::Failure;
use super::listen::Peer;
use crate::error::Fault;
use crate::model::places::{Full, Places};
use crate::ops::Node;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// Connections of one user, and of all users: enough for tools, editors and a few requests that wait.
const EACH: usize = 64;
const ALL: usize = 512;
/// Connections of root. No other caller can use them.
const FOR_ROOT: usize = 128;
/// Connections of all accounts that berth does not know, and of each of them.
const FOR_STRANGERS: usize = 32;
const STRANGER: usize = 8;
/// How many connections of one caller, and of all, can be told at a time that they are too many. Further ones are
/// closed without an answer.
const TOLD_EACH: usize = 16;
const TOLD_ALL: usize = 128;
/// Time limit for the head of a request, and again for its body.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
/// Time limit for a connection that is only told that it is one too many.
const SHORT_TIME: Duration = Duration::from_secs(2);
/// The longest head of a request. berth's own clients send much less.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// The longest body of a request. The largest one that berth sends carries a file of public keys.
pub(super) const BODY_BYTES: usize = 256 << 10;
/// How long to wait for a free file descriptor before the next try.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);

/// Serves all connections and counts them.
pub(super) struct Desk {
    app: Router,
    node: Arc<Node>,
    counters: Counters,
    /// Each connection has a clone. The receiving end closes when all connections have ended.
    served: mpsc::Sender<Infallible>,
}

/// A group of callers whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    User,
    Gateway,
    Stranger,
}

impl Kind {
    /// The group of this caller. It must not look anything up or wait: the connection has no place yet.
    fn of(peer: &Peer, is_known: impl Fn(u32) -> bool) -> Self {
        match peer {
            Peer::Uid(0) => Self::Root,
            Peer::Uid(uid) if is_known(*uid) => Self::User,
            Peer::Gateway(_) => Self::Gateway,
            Peer::Uid(_) | Peer::Unknown => Self::Stranger,
        }
    }
}

/// The places of one kind.
struct Counter {
    served: Arc<Places<Peer>>,
    told: Arc<Places<Peer>>,
}

impl Counter {
    fn new(each: usize, all: usize) -> Self {
        let told = (TOLD_EACH.min(each), TOLD_ALL.min(all));
        Self { served: Places::new(each, all), told: Places::new(told.0, told.1) }
    }
}

struct Counters {
    root: Counter,
    users: Counter,
    gateway: Counter,
    strangers: Counter,
}

impl Counters {
    fn new() -> Self {
        Self {
            root: Counter::new(FOR_ROOT, FOR_ROOT),
            users: Counter::new(EACH, ALL),
            gateway: Counter::new(EACH, ALL),
            strangers: Counter::new(STRANGER, FOR_STRANGERS),
        }
    }

    fn of(&self, kind: Kind) -> &Counter {
        match kind {
            Kind::Root => &self.root,
            Kind::User => &self.users,
            Kind::Gateway => &self.gateway,
            Kind::Stranger => &self.strangers,
        }
    }
}

impl Desk {
    /// Returns the desk, and a receiver that closes when the desk and all of its connections have ended.
    pub(super) fn new(app: Router, node: Arc<Node>) -> (Arc<Self>, mpsc::Receiver<Infallible>) {
        let (served, ended) = mpsc::channel(1);
        let desk = Self { app, node, counters: Counters::new(), served };
        (Arc::new(desk), ended)
    }

    /// Serves one connection on a task of its own, or answers why it is refused.
    pub(super) fn serve<I>(self: &Arc<Self>, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let kind = Kind::of(&peer, |uid| self.node.knows(uid));
        let counter = self.counters.of(kind);
        match counter.served.take(&peer) {
            Ok(place) => {
                let desk = Arc::clone(self);
                tokio::spawn(async move {
                    desk.answer(io, peer).await;
                    drop(place);
                });
            }
            Err(full) => {
                let Ok(place) = counter.told.take(&peer) else { return };
                tokio::spawn(async move {
                    tell(io, too_many(kind, full)).await;
                    drop(place);
                });
            }
        }
    }

    async fn answer<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _served = self.served.clone();
        let app = TowerToHyperService::new(self.app.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (app, peer) = (app.clone(), peer.clone());
            async move {
                match whole(request).await {
                    Ok(mut request) => {
                        request.extensions_mut().insert(ConnectInfo(peer));
                        app.call(request).await
                    }
                    Err(fault) => Ok(Failure::from(fault).into_response()),
                }
            }
        });
        let connection = http(HEAD_TIME).serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.node.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

fn http(head: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
    // A connection for each call: one that waits for another call would keep its place.
    http.keep_alive(false).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    http
}

/// The request with its body in memory: a handler never waits for a client that does not send.
async fn whole(request: hyper::Request<Incoming>) -> Result<hyper::Request<Body>, Fault> {
    let (parts, body) = request.into_parts();
    let reading = Limited::new(body, BODY_BYTES).collect();
    let body = tokio::time::timeout(BODY_TIME, reading).await.map_err(|_| {
        Fault::usage(format!("the request did not come to its end within {} seconds", BODY_TIME.as_secs()))
    })?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Fault::usage(format!("the request is longer than {} KiB", BODY_BYTES >> 10));
        }
        Fault::usage(format!("the request broke off: {error}"))
    })?;
    Ok(hyper::Request::from_parts(parts, Body::from(body.to_bytes())))
}

async fn tell<I>(io: I, fault: Fault)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |_| {
        let answer = Failure::from(fault.clone()).into_response();
        async move { Ok::<Response, Infallible>(answer) }
    });
    let telling = http(SHORT_TIME).serve_connection(TokioIo::new(io), service);
    // Whether anybody heard it is of no matter.
    let _ = tokio::time::timeout(SHORT_TIME, telling).await;
}

fn too_many(kind: Kind, full: Full) -> Fault {
    match (full, kind) {
        (Full::All(most), Kind::Stranger) => Fault::busy(format!(
            "accounts that are no user of berth have {most} calls to the agent open, as many as they may have together"
        ))
        .help("try again in a moment; users and root have places of their own, and so has an administrator once let in"),
        (Full::Own(most), _) => {
            Fault::busy(format!("you have {most} calls to the agent open, as many as one may have"))
                .help("end some, such as `berth events --follow` or a request that waits, and try again")
        }
        (Full::All(most), _) => Fault::busy(format!("the agent has {most} calls open, as many as it takes"))
            .help("try again in a moment; root always gets in"),
    }
}

/// Accepts connections until the agent stops.
pub(super) async fn receive(listener: UnixListener, desk: Arc<Desk>) {
    // Given up for a moment where there is no other descriptor, so that even then it is seen who asks.
    let mut spare = tokio::net::UnixDatagram::unbound().ok();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = desk.node.stopping() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let peer = Peer::of(&stream);
                if spare.is_none() {
                    spare = tokio::net::UnixDatagram::unbound().ok();
                }
                if spare.is_some() || matches!(peer, Peer::Uid(0)) {
                    desk.serve(stream, peer);
                }
            }
            Err(error) if spare.take().is_some() => {
                tracing::warn!(%error, "there are no descriptors left; only root is answered");
            }
            Err(error) => {
                tracing::warn!(%error, "a caller could not be let in");
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    }
}

/// As [`receive`], for connections that come through the gateway.
pub(super) async fn receive_channels(mut channels: super::broker::Channels, desk: Arc<Desk>) {
    loop {
        tokio::select! {
            (line, peer) = channels.accept() => desk.serve(line, peer),
            () = desk.node.stopping() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_many_uids_takes_no_place_of_a_users() {
        let counters = Counters::new();
        let known = |uid| uid == 1001;
        let come = |peer: Peer| counters.of(Kind::of(&peer, known)).served.take(&peer);
        let mut held = Vec::new();
        let refused = (100_000..101_000).filter_map(|uid| match come(Peer::Uid(uid)) {
            Ok(place) => {
                held.push(place);
                None
            }
            Err(full) => Some(full),
        });
        assert!(refused.last() == Some(Full::All(FOR_STRANGERS)));
        assert_eq!(held.len(), FOR_STRANGERS);
        assert!(come(Peer::Unknown).is_err());
        held.extend((0..ALL / EACH).flat_map(|user| {
            let peer = Peer::Gateway(user.to_string());
            (0..EACH).map(|_| come(peer.clone()).unwrap()).collect::<Vec<_>>()
        }));
        assert!(come(Peer::Gateway("one-more".into())).is_err());
        for peer in [Peer::Uid(1001), Peer::Uid(0)] {
            held.extend((0..EACH).map(|_| come(peer.clone()).unwrap()));
        }
        assert_eq!(come(Peer::Uid(1001)).unwrap_err(), Full::Own(EACH));
    }

    #[test]
    fn whoever_is_too_many_hears_of_the_right_limit() {
        assert!(too_many(Kind::Stranger, Full::All(32)).message.contains("no user of berth have 32 calls"));
        assert!(too_many(Kind::User, Full::Own(64)).message.contains("you have 64 calls"));
        assert!(too_many(Kind::Gateway, Full::All(512)).message.contains("the agent has 512 calls"));
    }
}
