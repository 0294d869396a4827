//! Connections to the API for users who are logged in at the gateway. The agent itself says which user each of them
//! belongs to.
//!
//! A command of the gateway has one socket to the agent, its channel. For each byte that the command writes there,
//! the agent opens one connection.
//! The channel and its connections end when the user's SSH connection ends, even if the command still runs.

use super::listen::Peer;
use crate::host::handover::send_descriptor;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// How many connections may wait to be served.
const QUEUE: usize = 64;

/// The gateway's end: it hands over the channel of each command here.
#[derive(Clone)]
pub(super) struct Broker {
    lines: mpsc::Sender<(Line, Peer)>,
    /// The runtime of the agent, which serves the connections. The gateway has threads of its own and only hands
    /// channels over.
    agent: Handle,
}

/// The agent's end: the connections that commands of the gateway opened.
pub(super) struct Channels(mpsc::Receiver<(Line, Peer)>);

/// A connection that came through a channel. It reads as closed once the user's SSH connection has ended.
pub(super) struct Line {
    stream: UnixStream,
    gone: Fuse<BoxFuture<'static, ()>>,
}

impl Line {
    fn new(stream: StdStream, connected: watch::Receiver<()>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, gone: gone(connected).boxed().fuse() })
    }

    fn has_gone(&mut self, context: &mut Context<'_>) -> bool {
        self.gone.is_terminated() || self.gone.poll_unpin(context).is_ready()
    }
}

/// Returns when the user's SSH connection has ended.
async fn gone(mut connected: watch::Receiver<()>) {
    while connected.changed().await.is_ok() {}
}

/// Makes both ends. Must be called on the agent's runtime.
pub(super) fn brokered() -> (Broker, Channels) {
    let (lines, receiver) = mpsc::channel(QUEUE);
    (Broker { lines, agent: Handle::current() }, Channels(receiver))
}

impl crate::ssh::gateway::Api for Broker {
    fn serve(&self, user: &str, channel: StdStream, connected: watch::Receiver<()>) {
        let (broker, user) = (self.clone(), user.to_owned());
        self.agent.spawn(async move {
            let answered = tokio::select! {
                answered = broker.answer(&user, channel, &connected) => answered,
                () = gone(connected.clone()) => Ok(()),
            };
            if let Err(error) = answered {
                tracing::debug!(user, %error, "a channel closed");
            }
        });
    }
}

impl Broker {
    /// Answers requests for connections until the command closes its channel.
    async fn answer(
        &self,
        user: &str,
        channel: StdStream,
        connected: &watch::Receiver<()>,
    ) -> io::Result<()> {
        channel.set_nonblocking(true)?;
        let mut channel = UnixStream::from_std(channel)?;
        let mut request = [0];
        while channel.read(&mut request).await? == 1 {
            let (theirs, ours) = StdStream::pair()?;
            let ours = Line::new(ours, connected.clone())?;
            if self.lines.send((ours, Peer::Gateway(user.to_owned()))).await.is_err() {
                return Ok(());
            }
            channel.async_io(Interest::WRITABLE, || send_descriptor(&channel, theirs.as_fd())).await?;
        }
        Ok(())
    }
}

impl Channels {
    pub(super) async fn accept(&mut self) -> (Line, Peer) {
        match self.0.recv().await {
            Some(connection) => connection,
            // The gateway is gone, and with it all who could connect.
            None => std::future::pending().await,
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_gone(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_gone(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::handover::receive_descriptor;
    use crate::ssh::gateway::Api as _;
    use std::io::{Read as _, Write as _};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;
    use tokio::task::spawn_blocking;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_a_command_has_open_ends_with_the_connection_of_its_user() {
        let (broker, mut channels) = brokered();
        let (connected, ours) = watch::channel(());
        let (mut channel, theirs) = StdStream::pair().unwrap();
        channel.set_read_timeout(Some(SOON)).unwrap();
        broker.serve("alice", theirs, ours);
        channel.write_all(b"x").unwrap();
        let (mut line, _) = channels.accept().await;
        let asking = channel.try_clone().unwrap();
        let call = spawn_blocking(move || receive_descriptor(asking)).await.unwrap().unwrap();
        StdStream::from(call.try_clone().unwrap()).write_all(b"ask").unwrap();
        let mut asked = [0; 3];
        line.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"ask");

        // It waits for more, and hears of the end.
        let waiting = tokio::spawn(async move { (line.read(&mut [0]).await, line.write_all(b"x").await) });
        tokio::task::yield_now().await;
        drop(connected);
        let (read, written) = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
        assert_eq!((read.unwrap(), written.unwrap_err().kind()), (0, io::ErrorKind::BrokenPipe));
        let request = spawn_blocking(move || {
            let _ = channel.write_all(b"x");
            channel.read(&mut [0])
        });
        // A reset, if the byte came in before the end.
        let ended = request.await.unwrap();
        assert!(
            ended.as_ref().map_or_else(|e| e.kind() == io::ErrorKind::ConnectionReset, |read| *read == 0),
            "{ended:?}"
        );
        assert!(channels.0.try_recv().is_err());
        drop(call);
    }
}
