//! What russh calls for one connection to the gateway. It decides little, and must never wait for a program or
//! another host.

use super::gate::Gate;
use super::jump::{self, Wish};
use super::launch::Remote;
use super::login::{self, Pass, Refusal};
use super::places::{Kind, Taken, reason};
use crate::model::inside_event::{Forward, What};
use crate::model::places::Full;
use crate::ssh::channel::bridge::Line;
use crate::ssh::channel::channels::{Channels, not_supported, refuse, signal_event, size};
use crate::ssh::channel::session::ChannelEvent;
use crate::ssh::channel::tunnel::Tunnel;
use crate::ssh::connection::activity::ChannelPlace;
use crate::ssh::connection::client::ClientConnection;
use crate::ssh::user::account::Account;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty, Sig};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(super) struct GatewayHandler {
    gate: Arc<Gate>,
    connection: ClientConnection,
    /// The last refusal, with the user name that was given and the key.
    refusal: Option<(Refusal, String, Option<String>)>,
    pass: Option<(Pass, Taken)>,
    channels: Channels,
    /// Its end closes the channels of the commands: one that did not end with it calls nothing any more.
    connected: watch::Sender<()>,
}

impl Drop for GatewayHandler {
    fn drop(&mut self) {
        if let (None, Some((refusal, given, key))) = (&self.pass, &self.refusal) {
            self.connection.report_refused(given, key.as_deref(), refusal.to_string());
        }
    }
}

impl GatewayHandler {
    pub(super) fn new(gate: &Arc<Gate>, connection: ClientConnection) -> Self {
        let connected = watch::Sender::new(());
        let channels = Channels::new(connection.closer());
        Self { gate: Arc::clone(gate), connection, refusal: None, pass: None, channels, connected }
    }

    /// The ledger is asked each time: a removed key must not open anything any more.
    async fn decide(&mut self, given: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Pass> {
        if !self.connection.may_try() {
            return None;
        }
        let user = match self.gate.node.gateway_user(given).await {
            Ok(user) => user,
            Err(error) => {
                tracing::error!(peer = %self.connection.ends.peer, "nobody can log in: {error:#}");
                return None;
            }
        };
        match login::decide(user.as_ref(), key, algorithm) {
            Ok(pass) => Some(pass),
            Err(refusal) => {
                self.connection.key_refused();
                let key = key.fingerprint(HashAlg::Sha256).to_string();
                self.refusal = Some((refusal, given.to_owned(), Some(key)));
                None
            }
        }
    }

    /// A place for one more connection of this user; one whose client has been silent for long makes room.
    async fn take_place(&self, user: &str) -> Result<Taken, Full> {
        let take = || self.gate.places.take(user, Kind::Connection);
        let full = match take() {
            Err(full) if self.connection.end_silent_of(user) => full,
            answer => return answer,
        };
        let freed = async {
            loop {
                tokio::time::sleep(LOOK_SOON).await;
                if let Ok(taken) = take() {
                    return taken;
                }
            }
        };
        tokio::time::timeout(MAKING_ROOM, freed).await.map_err(|_| full)
    }

    fn pass(&self) -> Option<Pass> {
        self.pass.as_ref().map(|(pass, _)| pass.clone())
    }

    /// The user's pass and a place for one more channel; `None` where there is no place.
    fn open_channel(&mut self) -> Option<(Pass, ChannelPlace)> {
        self.channels.forget_ended();
        Some((self.pass()?, self.connection.open_channel()?))
    }

    fn report_refused(&self, how: Forward, target: impl Into<String>, reason: &str) {
        self.connection.report(What::ForwardRefused {
            how,
            target: target.into(),
            reason: reason.to_owned(),
        });
    }
}

/// Whose the terminals are: not nobody's, whose every process could open them.
fn keeper(user: &str) -> Account {
    Account { name: user.to_owned(), uid: 0, gid: 0, groups: Vec::new(), home: None, shell: None }
}

/// What a connection that makes room gets to go.
const MAKING_ROOM: Duration = Duration::from_secs(3);
const LOOK_SOON: Duration = Duration::from_millis(20);
const NO_X11: &str = "the gateway forwards no X11";
const NO_AGENT: &str =
    "the gateway takes no agent; forward it to the berth: ssh -A -J USER@NODE:PORT ma-user@NAME";
const NO_SOCKETS: &str = "the gateway forwards no sockets";
const NO_LISTENING: &str = "the gateway listens for nobody";

impl Handler for GatewayHandler {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        self.connection.is_encrypted();
        Ok(None)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        match self.connection.turned_away() {
            // Nothing that it sends after this is looked at, and it has no pass.
            Some(why) => session.disconnect(why.code(), &why.to_string(), ""),
            None => Ok(()),
        }
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Error> {
        self.refusal = Some((Refusal::NoKey, user.to_owned(), None));
        Ok(Auth::reject())
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        let known = self.decide(user, offer.public_key, offer.algorithm).await.is_some();
        if known {
            self.connection.is_known();
        }
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let Some(pass) = self.decide(user, key.public_key, key.algorithm).await else {
            return Ok(Auth::reject());
        };
        let taken = match self.take_place(pass.user()).await {
            Ok(taken) => taken,
            Err(full) => {
                self.connection.report(What::Limit { reason: reason(user, full, "connections") });
                return Ok(Auth::reject());
            }
        };
        if !self.connection.join(pass.user(), pass.fingerprint()) {
            return Ok(Auth::Accept);
        }
        // Once more, now that a removal would find this connection: before, it could have missed it.
        if self.decide(user, key.public_key, key.algorithm).await.is_none() {
            return Err(Error::Disconnect);
        }
        self.connection.is_in(pass.user(), pass.fingerprint());
        self.channels.inputs.belong_to(pass.user());
        self.pass = Some((pass, taken));
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        let Some((pass, place)) = self.open_channel() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let user = pass.user().to_owned();
        let remote = match Remote::new(&self.gate, pass, self.connected.subscribe()) {
            Ok(remote) => remote,
            Err(full) => {
                self.connection.report(What::Limit { reason: reason(&user, full, "commands") });
                reply.reject(ChannelOpenFailure::ResourceShortage).await;
                return Ok(());
            }
        };
        let (_, writer) = channel.split();
        self.channels.add_session(Line { launch: Box::new(remote), writer, handle: session.handle(), place });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let Some((pass, place)) = self.open_channel() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let id = channel.id();
        let wish = Wish { pass, peer: self.connection.ends.peer, host: host.to_owned(), port };
        let dialling = jump::dial(Arc::clone(&self.gate), wish);
        let tunnel = Tunnel::open(channel, reply, &self.channels.inputs, place, dialling);
        self.channels.add_tunnel(id, tunnel);
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.report_refused(Forward::LocalSocket, path, NO_SOCKETS);
        reply.reject(not_supported(NO_SOCKETS)).await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.reject(not_supported(NO_X11)).await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Error> {
        self.report_refused(Forward::RemoteTcp, format!("{address}:{port}"), NO_LISTENING);
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Error> {
        self.report_refused(Forward::RemoteSocket, path, NO_LISTENING);
        Ok(false)
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.channels.remove(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.channels.end_input(id);
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, opened_to: u32) -> u32 {
        self.channels.next_window(id, opened_to)
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Error> {
        self.connection.received(data.len(), self.channels.is_terminal(id));
        self.channels.data(id, data).await
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let size = size(columns, rows, width, height);
        let opened = self
            .pass()
            .is_some_and(|pass| self.channels.open_terminal(id, size, modes, &keeper(pass.user())));
        self.channels.answer(id, ChannelEvent::Terminal { opened, term: term.to_owned() }, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.channels.set_variable(id, name, value, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.channels.answer(id, ChannelEvent::Shell, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.channels.answer(id, ChannelEvent::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        // A client that is told no says no more than that. So this is a command that there is not, which is explained.
        let line = if name == "sftp" { "sftp" } else { "subsystem" };
        self.channels.answer(id, ChannelEvent::Command(line.into()), session)
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
        self.report_refused(Forward::X11, "", NO_X11);
        refuse(id, NO_X11, session)
    }

    async fn agent_request(&mut self, id: ChannelId, session: &mut Session) -> Result<bool, Error> {
        self.report_refused(Forward::Agent, "", NO_AGENT);
        refuse(id, NO_AGENT, session)?;
        Ok(false)
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
        self.channels.answer(id, ChannelEvent::Resize(size(columns, rows, width, height)), session)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Error> {
        self.channels.answer(id, signal_event(signal), session)
    }
}
