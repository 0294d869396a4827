//! Answers: a value, an error with its class, or a stream of lines.

use super::types::{ErrorBody, Line};
use crate::error::{Fault, flatten};
use crate::ops::{Progress, ProgressSender};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::future::Future;
use tokio::sync::mpsc;

/// How many lines may wait for a client that reads slowly.
const QUEUE: usize = 256;

pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// An error on its way to a client.
pub struct Failure(Fault);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(flatten(&error))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: self.0 })).into_response()
    }
}

/// Runs the work on a task of its own and streams its progress and result. A client that hangs up does not stop the
/// work halfway.
pub(super) fn stream_work<T, Work, F>(work: Work) -> Response
where
    T: Serialize + Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
    Work: FnOnce(ProgressSender) -> F,
{
    let (progress, mut told) = mpsc::channel::<Progress>(QUEUE);
    let (lines, body) = mpsc::channel::<Bytes>(QUEUE);
    let work = work(ProgressSender::new(progress));
    tokio::spawn(async move {
        let task = tokio::spawn(work);
        loop {
            tokio::select! {
                line = told.recv() => match line {
                    Some(line) => if lines.send(encode(&Line::<()>::Progress(line))).await.is_err() { break },
                    None => break,
                },
                // Dropping `told` is how the work hears of it.
                () = lines.closed() => break,
            }
        }
        drop(told);
        let last = match task.await {
            Ok(Ok(value)) => encode(&Line::Result(value)),
            Ok(Err(error)) => encode(&Line::<()>::Error(flatten(&error))),
            Err(error) => {
                tracing::error!(%error, "a request ended in a panic: please report it");
                encode(&Line::<()>::Error(Fault::bug("the agent has a bug; see its log")))
            }
        };
        // Nobody may be left to hear it.
        let _ = lines.send(last).await;
    });
    ndjson(body)
}

/// An answer whose body is the lines of this queue.
pub(super) fn ndjson(lines: mpsc::Receiver<Bytes>) -> Response {
    let stream = futures_util::stream::unfold(lines, |mut lines| async move {
        lines.recv().await.map(|line| (Ok::<_, std::convert::Infallible>(line), lines))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(stream)).into_response()
}

pub(super) fn encode<T: Serialize>(line: &T) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
