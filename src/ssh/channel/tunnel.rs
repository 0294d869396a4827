//! Joins one channel and one socket: carries bytes both ways. Each direction ends by itself.
//!
//! The socket is read only as fast as the client's window allows. What the client sends waits in its
//! [`InputQueue`]. A tunnel does not know who opened it or where the socket leads.

use super::input::{InputQueue, Inputs, UntilDropped};
use crate::ssh::connection::activity::ChannelPlace;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

const CHUNK: usize = 64 << 10;
/// With less room left a new buffer is taken, so that small messages share one.
const LEAST_ROOM: usize = 4 << 10;

/// How long a socket may take to accept the data that waits for it after the client has closed the channel.
const LAST_BYTES: Duration = Duration::from_secs(30);

/// A connected socket of the container.
#[derive(Debug)]
pub(in crate::ssh) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The handler's end of a tunnel that the client opened. Dropping it ends the tunnel.
pub(in crate::ssh) struct Tunnel {
    pub(in crate::ssh) input: Arc<InputQueue>,
    alive: oneshot::Sender<()>,
}

impl Tunnel {
    /// Connects in the background, answers the client, and carries bytes until both directions have ended.
    /// What `connecting` gives beside the socket is kept as long as the tunnel.
    pub(in crate::ssh) fn open<K: Send>(
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        inputs: &Inputs,
        place: ChannelPlace,
        connecting: impl Future<Output = Result<(Socket, K), ChannelOpenFailure>> + Send + 'static,
    ) -> Self {
        let input = inputs.add(channel.id().into());
        let (alive, hangup) = oneshot::channel();
        // What the client sends comes to the handler, which puts it into the queue.
        let (_, writer) = channel.split();
        let queue = UntilDropped(Arc::clone(&input));
        tokio::spawn(async move {
            let mut hangup = hangup;
            let connected = tokio::select! {
                connected = connecting => connected,
                _ = &mut hangup => return,
            };
            match connected {
                Ok((socket, _kept)) => {
                    reply.accept().await;
                    carry(socket, &writer, &queue.0, &place, async { drop(hangup.await) }).await;
                }
                Err(failure) => reply.reject(failure).await,
            }
        });
        Self { input, alive }
    }

    /// Whether it has ended.
    pub(in crate::ssh) fn is_done(&self) -> bool {
        self.alive.is_closed()
    }
}

/// Carries bytes on a channel that was opened to the client. Returns when both directions have ended.
pub(in crate::ssh) async fn carry_to_client(
    socket: Socket,
    channel: Channel<Msg>,
    inputs: &Inputs,
    place: &ChannelPlace,
) {
    let input = UntilDropped(inputs.add(channel.id().into()));
    let (reader, writer) = channel.split();
    carry(socket, &writer, &input.0, place, receive(reader, &input.0)).await;
}

/// Puts what comes on the channel into the queue. Returns when the client has closed the channel, or ignores its
/// window.
async fn receive(mut reader: ChannelReadHalf, input: &InputQueue) {
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if input.push(&data).is_err() {
                    return;
                }
            }
            Some(ChannelMsg::Eof) => input.end(),
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    }
}

async fn carry(
    socket: Socket,
    writer: &ChannelWriteHalf<Msg>,
    input: &InputQueue,
    place: &ChannelPlace,
    closed: impl Future<Output = ()>,
) {
    match socket {
        Socket::Tcp(stream) => join(stream.into_split(), writer, input, place, closed).await,
        Socket::Unix(stream) => join(stream.into_split(), writer, input, place, closed).await,
    }
}

async fn join(
    (from, to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    writer: &ChannelWriteHalf<Msg>,
    input: &InputQueue,
    place: &ChannelPlace,
    closed: impl Future<Output = ()>,
) {
    let mut delivering = pin!(deliver(input, writer, to).fuse());
    let ended = {
        let both = async { tokio::join!(send(from, writer, place), &mut delivering).0 };
        tokio::select! {
            sent = both => Some(sent),
            () = closed => None,
        }
    };
    match ended {
        // With the connection gone there is nobody to tell.
        Some(sent) => drop(if sent.is_ok() { writer.close().await } else { sent }),
        // A client closes when it has sent everything: what it sent must still arrive.
        None if !delivering.is_terminated() => {
            input.end();
            let _ = tokio::time::timeout(LAST_BYTES, delivering).await;
        }
        None => {}
    }
}

/// Carries bytes from the socket to the client. A socket with an error counts as ended.
async fn send(
    mut from: impl AsyncRead + Unpin,
    writer: &ChannelWriteHalf<Msg>,
    place: &ChannelPlace,
) -> Result<(), russh::Error> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < LEAST_ROOM {
            buffer.reserve(CHUNK);
        }
        match from.read_buf(&mut buffer).await {
            Ok(count @ 1..) => {
                place.sent(count);
                writer.data_bytes(buffer.split().freeze()).await?;
            }
            Ok(0) | Err(_) => return writer.eof().await,
        }
    }
}

/// From the client to the socket.
async fn deliver(input: &InputQueue, writer: &ChannelWriteHalf<Msg>, mut to: impl AsyncWrite + Unpin) {
    let delivered: io::Result<()> = async {
        while let Some(data) = input.take().await {
            input.reopen(writer).await;
            to.write_all(&data).await?;
        }
        to.shutdown().await
    }
    .await;
    if delivered.is_err() {
        input.refuse();
        input.reopen(writer).await;
    }
}
