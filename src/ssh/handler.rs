//! What russh calls for one connection. Thin: it asks `auth` and the session's state machine, answers at once,
//! and hands orders to the channel's task. It must never wait for a program or another host.

use super::auth::{self, Grant, Refusal};
use super::channel::{Bridge, Line};
use super::connection::Admission;
use super::input::next_window;
use super::program::Ends;
use super::server::Berth;
use super::session::{Event, Order, Session as Machine, Size};
use super::terminal::Terminal;
use bytes::Bytes;
use russh::keys::{Algorithm, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty, Sig};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// As many session channels as one connection may have open.
const CHANNELS: usize = 64;

pub(super) struct Connection {
    pub(super) berth: Arc<Berth>,
    pub(super) ends: Ends,
    /// The connection's socket, to see the client leave.
    pub(super) peer: Arc<OwnedFd>,
    /// Given up at login.
    pub(super) admission: Option<Admission>,
    pub(super) grant: Option<Grant>,
    pub(super) refusal: Option<Refusal>,
    pub(super) user: String,
    pub(super) channels: HashMap<ChannelId, Open>,
}

pub(super) struct Open {
    machine: Machine,
    bridge: Bridge,
    terminal: Option<Terminal>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let (None, Some(refusal)) = (&self.grant, &self.refusal) {
            let user: String = self.user.chars().take(64).collect();
            tracing::info!(user = ?user, peer = %self.ends.peer, "login refused: {refusal}");
        }
    }
}

impl Connection {
    /// The keys are read anew each time: a removed key must not open anything any more.
    fn decide(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Grant> {
        let decided = self.berth.authorized_keys().and_then(|authorized| {
            let account = self.berth.account()?;
            Ok(auth::decide(user, key, algorithm, &authorized, &account))
        });
        match decided {
            Ok(Ok(grant)) => Some(grant),
            Ok(Err(refusal)) => {
                user.clone_into(&mut self.user);
                self.refusal = Some(refusal);
                None
            }
            Err(error) => {
                tracing::error!(peer = %self.ends.peer, "nobody can log in: {error:#}");
                None
            }
        }
    }

    /// Runs one event through the channel's state machine and passes its order on.
    async fn step(&mut self, id: ChannelId, event: Event) -> Result<bool, Error> {
        let Some(open) = self.channels.get_mut(&id) else { return Ok(false) };
        let step = open.machine.on(event);
        if let Some(order) = step.order {
            let terminal = if matches!(order, Order::Start(_)) { open.terminal.take() } else { None };
            if let (Order::Resize(size), Some(waiting)) = (&order, &open.terminal) {
                // Nothing runs in it yet. A size that the kernel does not like changes nothing.
                let _ = waiting.control.resize(*size);
            }
            if !open.bridge.pass(order, terminal, &self.peer).await {
                return Err(Error::Disconnect);
            }
        }
        Ok(step.accepted)
    }

    async fn answer(&mut self, id: ChannelId, event: Event, session: &mut Session) -> Result<(), Error> {
        // The program's first output cannot overtake the answer: russh takes it from its queue after this call.
        let accepted = self.step(id, event).await?;
        if accepted { session.channel_success(id) } else { session.channel_failure(id) }
    }
}

impl Handler for Connection {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        let granted = self.decide(user, offer.public_key, offer.algorithm).is_some();
        Ok(if granted { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let Some(grant) = self.decide(user, key.public_key, key.algorithm) else { return Ok(Auth::reject()) };
        tracing::info!(user, key = grant.fingerprint(), peer = %self.ends.peer, "logged in");
        self.grant = Some(grant);
        if let Some(admission) = self.admission.take() {
            admission.logged_in();
        }
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        // Channels that the server closed are not reported by russh.
        self.channels.retain(|_, open| !open.bridge.is_done());
        let Some(grant) = self.grant.clone().filter(|_| self.channels.len() < CHANNELS) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let id = channel.id();
        let (_, writer) = channel.split();
        let line =
            Line { grant, berth: Arc::clone(&self.berth), ends: self.ends, writer, handle: session.handle() };
        let open = Open { machine: Machine::default(), bridge: Bridge::open(line), terminal: None };
        self.channels.insert(id, open);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.reject(not_supported("this berth does not forward ports")).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.reject(not_supported("this berth does not forward sockets")).await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.step(id, Event::EndOfData).await.map(drop)
    }

    fn adjust_window(&mut self, _id: ChannelId, _current: u32) -> u32 {
        next_window(self.channels.values().any(|open| open.bridge.is_behind()))
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Error> {
        self.step(id, Event::Data(Bytes::copy_from_slice(data))).await.map(drop)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let mut opened = false;
        if let (Some(open), Some(grant)) = (self.channels.get_mut(&id), &self.grant)
            && open.machine.wants_terminal()
        {
            match Terminal::open(size(columns, rows, width, height), grant.account()) {
                Ok(terminal) => {
                    open.terminal = Some(terminal);
                    opened = true;
                }
                Err(error) => tracing::warn!(peer = %self.ends.peer, "opening a terminal: {error}"),
            }
        }
        self.answer(id, Event::Terminal { opened, term: term.to_owned() }, session).await
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let event = Event::Variable { name: name.to_owned(), value: value.to_owned() };
        self.answer(id, event, session).await
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.answer(id, Event::Shell, session).await
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.answer(id, Event::Command(command.to_vec()), session).await
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.answer(id, Event::Resize(size(columns, rows, width, height)), session).await
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Error> {
        let name = match signal {
            Sig::Custom(name) => name,
            known => format!("{known:?}"),
        };
        self.answer(id, Event::Signal(name), session).await
    }
}

fn not_supported(reason: &str) -> ChannelOpenFailure {
    const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
    ChannelOpenFailure::Other { code: ADMINISTRATIVELY_PROHIBITED, reason: reason.to_owned() }
}

fn size(columns: u32, rows: u32, width: u32, height: u32) -> Size {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Size { columns: fit(columns), rows: fit(rows), width: fit(width), height: fit(height) }
}
