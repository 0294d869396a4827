//! One TCP connection: its limits before login, and seeing the client leave.

use super::handler::Connection;
use super::program::Ends;
use super::server::Berth;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{Shutdown, shutdown};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A client that has not logged in by then is sent away.
const LOGIN_TIME: Duration = Duration::from_mins(1);
/// A client that does not acknowledge anything for this long is gone.
const DEAD_AFTER: Duration = Duration::from_mins(5);

/// A place among those of one address that have not logged in, and among all of them.
pub(super) type Place = [OwnedSemaphorePermit; 2];

/// The place of a connection until it has logged in.
pub(super) struct Admission {
    _place: Place,
    done: oneshot::Sender<()>,
}

impl Admission {
    pub(super) fn logged_in(self) {
        // The connection may just have ended by itself.
        let _ = self.done.send(());
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    berth: Arc<Berth>,
    config: Arc<russh::server::Config>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) -> Result<(), russh::Error> {
    prepare(&stream)?;
    let ends = Ends { peer, local: stream.local_addr()? };
    let socket = Arc::new(stream.as_fd().try_clone_to_owned()?);
    let (done, login) = oneshot::channel();
    let handler = Connection {
        berth,
        ends,
        peer: Arc::clone(&socket),
        admission: Some(Admission { _place: place, done }),
        grant: None,
        refusal: None,
        user: String::new(),
        channels: HashMap::new(),
    };
    // russh cannot be told to stop in the middle of a key exchange; a socket that is shut stops it anywhere.
    let watchdog = tokio::spawn(async move {
        if tokio::time::timeout(LOGIN_TIME, login).await.is_err() {
            tracing::info!(%peer, "sent away: no login within {} s", LOGIN_TIME.as_secs());
            let _ = shutdown(&socket, Shutdown::Both);
        }
    });
    let result = async { russh::server::run_stream(config, stream, handler).await?.await }.await;
    watchdog.abort();
    result
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt as tcp;
    let quarter = DEAD_AFTER / 4;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    tcp::set_tcp_keepidle(stream, quarter)?;
    tcp::set_tcp_keepintvl(stream, quarter)?;
    tcp::set_tcp_keepcnt(stream, 3)?;
    let milliseconds = u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX);
    Ok(tcp::set_tcp_user_timeout(stream, milliseconds)?)
}

/// Comes back when the client has closed the connection, also while bytes of it wait to be read.
pub(super) async fn hung_up(socket: &OwnedFd) {
    let Ok(socket) = socket.try_clone() else { return };
    let Ok(watched) = TcpStream::from_std(socket.into()) else { return };
    while let Ok(ready) = watched.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // Says that there is nothing to read, so that only news wakes us: the bytes are not ours.
        let _: io::Result<()> = watched.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
}
