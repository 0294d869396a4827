//! TCP as both servers want it. It knows nothing of SSH.

use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How often the kernel asks a client that says nothing.
const ASK_EVERY: Duration = Duration::from_secs(75);
/// As far as the kernel counts, in milliseconds.
const LONGEST: u32 = i32::MAX.unsigned_abs();
/// Of a client that is being sent away, no more than this is read.
const DRAIN: u64 = 1 << 20;

pub(in crate::ssh) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Sets the options of a connection; returns our end's address. The kernel ends it after that much time without an
/// acknowledgement; zero is never, as far as the kernel can count.
pub(in crate::ssh) fn prepare(stream: &TcpStream, dead_after: Duration) -> io::Result<SocketAddr> {
    use rustix::net::sockopt as tcp;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    tcp::set_tcp_keepidle(stream, ASK_EVERY)?;
    tcp::set_tcp_keepintvl(stream, ASK_EVERY)?;
    // With it set, neither the number of questions nor that of retransmissions ends a connection.
    let milliseconds = match u32::try_from(dead_after.as_millis()) {
        Ok(some @ 1..LONGEST) => some,
        _ => LONGEST,
    };
    tcp::set_tcp_user_timeout(stream, milliseconds)?;
    stream.local_addr()
}

/// Sends what fits without waiting.
pub(in crate::ssh) fn send_now(socket: &OwnedFd, bytes: &[u8]) {
    // Last words: nobody may be there to hear them.
    let _ = send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}

pub(in crate::ssh) fn shut(socket: &OwnedFd) {
    // It may be gone already.
    let _ = shutdown(socket, Shutdown::Both);
}

/// Reads for a while what nobody wants: closing a socket with bytes to read takes back the last ones that were sent.
pub(in crate::ssh) async fn drain(socket: &OwnedFd, time: Duration) {
    // As above.
    let _ = shutdown(socket, Shutdown::Write);
    let Ok(socket) = socket.try_clone() else { return };
    let Ok(stream) = TcpStream::from_std(socket.into()) else { return };
    let mut rest = stream.take(DRAIN);
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(time, tokio::io::copy(&mut rest, &mut sink)).await;
}
