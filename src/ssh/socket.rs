//! TCP as both servers want it. It knows nothing of SSH.

use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A client that does not acknowledge anything for this long is gone.
const DEAD_AFTER: Duration = Duration::from_mins(5);
/// Of a client that is being sent away, no more than this is read.
const DRAIN: u64 = 1 << 20;

pub(super) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Sets the options of a connection; returns our end's address.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    use rustix::net::sockopt as tcp;
    let quarter = DEAD_AFTER / 4;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    tcp::set_tcp_keepidle(stream, quarter)?;
    tcp::set_tcp_keepintvl(stream, quarter)?;
    tcp::set_tcp_keepcnt(stream, 3)?;
    let milliseconds = u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX);
    tcp::set_tcp_user_timeout(stream, milliseconds)?;
    stream.local_addr()
}

/// Sends what fits without waiting.
pub(super) fn send_now(socket: &OwnedFd, bytes: &[u8]) {
    // Last words: nobody may be there to hear them.
    let _ = send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}

pub(super) fn shut(socket: &OwnedFd) {
    // It may be gone already.
    let _ = shutdown(socket, Shutdown::Both);
}

/// Reads for a while what nobody wants: closing a socket with bytes to read takes back the last ones that were sent.
pub(super) async fn drain(socket: &OwnedFd, time: Duration) {
    // As above.
    let _ = shutdown(socket, Shutdown::Write);
    let Ok(socket) = socket.try_clone() else { return };
    let Ok(stream) = TcpStream::from_std(socket.into()) else { return };
    let mut rest = stream.take(DRAIN);
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(time, tokio::io::copy(&mut rest, &mut sink)).await;
}
