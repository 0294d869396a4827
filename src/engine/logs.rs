//! What a container writes: each line of its standard output as it comes, or the newest lines of both streams, with
//! the engine's time.
//!
//! The content of a line is not trusted. The time before it is the engine's, not the container's.

use super::client::{Engine, SHORT};
use super::lifecycle::{checked, short};
use anyhow::{Context as _, Result};
use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use std::collections::VecDeque;

/// One line without its newline. The engine splits a long line into several pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    pub at: Timestamp,
    pub text: String,
}

impl Engine {
    /// The number of pieces up to and including the last one that has one of these times; 0 where none has.
    pub async fn pieces_until(&self, id: &str, times: &[Timestamp]) -> Result<usize> {
        if times.is_empty() {
            return Ok(0);
        }
        let mut pieces = std::pin::pin!(self.pieces(id, false).enumerate());
        let mut until = 0;
        while let Some((at, piece)) = pieces.next().await {
            if piece?.is_some_and(|line| times.contains(&line.at)) {
                until = at + 1;
            }
        }
        Ok(until)
    }

    /// The newest pieces of both streams, oldest first: at most `lines` of them, and not much more than `bytes`.
    pub async fn newest_output(&self, id: &str, lines: u32, bytes: usize) -> Result<Vec<OutputLine>> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(&lines.to_string())
            .build();
        let docker = self.docker();
        let mut stream = docker.logs(checked(id)?, Some(options));
        let read = async {
            let (mut kept, mut size) = (VecDeque::new(), 0);
            while let Some(part) = stream.next().await {
                let Some(line) = read_line(&part?.into_bytes()) else { continue };
                size += line.text.len();
                kept.push_back(line);
                while size > bytes && kept.len() > 1 {
                    size -= kept.pop_front().map_or(0, |line: OutputLine| line.text.len());
                }
            }
            Ok(Vec::from(kept))
        };
        self.call(SHORT, read).await.with_context(|| format!("reading what container {} wrote", short(id)))
    }

    /// The lines after the first `skip` pieces: those that were written already, then each new one until the
    /// container stops.
    pub fn follow_output(&self, id: &str, skip: usize) -> impl Stream<Item = Result<OutputLine>> + use<> {
        self.pieces(id, true).skip(skip).filter_map(|piece| std::future::ready(piece.transpose()))
    }

    /// What was written to both streams after `since`, then each new line until the container stops.
    pub fn follow_since(&self, id: &str, since: Timestamp) -> impl Stream<Item = Result<OutputLine>> + use<> {
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            // Whole seconds are all that the engine can be asked for.
            .since(i32::try_from(since.as_second()).unwrap_or(0))
            .build();
        self.parts(id, options).filter_map(move |part| {
            let line = match part {
                Ok(part) => read_line(&part.into_bytes()).filter(|line| line.at > since).map(Ok),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(line)
        })
    }

    /// The pieces of standard output; `None` in place of a piece without a time.
    fn pieces(&self, id: &str, follow: bool) -> impl Stream<Item = Result<Option<OutputLine>>> + use<> {
        let options =
            LogsOptionsBuilder::default().follow(follow).stdout(true).stderr(false).timestamps(true).build();
        self.parts(id, options).filter_map(|part| {
            let piece = match part {
                Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                    Some(Ok(read_line(&message)))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            };
            std::future::ready(piece)
        })
    }

    fn parts(&self, id: &str, options: LogsOptions) -> impl Stream<Item = Result<LogOutput>> + use<> {
        let (engine, id) = (self.clone(), id.to_owned());
        self.docker().logs(&id, Some(options)).map(move |part| {
            part.map_err(|error| engine.fault(&error))
                .with_context(|| format!("following what container {id} writes"))
        })
    }
}

/// Reads one line such as `2025-01-02T03:04:05.123456789Z text`.
fn read_line(bytes: &[u8]) -> Option<OutputLine> {
    let text = String::from_utf8_lossy(bytes);
    let (at, text) = text.split_once(' ')?;
    Some(OutputLine { at: at.parse().ok()?, text: text.trim_end_matches(['\r', '\n']).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_engines_time() {
        let line = read_line(b"2025-01-02T03:04:05.000000009Z {\"a\": 1}\n").unwrap();
        assert_eq!(
            (line.at.to_string().as_str(), line.text.as_str()),
            ("2025-01-02T03:04:05.000000009Z", "{\"a\": 1}")
        );
        for odd in [&b""[..], b"\xff\xff", b"no time", b"2025-01-02T03:04:05Z"] {
            assert_eq!(read_line(odd), None);
        }
    }
}
