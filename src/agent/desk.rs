//! Connections to the API, and what one caller may take of the agent: connections, time for a request, bytes of it.
//!
//! Who is over a limit is told which one, and root has places of its own: whoever mends a flooded node gets in.

use super::answer::Failure;
use super::listen::Peer;
use crate::error::Fault;
use crate::model::places::{Full, Place, Places};
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

/// One person's tools, editors and a few waits.
const EACH: usize = 64;
const ALL: usize = 512;
/// Of root, which nobody else takes.
const FOR_ROOT: usize = 128;
/// Connections that are told, at the same moment, that they are too many; others end without a word.
const TOLD_EACH: usize = 16;
const TOLD_ALL: usize = 128;
/// From the connection to the end of a request's head, and from there to the end of its body.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
/// Of those who are only told that they are too many.
const SHORT_TIME: Duration = Duration::from_secs(2);
/// A request's head; nothing of ours is near it.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// No request is longer: the largest carries a file of public keys.
pub(super) const BODY_BYTES: usize = 256 << 10;
/// Between two looks whether a descriptor came free.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);

/// Where all connections are served.
pub(super) struct Desk {
    app: Router,
    node: Arc<Node>,
    others: Arc<Places<Peer>>,
    root: Arc<Places<Peer>>,
    told: Arc<Places<Peer>>,
    /// Kept by each connection: it closes when all have ended.
    served: mpsc::Sender<Infallible>,
}

impl Desk {
    /// The desk, and what ends when it and all of its connections have.
    pub(super) fn new(app: Router, node: Arc<Node>) -> (Arc<Self>, mpsc::Receiver<Infallible>) {
        let (served, ended) = mpsc::channel(1);
        let desk = Self {
            app,
            node,
            others: Places::new(EACH, ALL),
            root: Places::new(FOR_ROOT, FOR_ROOT),
            told: Places::new(TOLD_EACH, TOLD_ALL),
            served,
        };
        (Arc::new(desk), ended)
    }

    fn place(&self, peer: &Peer) -> Result<Place<Peer>, Full> {
        let places = if matches!(peer, Peer::Uid(0)) { &self.root } else { &self.others };
        places.take(peer)
    }

    /// Serves one connection on a task of its own, or says why not.
    pub(super) fn serve<I>(self: &Arc<Self>, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.place(&peer) {
            Ok(place) => {
                let desk = Arc::clone(self);
                tokio::spawn(async move {
                    desk.answer(io, peer).await;
                    drop(place);
                });
            }
            Err(full) => {
                let Ok(place) = self.told.take(&peer) else { return };
                tokio::spawn(async move {
                    tell(io, full).await;
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

async fn tell<I>(io: I, full: Full)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |_| async move {
        Ok::<Response, Infallible>(Failure::from(too_many(full)).into_response())
    });
    let telling = http(SHORT_TIME).serve_connection(TokioIo::new(io), service);
    // Whether anybody heard it is of no matter.
    let _ = tokio::time::timeout(SHORT_TIME, telling).await;
}

fn too_many(full: Full) -> Fault {
    match full {
        Full::Own(most) => {
            Fault::busy(format!("you have {most} calls to the agent open, as many as one may have"))
                .help("end some, such as `berth events --follow` or a request that waits, and try again")
        }
        Full::All(most) => Fault::busy(format!("the agent has {most} calls open, as many as it takes"))
            .help("try again in a moment; root always gets in"),
    }
}

/// Takes connections until the agent stops.
pub(super) async fn receive(listener: UnixListener, desk: Arc<Desk>) {
    // Given up for a moment where there is no other descriptor, so that even then it is seen who knocks.
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

/// As [`receive`], for those who come through the gateway.
pub(super) async fn receive_doors(mut doors: super::doors::Doors, desk: Arc<Desk>) {
    loop {
        tokio::select! {
            (line, peer) = doors.accept() => desk.serve(line, peer),
            () = desk.node.stopping() => return,
        }
    }
}
