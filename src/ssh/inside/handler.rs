//! What russh calls for one connection. It asks `auth` and the session's state machine, answers at once, and passes
//! orders to the channel's task. It must never wait for a program or another host.

use super::auth::{self, Grant, Refusal};
use super::berth::InsideBerth;
use super::program::Inside;
use crate::model::inside_event::{Forward, What};
use crate::model::text::clean;
use crate::ssh::channel::bridge::Line;
use crate::ssh::channel::channels::{Channels, not_supported, refuse, signal_event, size};
use crate::ssh::channel::session::ChannelEvent;
use crate::ssh::channel::tunnel::Tunnel;
use crate::ssh::connection::client::ClientConnection;
use crate::ssh::forward::{Listeners, Target, Wanted, dial};
use crate::ssh::user::account::Account;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Error, Pty, Sig};
use std::io;
use std::sync::Arc;

const NO_X11: &str = "no X11 here: use a forward (ssh -L) to a web or VNC server in the berth";
const TOO_MANY: &str = "too many channels are open in this connection";

pub(in crate::ssh) struct InsideHandler {
    berth: Arc<InsideBerth>,
    connection: ClientConnection,
    grant: Option<Grant>,
    /// The last refusal, and the fingerprint of its key.
    refusal: Option<(Refusal, String)>,
    user: String,
    channels: Channels,
    /// Made with the first listener.
    listeners: Option<Listeners>,
}

impl Drop for InsideHandler {
    fn drop(&mut self) {
        if let (None, Some((refusal, key))) = (&self.grant, &self.refusal) {
            self.connection.report_refused(&self.user, Some(key), refusal.to_string());
        }
    }
}

impl InsideHandler {
    pub(in crate::ssh) fn new(berth: &Arc<InsideBerth>, connection: ClientConnection) -> Self {
        let channels = Channels::new(connection.closer());
        let berth = Arc::clone(berth);
        Self { berth, connection, grant: None, refusal: None, user: String::new(), channels, listeners: None }
    }

    /// The keys are read anew each time: a removed key must not open anything any more.
    fn decide(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Grant> {
        if !self.connection.may_try() {
            return None;
        }
        let decided = self.berth.authorized_keys().and_then(|authorized| {
            let account = self.berth.account()?;
            Ok(auth::decide(user, key, algorithm, &authorized, &account))
        });
        match decided {
            Ok(Ok(grant)) => Some(grant),
            Ok(Err(refusal)) => {
                self.connection.key_refused();
                user.clone_into(&mut self.user);
                self.refusal = Some((refusal, key.fingerprint(HashAlg::Sha256).to_string()));
                None
            }
            Err(error) => {
                tracing::error!(peer = %self.connection.ends.peer, "nobody can log in: {error:#}");
                None
            }
        }
    }

    /// Opens a tunnel to where the client wants to go.
    async fn open_tunnel(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        how: Forward,
        target: impl FnOnce(Account) -> Target,
    ) {
        self.channels.forget_ended();
        let (Some(grant), Some(place)) = (&self.grant, self.connection.open_channel()) else {
            reply.reject(not_supported(TOO_MANY)).await;
            return;
        };
        let target = target(grant.account().clone());
        self.connection.report_forward(how, &target.to_string());
        let id = channel.id();
        let dialling = async { Ok((dial(target).await?, ())) };
        let tunnel = Tunnel::open(channel, reply, &self.channels.inputs, place, dialling);
        self.channels.add_tunnel(id, tunnel);
    }

    fn listeners(&mut self, session: &Session) -> &mut Listeners {
        self.listeners.get_or_insert_with(|| {
            Listeners::new(session.handle(), self.channels.inputs.clone(), self.connection.places())
        })
    }

    /// Tells the outcome of listening; the client learns only whether.
    fn report_listening<T>(&self, how: Forward, target: &str, made: io::Result<T>) -> Option<T> {
        match made {
            Ok(made) => {
                self.connection.report_forward(how, target);
                Some(made)
            }
            Err(error) => {
                let (target, reason) = (clean(target), clean(&error.to_string()));
                self.connection.report(What::ForwardRefused { how, target, reason });
                None
            }
        }
    }
}

impl Handler for InsideHandler {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        self.connection.is_encrypted();
        Ok(None)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        let granted = self.decide(user, offer.public_key, offer.algorithm).is_some();
        if granted {
            self.connection.is_known();
        }
        Ok(if granted { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let Some(grant) = self.decide(user, key.public_key, key.algorithm) else { return Ok(Auth::reject()) };
        if self.connection.log_in(user, grant.fingerprint()) {
            self.channels.inputs.belong_to(user);
            self.grant = Some(grant);
        }
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        match self.connection.turned_away() {
            // Nothing that it sends after this is looked at.
            Some(why) => session.disconnect(why.code(), &why.to_string(), ""),
            None => Ok(()),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.channels.forget_ended();
        let (Some(grant), Some(place)) = (self.grant.clone(), self.connection.open_channel()) else {
            reply.reject(not_supported(TOO_MANY)).await;
            return Ok(());
        };
        let (_, writer) = channel.split();
        let launch = Box::new(Inside { grant, berth: Arc::clone(&self.berth), ends: self.connection.ends });
        self.channels.add_session(Line { launch, writer, handle: session.handle(), place });
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
        let target = |_| Target::Tcp { host: host.to_owned(), port };
        self.open_tunnel(channel, reply, Forward::LocalTcp, target).await;
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

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let target = |account| Target::Unix { path: path.into(), account };
        self.open_tunnel(channel, reply, Forward::LocalSocket, target).await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Error> {
        let Some(account) = self.grant.as_ref().map(|grant| grant.account().clone()) else {
            return Ok(false);
        };
        let made = self.listeners(session).listen_tcp(address, *port, &account).await;
        let target = format!("{address}:{port}");
        let Some(got) = self.report_listening(Forward::RemoteTcp, &target, made) else { return Ok(false) };
        *port = got;
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        session: &mut Session,
    ) -> Result<bool, Error> {
        Ok(self.listeners(session).cancel(&Wanted::Tcp { address: address.to_owned(), port }))
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, Error> {
        let Some(account) = self.grant.as_ref().map(|grant| grant.account().clone()) else {
            return Ok(false);
        };
        let made = self.listeners(session).listen_unix(path, &account).await;
        Ok(self.report_listening(Forward::RemoteSocket, path, made).is_some())
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, Error> {
        Ok(self.listeners(session).cancel(&Wanted::Unix { path: path.to_owned() }))
    }

    async fn agent_request(&mut self, id: ChannelId, session: &mut Session) -> Result<bool, Error> {
        let made = match &self.grant {
            Some(grant) if self.channels.is_preparing(id) => {
                let account = grant.account().clone();
                let made = self.listeners(session).listen_for_agent(&account).await;
                self.report_listening(Forward::Agent, "", made)
            }
            _ => None,
        };
        // russh sends the answer.
        Ok(made.is_some_and(|socket| self.channels.step(id, ChannelEvent::Agent(socket))))
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
            .grant
            .as_ref()
            .is_some_and(|grant| self.channels.open_terminal(id, size, modes, grant.account()));
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
        if name != "sftp" {
            let name: String = name.chars().take(64).collect();
            tracing::info!(peer = %self.connection.ends.peer, "refused: there is no subsystem {name:?}");
        }
        self.channels.answer(id, ChannelEvent::Subsystem(name.to_owned()), session)
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
        let reason = NO_X11.to_owned();
        self.connection.report(What::ForwardRefused { how: Forward::X11, target: String::new(), reason });
        refuse(id, NO_X11, session)
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
