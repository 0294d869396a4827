//! The channels of one connection: sessions and tunnels, and what the client sends on them. Both servers use it.
//!
//! It must never wait for a program or another host: it passes orders on and returns.

use super::bridge::{Bridge, Line};
use super::environment::{Environment, NotTaken, client_may_set};
use super::input::{InputQueue, Inputs, TooMuch};
use super::session::{ChannelEvent, Order, Session as Machine, Size};
use super::terminal::Terminal;
use super::windows::Windows;
use crate::model::text::clean;
use crate::ssh::channel::tunnel::Tunnel;
use crate::ssh::connection::closing::Closer;
use crate::ssh::user::account::Account;
use bytes::Bytes;
use russh::server::Session;
use russh::{ChannelId, ChannelOpenFailure, Error, Pty, Sig};
use std::collections::HashMap;

const STDERR: u32 = 1;
/// Whether russh was built with our changes (`scripts/lib/russh-*.diff`); what makes them says so.
const IS_ASKED_FIRST: bool = option_env!("BERTH_RUSSH").is_some();
/// OpenSSH's "end of write".
const OUTPUT_IS_UNREAD: &str = "eow@openssh.com";
const ADMINISTRATIVELY_PROHIBITED: u32 = 1;

pub(in crate::ssh) struct Channels {
    open: HashMap<ChannelId, Open>,
    pub(in crate::ssh) inputs: Inputs,
    windows: Windows<u32>,
}

enum Open {
    Session {
        machine: Machine,
        bridge: Bridge,
        /// Until something runs in it.
        terminal: Option<Terminal>,
        has_terminal: bool,
    },
    Tunnel(Tunnel),
}

impl Open {
    /// Where data goes, if any is wanted now.
    fn input(&self) -> Option<&InputQueue> {
        match self {
            Self::Session { machine, bridge, .. } => machine.takes_input().then_some(&*bridge.input),
            Self::Tunnel(tunnel) => Some(&*tunnel.input),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Session { bridge, .. } => bridge.is_done(),
            Self::Tunnel(tunnel) => tunnel.is_done(),
        }
    }
}

impl Channels {
    pub(in crate::ssh) fn new(closer: Closer) -> Self {
        Self { open: HashMap::new(), inputs: Inputs::new(closer), windows: Windows::default() }
    }

    /// To be called before one is added: channels that the server closed are not reported by russh. Their bytes went
    /// with their tasks.
    pub(in crate::ssh) fn forget_ended(&mut self) {
        self.open.retain(|_, open| !open.is_done());
    }

    pub(in crate::ssh) fn add_session(&mut self, line: Line) {
        let id = line.writer.id();
        let bridge = Bridge::open(line, &self.inputs);
        self.open.insert(
            id,
            Open::Session { machine: Machine::default(), bridge, terminal: None, has_terminal: false },
        );
    }

    pub(in crate::ssh) fn add_tunnel(&mut self, id: ChannelId, tunnel: Tunnel) {
        self.open.insert(id, Open::Tunnel(tunnel));
    }

    pub(in crate::ssh) fn remove(&mut self, id: ChannelId) {
        self.open.remove(&id);
    }

    /// Data came, on any channel of the connection.
    pub(in crate::ssh) async fn data(&mut self, id: ChannelId, data: &[u8]) -> Result<(), Error> {
        if !IS_ASKED_FIRST {
            self.windows.received(id.into(), data.len());
        }
        let Some(input) = self.open.get(&id).and_then(Open::input) else { return Ok(()) };
        let is_slowed = input.push(data).map_err(|TooMuch| {
            tracing::warn!("disconnecting a client that ignores its windows");
            Error::Disconnect
        })?;
        if !IS_ASKED_FIRST && is_slowed && self.windows.should_pause(id.into()) {
            input.pause().await;
        }
        Ok(())
    }

    /// The size to open the channel's window to, asked with each of its packets; where russh is the registry's, the size to
    /// open windows to after this one was opened.
    pub(in crate::ssh) fn next_window(&mut self, id: ChannelId, opened_to: u32) -> u32 {
        if IS_ASKED_FIRST {
            self.inputs.own_window(id.into())
        } else {
            self.inputs.next_window(&mut self.windows, id.into(), opened_to)
        }
    }

    pub(in crate::ssh) fn end_input(&mut self, id: ChannelId) {
        match self.open.get_mut(&id) {
            Some(Open::Session { machine, bridge, .. }) => {
                if let Some(order) = machine.on(ChannelEvent::EndOfData).order {
                    bridge.pass(order, None);
                }
            }
            Some(Open::Tunnel(tunnel)) => tunnel.input.end(),
            None => {}
        }
    }

    /// Opens the terminal of a session for the account, where one may be opened now.
    pub(in crate::ssh) fn open_terminal(
        &mut self,
        id: ChannelId,
        size: Size,
        modes: &[(Pty, u32)],
        account: &Account,
    ) -> bool {
        let Some(Open::Session { machine, terminal, has_terminal, .. }) = self.open.get_mut(&id) else {
            return false;
        };
        if !machine.wants_terminal() {
            return false;
        }
        match Terminal::open(size, modes, account) {
            Ok(opened) => {
                (*terminal, *has_terminal) = (Some(opened), true);
                true
            }
            Err(error) => {
                tracing::warn!("opening a terminal for {}: {error}", account.name);
                false
            }
        }
    }

    /// Whether what comes on this channel is typed at a terminal.
    pub(in crate::ssh) fn is_terminal(&self, id: ChannelId) -> bool {
        matches!(self.open.get(&id), Some(Open::Session { has_terminal: true, .. }))
    }

    /// Whether nothing runs in this session yet.
    pub(in crate::ssh) fn is_preparing(&self, id: ChannelId) -> bool {
        matches!(self.open.get(&id), Some(Open::Session { machine, .. }) if machine.is_preparing())
    }

    /// Runs one event through the session's state machine, passes its order on, and answers the client.
    pub(in crate::ssh) fn answer(
        &mut self,
        id: ChannelId,
        event: ChannelEvent,
        session: &mut Session,
    ) -> Result<(), Error> {
        // The program's first output cannot overtake the answer: russh takes it from its queue after this call.
        if self.step(id, event) { session.channel_success(id) } else { session.channel_failure(id) }
    }

    /// A variable of the client. What is not taken is told in the log: clients are told no more than "no", and most
    /// do not ask.
    pub(in crate::ssh) fn set_variable(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let accepted =
            self.step(id, ChannelEvent::Variable { name: name.to_owned(), value: value.to_owned() });
        if accepted {
            return session.channel_success(id);
        }
        // By itself it is good: then there are too many, or something runs already.
        let alone = client_may_set(name, value, &Environment::new());
        let why = alone.err().unwrap_or(NotTaken::TooMany);
        let (name, bytes) = (clean(name), value.len());
        match why {
            // Whoever has `SendEnv *` sends dozens of these.
            NotTaken::Name => tracing::debug!("variable {name} of {bytes} bytes was not taken: {why}"),
            _ => tracing::info!("variable {name} of {bytes} bytes was not taken: {why}"),
        }
        session.channel_failure(id)
    }

    /// As [`Channels::answer`]; returns whether it was accepted.
    pub(in crate::ssh) fn step(&mut self, id: ChannelId, event: ChannelEvent) -> bool {
        let Some(Open::Session { machine, bridge, terminal, .. }) = self.open.get_mut(&id) else {
            return false;
        };
        let step = machine.on(event);
        if let Some(order) = step.order {
            if let (Order::Resize(size), Some(waiting)) = (&order, &terminal) {
                // Nothing runs in it yet. A size that the kernel does not like changes nothing.
                let _ = waiting.control.resize(*size);
            }
            let terminal = if matches!(order, Order::Start(_)) { terminal.take() } else { None };
            bridge.pass(order, terminal);
        }
        step.accepted
    }
}

pub(in crate::ssh) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Size {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Size { columns: fit(columns), rows: fit(rows), width: fit(width), height: fit(height) }
}

/// What a client means by a signal. The request that nobody reads the output any more comes as one from a russh with our
/// changes (`scripts/lib/russh-*.diff`); without those it never comes.
pub(in crate::ssh) fn signal_event(signal: Sig) -> ChannelEvent {
    match signal {
        Sig::Custom(name) if name == OUTPUT_IS_UNREAD => ChannelEvent::OutputUnread,
        Sig::Custom(name) => ChannelEvent::Signal(name),
        known => ChannelEvent::Signal(format!("{known:?}")),
    }
}

pub(in crate::ssh) fn not_supported(reason: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: ADMINISTRATIVELY_PROHIBITED, reason: reason.to_owned() }
}

/// Fails a request on a channel, and says on its standard error why: the protocol's own answer has no words.
pub(in crate::ssh) fn refuse(id: ChannelId, why: &str, session: &mut Session) -> Result<(), Error> {
    session.extended_data(id, STDERR, Bytes::from(format!("berth: {why}\r\n")))?;
    session.channel_failure(id)
}
