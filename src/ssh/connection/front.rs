//! What the server inside and the gateway share: listening, who may connect, log in and stay, and how a client is
//! told when it may not. What a client may *do* is decided by the handler, which gets a [`ClientConnection`].
//!
//! It must never refuse a new connection because others have not logged in yet ([`super::admission`]), and no
//! connection may wait for another.

use super::admission::Places;
use super::client::ClientConnection;
use super::closing::{Closer, Why};
use super::report::{Reporter, Who};
use super::state::{Limits, ServerState};
use super::wire::{LoginProgress, Wire};
use super::{protocol, socket};
use crate::model::inside_event::What;
use crate::ops::supervise;
use anyhow::{Context as _, Result};
use russh::keys::PrivateKey;
use russh::server::{Config, Handle, Handler};
use russh::{Disconnect, Error};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Waiting for the kernel to accept; its own limit is the smaller one in most places.
const BACKLOG: u32 = 4096;
/// Connections that were accepted and not looked at once: fewer than there are places, or a flood would push out who
/// was never heard.
const ARRIVALS: usize = 32;
/// After an error of `accept`: out of descriptors, mostly.
const PAUSE: Duration = Duration::from_millis(50);
/// What a client gets to read why it has to go.
const GOODBYE: Duration = Duration::from_secs(1);
/// As many connections at the same time.
const GOODBYES: usize = 64;

/// russh reads the length of a packet, and then the packet. What is smaller than this comes with one look at the socket
/// instead of three: keystrokes, and the requests of SFTP. Large packets pass it by.
const SMALL_PACKETS: usize = 4 << 10;

/// One listening server.
pub(in crate::ssh) struct Front {
    pub(in crate::ssh) state: Arc<ServerState>,
    /// With the host key, which may be another one for those who come later.
    protocol: Mutex<Arc<Config>>,
    places: Arc<Places>,
    goodbyes: Semaphore,
    arrivals: Arc<Semaphore>,
}

/// Listens with room for a crowd.
pub(in crate::ssh) fn listen(address: SocketAddr) -> Result<TcpListener> {
    socket::listen(address, BACKLOG).with_context(|| format!("listening on {address}"))
}

impl Front {
    pub(in crate::ssh) fn new(keys: Vec<PrivateKey>, limits: Limits, reporter: Reporter) -> Arc<Self> {
        Arc::new(Self {
            protocol: Mutex::new(Arc::new(protocol::config(keys, limits.algorithms, &limits.each))),
            places: Places::new(limits.strangers),
            state: ServerState::new(limits, reporter),
            goodbyes: Semaphore::new(GOODBYES),
            arrivals: Arc::new(Semaphore::new(ARRIVALS)),
        })
    }

    /// Another host key, for who connects from now on.
    pub(in crate::ssh) fn change_keys(&self, keys: Vec<PrivateKey>) {
        *self.protocol() =
            Arc::new(protocol::config(keys, self.state.limits.algorithms, &self.state.limits.each));
    }

    fn protocol(&self) -> MutexGuard<'_, Arc<Config>> {
        self.protocol.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves connections, each with the handler that `welcome` makes for it.
    pub(in crate::ssh) async fn serve<H: Handler<Error = Error> + Send + 'static>(
        self: Arc<Self>,
        listener: TcpListener,
        welcome: impl Fn(ClientConnection) -> H,
    ) -> Infallible {
        let watching = supervise::keep(
            || async {
                Arc::clone(&self.state.live).watch().await;
                Ok(())
            },
            |why| async move { tracing::error!(why, "connections that overstay are looked for anew") },
        );
        tokio::select! {
            never = watching => never,
            never = self.accept(&listener, &welcome) => never,
        }
    }

    async fn accept<H: Handler<Error = Error> + Send + 'static>(
        self: &Arc<Self>,
        listener: &TcpListener,
        welcome: &impl Fn(ClientConnection) -> H,
    ) -> Infallible {
        loop {
            // Never closed. More wait in the kernel.
            let Ok(arrival) = Arc::clone(&self.arrivals).acquire_owned().await else { continue };
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer, arrival, welcome),
                Err(error) => {
                    // Out of descriptors, or a client that left at once. Neither ends the server.
                    self.report_limit(&Who::default(), format!("accepting a connection: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn admit<H: Handler<Error = Error> + Send + 'static>(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        arrival: OwnedSemaphorePermit,
        welcome: &impl Fn(ClientConnection) -> H,
    ) {
        let (closer, told) = Closer::new();
        let make_room = closer.clone();
        let (place, left) = self.places.admit(peer.ip(), move || make_room.end(Why::Crowded));
        if let Some(address) = left {
            let reason = format!(
                "{} connections have not logged in yet: one from {address} made room",
                self.state.limits.strangers
            );
            self.report_limit(&Who { peer: Some(peer), ..Who::default() }, reason);
        }
        let progress = LoginProgress::new(place);
        let prepared = socket::prepare(&stream, self.state.limits.each.silent_time).and_then(|local| {
            let socket = Arc::new(stream.as_fd().try_clone_to_owned()?);
            Ok((local, socket))
        });
        let Ok((local, socket)) = prepared else { return };
        let connection =
            ClientConnection::new(&self.state, (peer, local), Arc::clone(&progress), closer.clone());
        let who = connection.who();
        let visit =
            Visit { front: Arc::clone(self), peer, socket, progress: Arc::clone(&progress), told, who };
        tokio::spawn(visit.run(arrival, Wire::new(stream, progress), welcome(connection)));
    }

    fn report_limit(&self, who: &Who, reason: String) {
        self.state.reporter.report(who, What::Limit { reason });
    }
}

/// One connection from outside: it lets russh speak, and ends it when it has to end.
struct Visit {
    front: Arc<Front>,
    peer: SocketAddr,
    socket: Arc<OwnedFd>,
    progress: Arc<LoginProgress>,
    told: mpsc::Receiver<Why>,
    who: Arc<OnceLock<Who>>,
}

impl Visit {
    async fn run<H: Handler<Error = Error> + Send + 'static>(
        mut self,
        arrival: OwnedSemaphorePermit,
        wire: Wire<TcpStream>,
        handler: H,
    ) {
        let mut arrival = Some(arrival);
        let handle = OnceLock::new();
        let protocol = Arc::clone(&self.front.protocol());
        let wire = BufReader::with_capacity(SMALL_PACKETS, wire);
        let mut session = pin!(async {
            let session = russh::server::run_stream(protocol, wire, handler).await?;
            let _ = handle.set(session.handle());
            session.await
        });
        let grace = self.front.state.limits.each.login_time;
        let mut grace_ends = pin!(tokio::time::sleep(grace));
        let why = loop {
            tokio::select! {
                biased;
                ended = &mut session => return self.note_end(ended).await,
                // No more reasons come when the handler is gone; then the session has ended, or is about to.
                Some(why) = self.told.recv() => break why,
                () = tokio::task::yield_now(), if arrival.is_some() => drop(arrival.take()),
                () = &mut grace_ends, if !grace_ends.is_elapsed() => {
                    if !self.progress.is_logged_in() {
                        break Why::NoLogin(grace);
                    }
                }
            }
        };
        self.note(&why.to_string());
        self.tell(&why, handle.get(), session).await;
        // russh cannot be told to stop in the middle of a key exchange; a socket that is shut stops it anywhere.
        socket::shut(&self.socket);
    }

    /// Says why, where the protocol allows it, and gives the client a moment to read it.
    async fn tell(
        &self,
        why: &Why,
        handle: Option<&Handle>,
        session: impl Future<Output = Result<(), Error>>,
    ) {
        if !self.progress.has_greeted() {
            // A server may say something before its version.
            socket::send_now(&self.socket, format!("{why}\r\n").as_bytes());
            return;
        }
        if !self.progress.is_sealed() {
            socket::send_now(&self.socket, &protocol::clear_disconnect(why.code(), &why.to_string()));
            return;
        }
        let (Some(handle), Ok(_goodbye)) = (handle, self.front.goodbyes.try_acquire()) else { return };
        let goodbye = async {
            // It may just have ended by itself.
            let _ = handle.disconnect(why.code(), why.to_string(), String::new()).await;
            let _ = session.await;
        };
        // A client that does not read, or does not leave, is left.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// The session ended by itself: the client left, or russh did not like what it sent.
    async fn note_end(&self, ended: Result<(), Error>) {
        match &ended {
            Err(Error::IO(error)) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                self.note("it sent too much before its login");
            }
            Ok(()) | Err(Error::Disconnect | Error::HUP | Error::IO(_)) => self.note("the client left"),
            Err(error) => {
                self.note(&format!("protocol error: {error}"));
                if let Some(what) = protocol::no_algorithm(self.progress.client(), error) {
                    self.front.state.reporter.report(&Who { peer: Some(self.peer), ..Who::default() }, what);
                }
                if let Ok(_goodbye) = self.front.goodbyes.try_acquire() {
                    self.complain(error).await;
                }
            }
        }
    }

    async fn complain(&self, error: &Error) {
        let text = match error {
            // Whoever sent no version line of SSH is told in words.
            Error::Version => b"Invalid SSH identification string.\r\n".to_vec(),
            _ if self.progress.is_sealed() => return,
            error => protocol::clear_disconnect(Disconnect::ProtocolError, &error.to_string()),
        };
        socket::send_now(&self.socket, &text);
        socket::drain(&self.socket, GOODBYE).await;
    }

    fn note(&self, reason: &str) {
        let Some(who) = self.who.get() else { return };
        if self.progress.is_logged_in() {
            self.front.state.reporter.report(who, What::Disconnect { reason: reason.to_owned() });
        } else {
            tracing::debug!(peer = ?who.peer, "connection ended: {reason}");
        }
    }
}
