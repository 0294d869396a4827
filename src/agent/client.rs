//! The client side of the API: what the command line uses.

use super::types::{ErrorBody, Line};
use crate::error::{Fault, FaultKind};
use crate::host::handover::receive_descriptor;
use crate::ops::Progress;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// The longest answer that is not streamed. The agent never sends a longer one.
const ANSWER_LIMIT: usize = 64 << 20;
/// The longest line of a streamed answer.
const LINE_LIMIT: usize = 1 << 20;
/// How long a call that does no long work may take.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a call waits for an agent that has no free place for the connection.
const FULL_PATIENCE: Duration = Duration::from_secs(5);
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// A client of one agent; each call is a connection.
pub struct Client {
    way: Way,
}

enum Way {
    Socket(PathBuf),
    /// The channel of a command of the gateway: the agent opens one connection for each byte that is written to it.
    Channel(Arc<StdStream>),
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self { way: Way::Socket(socket) }
    }

    pub fn through(channel: Arc<StdStream>) -> Self {
        Self { way: Way::Channel(channel) }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::POST, path, serde_json::to_vec(body)?.into()).await
    }

    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PATCH, path, serde_json::to_vec(body)?.into()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T> {
        let answer = async {
            let response = self.send(method, path, body).await?;
            let ok = response.status().is_success();
            let bytes = whole(response).await?;
            if ok { decode(&bytes) } else { Err(decode::<ErrorBody>(&bytes)?.error.into()) }
        };
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::host(format!(
                "the agent did not answer within {} seconds",
                CALL_TIMEOUT.as_secs()
            ))
            .help("its log says what it is doing: journalctl -u berth")
            .into()),
        }
    }

    /// A call whose answer tells progress first and ends with a result or an error.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let mut lines = self.lines(method, path, body.into()).await?;
        while let Some(line) = lines.next().await? {
            match decode(&line)? {
                Line::Progress(progress) => on_progress(progress),
                Line::Result(value) => return Ok(value),
                Line::Error(fault) => return Err(fault.into()),
            }
        }
        Err(Fault::host("the agent broke off before it had finished")
            .of(FaultKind::AgentAway)
            .help("it may have been stopped; `berth list` shows what there is, and its log what happened")
            .into())
    }

    /// A call that answers with any number of lines.
    pub async fn lines(&self, method: Method, path: &str, body: Bytes) -> Result<Lines> {
        let response = self.send(method, path, body).await?;
        if !response.status().is_success() {
            return Err(decode::<ErrorBody>(&whole(response).await?)?.error.into());
        }
        Ok(Lines { body: response.into_body(), pending: Vec::new(), ended: false })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let stream = match &self.way {
            Way::Socket(socket) => connect(socket).await?,
            Way::Channel(channel) => pass(channel)?,
        };
        let mut sender = shake_hands(stream).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "berth")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .context("making a call to the agent")?;
        let sent = sender.send_request(request).await;
        Ok(sent.map_err(|error| {
            Fault::host(format!("the agent broke off: {error}")).of(FaultKind::AgentAway).help(
                "it may have more callers than it can answer, or have been stopped: try again in a moment",
            )
        })?)
    }
}

/// Connects. Waits a while where the agent runs and its queue of connections is full.
async fn connect(socket: &Path) -> Result<UnixStream, Fault> {
    let deadline = tokio::time::Instant::now() + FULL_PATIENCE;
    loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::WouldBlock if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(FULL_PAUSE).await;
            }
            ErrorKind::WouldBlock => {
                return Err(Fault::busy(format!(
                    "the agent at {} has more callers than it can let in",
                    socket.display()
                ))
                .help("try again in a moment"));
            }
            ErrorKind::PermissionDenied => {
                return Err(Fault::host(format!("{} cannot be used: {error}", socket.display())).help(
                    "every account may use it where berth made it: look at its mode and its directory's",
                ));
            }
            _ => {
                return Err(Fault::host(format!("no agent answers at {}: {error}", socket.display()))
                    .of(FaultKind::AgentAway)
                    .help("start it: systemctl start berth, or berth agent --config FILE"));
            }
        }
    }
}

fn pass(mut channel: &StdStream) -> Result<UnixStream, Fault> {
    let mut request = || -> std::io::Result<UnixStream> {
        channel.set_read_timeout(Some(CALL_TIMEOUT))?;
        channel.write_all(&[0])?;
        let stream = StdStream::from(receive_descriptor(channel)?);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    };
    request().map_err(|error| Fault::host(format!("the agent does not answer: {error}")).help("log in again"))
}

async fn shake_hands(stream: UnixStream) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| Fault::host(error.to_string()))?;
    // Its errors come back through the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// The whole body of an answer that is not streamed.
async fn whole(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    Ok(body.map_err(|error| Fault::host(format!("reading the agent's answer: {error}")))?.to_bytes())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::host(format!("the agent's answer is not understood: {error}"))
            .help(
                "is this berth older or newer than its agent? compare `berth --version` with the agent's log",
            )
            .into()
    })
}

/// The lines of a streamed answer.
pub struct Lines {
    body: Incoming,
    pending: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next line; `None` at the end of the answer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end + 1);
                let line = std::mem::replace(&mut self.pending, rest);
                return Ok(Some(line));
            }
            if self.ended {
                let line = std::mem::take(&mut self.pending);
                return Ok(Some(line).filter(|line| !line.is_empty()));
            }
            if self.pending.len() > LINE_LIMIT {
                return Err(Fault::host("the agent's answer is not understood: a line without an end").into());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.pending.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    let fault = Fault::host(format!("the agent broke off: {error}"));
                    return Err(fault.of(FaultKind::AgentAway).into());
                }
                None => self.ended = true,
            }
        }
    }
}
