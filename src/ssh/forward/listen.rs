//! Listeners on behalf of a client. For each connection that one accepts, a channel to the client is opened.
//!
//! Listeners end with the connection that asked for them, and are never on anything but loopback.

use super::SocketOrder;
use super::socket_of_user::{Made, socket_of_user};
use crate::ssh::channel::input::Inputs;
use crate::ssh::channel::tunnel::{Socket, carry_to_client};
use crate::ssh::connection::activity::{ChannelPlace, Places};
use crate::ssh::user::account::Account;
use russh::Channel;
use russh::server::{Handle, Msg};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How long a client may take to answer whether it takes a connection.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_UNPRIVILEGED_PORT: u32 = 1024;

/// What a client asks to be listened for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::ssh) enum Wanted {
    /// The address as the client wrote it: it knows its forward by that.
    Tcp {
        address: String,
        port: u32,
    },
    Unix {
        path: String,
    },
    /// A socket that leads to the client's agent.
    Agent,
}

/// The listeners of one connection. Dropping it ends them; connections that were accepted go on.
pub(in crate::ssh) struct Listeners {
    handle: Handle,
    inputs: Inputs,
    /// Listeners and what they accepted are channels, as far as limits go.
    places: Places,
    by_name: HashMap<Wanted, Listening>,
    agent: Option<(PathBuf, Listening)>,
}

/// One listener: its tasks, and its place.
struct Listening {
    tasks: JoinSet<()>,
    _place: ChannelPlace,
}

impl Listeners {
    pub(in crate::ssh) fn new(handle: Handle, inputs: Inputs, places: Places) -> Self {
        Self { handle, inputs, places, by_name: HashMap::new(), agent: None }
    }

    /// Listens on loopback; port 0 is any, and the answer.
    pub(in crate::ssh) async fn listen_tcp(
        &mut self,
        address: &str,
        port: u32,
        account: &Account,
    ) -> io::Result<u32> {
        if port != 0 && port < FIRST_UNPRIVILEGED_PORT && account.uid != 0 {
            return Err(io::Error::other("ports below 1024 are root's"));
        }
        let mut listening = self.start()?;
        let port = u16::try_from(port).map_err(|_| io::Error::other("there is no such port"))?;
        let first = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let port = first.local_addr()?.port();
        let wanted = Wanted::Tcp { address: address.to_owned(), port: port.into() };
        listening.tasks.spawn(accept_tcp(first, self.acceptor(&wanted)));
        // Not every container has IPv6.
        if let Ok(second) = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
            listening.tasks.spawn(accept_tcp(second, self.acceptor(&wanted)));
        }
        self.by_name.insert(wanted, listening);
        Ok(port.into())
    }

    pub(in crate::ssh) async fn listen_unix(&mut self, path: &str, account: &Account) -> io::Result<()> {
        let made = socket_of_user(account, &SocketOrder::Listen { path: path.into() }).await?;
        let wanted = Wanted::Unix { path: path.to_owned() };
        let listening = self.accept_unix(made, &wanted)?;
        self.by_name.insert(wanted, listening);
        Ok(())
    }

    /// The path of the socket that leads to the client's agent; one for all sessions of the connection.
    pub(in crate::ssh) async fn listen_for_agent(&mut self, account: &Account) -> io::Result<PathBuf> {
        if let Some((path, _)) = &self.agent {
            return Ok(path.clone());
        }
        let made = socket_of_user(account, &SocketOrder::Agent).await?;
        let path = made.path.clone();
        let listening = self.accept_unix(made, &Wanted::Agent)?;
        self.agent = Some((path.clone(), listening));
        Ok(path)
    }

    /// Ends a listener. Returns whether there was such a one.
    pub(in crate::ssh) fn cancel(&mut self, wanted: &Wanted) -> bool {
        self.by_name.remove(wanted).is_some()
    }

    fn start(&self) -> io::Result<Listening> {
        let place = self.places.take().ok_or_else(|| io::Error::other("too many channels are open"))?;
        Ok(Listening { tasks: JoinSet::new(), _place: place })
    }

    fn accept_unix(&self, made: Made, wanted: &Wanted) -> io::Result<Listening> {
        let mut listening = self.start()?;
        let (listener, keeper) = made.into_listener()?;
        listening.tasks.spawn(accept_unix(listener, keeper, self.acceptor(wanted)));
        Ok(listening)
    }

    fn acceptor(&self, wanted: &Wanted) -> Acceptor {
        Acceptor {
            handle: self.handle.clone(),
            inputs: self.inputs.clone(),
            wanted: wanted.clone(),
            places: self.places.clone(),
        }
    }
}

struct Acceptor {
    handle: Handle,
    inputs: Inputs,
    wanted: Wanted,
    places: Places,
}

impl Acceptor {
    /// Gives the connection to the client; with no place left it is closed at once.
    fn take(&self, socket: Socket, peer: Option<SocketAddr>) {
        let Some(place) = self.places.take() else { return };
        let (handle, inputs, wanted) = (self.handle.clone(), self.inputs.clone(), self.wanted.clone());
        tokio::spawn(async move {
            let opened = tokio::time::timeout(PATIENCE, wanted.open_channel(&handle, peer)).await;
            if let Ok(Ok(channel)) = opened {
                carry_to_client(socket, channel, &inputs, &place).await;
            }
        });
    }
}

impl Wanted {
    /// Makes a channel to the client for one accepted connection.
    async fn open_channel(
        &self,
        handle: &Handle,
        peer: Option<SocketAddr>,
    ) -> Result<Channel<Msg>, russh::Error> {
        match self {
            Self::Tcp { address, port } => {
                let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
                let from = peer.ip().to_string();
                handle.channel_open_forwarded_tcpip(address, *port, from, peer.port().into()).await
            }
            Self::Unix { path } => handle.channel_open_forwarded_streamlocal(path).await,
            Self::Agent => handle.channel_open_agent().await,
        }
    }
}

async fn accept_tcp(listener: TcpListener, acceptor: Acceptor) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // It works without, only slower.
                let _ = stream.set_nodelay(true);
                acceptor.take(Socket::Tcp(stream), Some(peer));
            }
            Err(error) => wait_after(&error).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, _keeper: UnixStream, acceptor: Acceptor) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => acceptor.take(Socket::Unix(stream), None),
            Err(error) => wait_after(&error).await,
        }
    }
}

/// Out of descriptors, or a peer that left at once. Neither ends a listener.
async fn wait_after(error: &io::Error) {
    tracing::debug!("accepting for a forward: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
