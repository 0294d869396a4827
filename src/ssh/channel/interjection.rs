//! Lines that the server itself writes into the output of a terminal, between what its programs write.
//!
//! They come between two pieces of output, and not inside an escape sequence or a character where the last bytes of
//! the output show that one is open. Then the line waits for the rest, but not for long. A program that has the
//! whole screen draws over it, as over `wall`.

use bytes::Bytes;
use std::time::Duration;
use tokio::sync::watch;

/// How much of the output is looked back at. A window title may be longer; then a line may come inside it.
const KEPT: usize = 64;
/// How long a line waits for the rest of an escape sequence.
const PATIENCE: Duration = Duration::from_secs(1);
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The lines for one terminal; none for what is no terminal.
#[derive(Default)]
pub(super) struct Interjections {
    lines: Option<watch::Receiver<Bytes>>,
    waiting: Option<Bytes>,
    /// The end of the output.
    tail: Vec<u8>,
}

impl Interjections {
    /// Only what is told from now on.
    pub(super) fn new(lines: Option<watch::Receiver<Bytes>>) -> Self {
        let mut lines = lines;
        if let Some(lines) = &mut lines {
            lines.mark_unchanged();
        }
        Self { lines, ..Self::default() }
    }

    /// To be told of each piece of output.
    pub(super) fn saw(&mut self, output: &[u8]) {
        if self.lines.is_none() {
            return;
        }
        let from = output.len().saturating_sub(KEPT);
        self.tail.extend_from_slice(output.get(from..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(KEPT));
    }

    /// A line that can be written now, between two pieces of output.
    pub(super) fn due(&mut self) -> Option<Bytes> {
        let lines = self.lines.as_mut()?;
        if lines.has_changed().unwrap_or(false) {
            self.waiting = Some(lines.borrow_and_update().clone());
        }
        if self.waiting.is_some() && is_open(&self.tail) { None } else { self.waiting.take() }
    }

    /// Waits for a line that can be written. May be dropped and called again: no line is lost.
    pub(super) async fn next(&mut self) -> Bytes {
        loop {
            if let Some(line) = self.due() {
                return line;
            }
            if self.waiting.is_some() {
                tokio::time::sleep(PATIENCE).await;
                if let Some(line) = self.waiting.take() {
                    return line;
                }
            }
            let news = match &mut self.lines {
                Some(lines) => lines.changed().await.map(|()| lines.borrow_and_update().clone()),
                None => std::future::pending().await,
            };
            match news {
                Ok(line) => self.waiting = Some(line),
                // Nobody tells any more.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Whether an escape sequence or a character goes on after these bytes.
fn is_open(tail: &[u8]) -> bool {
    let Some(start) = tail.iter().rposition(|byte| *byte == ESCAPE) else { return is_in_character(tail) };
    let sequence = tail.get(start + 1..).unwrap_or_default();
    match sequence.split_first() {
        None => true,
        // Parameters, and then a letter.
        Some((b'[', rest)) => !rest.iter().any(|byte| (0x40..=0x7e).contains(byte)),
        // A string up to BEL, or to an ESCAPE, which would be the last one.
        Some((b']' | b'P' | b'X' | b'^' | b'_', rest)) => !rest.contains(&BELL),
        // One more byte.
        Some((b' '..=b'/', rest)) => rest.is_empty(),
        Some(_) => is_in_character(sequence),
    }
}

fn is_in_character(bytes: &[u8]) -> bool {
    let last = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
    let Some(lead) = last.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return false };
    let length = match last.get(lead) {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    last.len() - lead < length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_seen_at_its_end() {
        for open in [
            &b"\x1b"[..],
            b"text\x1b[",
            b"\x1b[38;5;12",
            b"\x1b]0;a title",
            b"\x1bP1$r",
            b"\x1b(",
            "字".as_bytes().get(..2).unwrap(),
            "a😀".as_bytes().get(..4).unwrap(),
        ] {
            assert!(is_open(open), "{open:?}");
        }
        for whole in [
            &b""[..],
            b"text\r\n",
            b"\x1b[38;5;12m$ ",
            b"\x1b]0;a title\x07$ ",
            b"\x1b]0;a title\x1b\\",
            b"\x1b(B",
            b"\x1b7",
            b"\xff\xfe",
            "字😀é".as_bytes(),
        ] {
            assert!(!is_open(whole), "{whole:?}");
        }
    }

    #[tokio::test]
    async fn a_line_waits_for_the_rest_of_a_sequence_and_is_not_lost() {
        let told = watch::Sender::new(Bytes::from_static(b"old"));
        let mut lines = Interjections::new(Some(told.subscribe()));
        assert_eq!(lines.due(), None, "what was told before is not told again");
        lines.saw(b"\x1b[3");
        told.send_replace(Bytes::from_static(b"new"));
        assert_eq!(lines.due(), None);
        // Dropped in the middle of its wait, as by more output.
        assert!(tokio::time::timeout(PATIENCE / 2, lines.next()).await.is_err());
        lines.saw(b"8m");
        assert_eq!(lines.due().as_deref(), Some(&b"new"[..]));
        // Where the rest never comes, the line comes all the same.
        lines.saw(b"\x1b[");
        told.send_replace(Bytes::from_static(b"newer"));
        assert_eq!(&lines.next().await[..], b"newer");
        assert_eq!(lines.due(), None);
        // What is no terminal is told nothing.
        let mut none = Interjections::new(None);
        assert!(tokio::time::timeout(PATIENCE / 10, none.next()).await.is_err());
    }
}
