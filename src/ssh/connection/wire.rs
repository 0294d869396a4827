//! Watches the bytes between a connection and russh until keys are exchanged: how far the login has come, and
//! whether an unencrypted packet would still be understood. After that it only notes when something last came. It
//! changes no byte.

use super::admission::{Place, Stage};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How far one connection has come with its login.
pub(in crate::ssh) struct LoginProgress {
    /// Gone with the login.
    place: Mutex<Option<Place>>,
    /// We have sent our version.
    greeted: AtomicBool,
    /// What we send is encrypted from here on.
    sealed: AtomicBool,
    /// The client's version line.
    client: OnceLock<String>,
    start: Instant,
    /// When something last came, in milliseconds since `start`.
    heard: AtomicU64,
}

impl LoginProgress {
    pub(in crate::ssh) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self {
            place: Mutex::new(Some(place)),
            greeted: AtomicBool::default(),
            sealed: AtomicBool::default(),
            client: OnceLock::new(),
            start: Instant::now(),
            heard: AtomicU64::default(),
        })
    }

    pub(in crate::ssh) fn reach(&self, stage: Stage) {
        if let Some(place) = &*self.place.lock().unwrap_or_else(PoisonError::into_inner) {
            place.reach(stage);
        }
    }

    /// Gives the place back. Another time it does nothing.
    pub(in crate::ssh) fn log_in(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(in crate::ssh) fn is_logged_in(&self) -> bool {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(in crate::ssh) fn has_greeted(&self) -> bool {
        self.greeted.load(Ordering::Acquire)
    }

    /// The version line that the client sent, once it is whole.
    pub(in crate::ssh) fn client(&self) -> Option<String> {
        self.client.get().cloned()
    }

    fn hear(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// For how long nothing has come.
    pub(in crate::ssh) fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    pub(in crate::ssh) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }
}

/// A stream that notes how the login goes on.
pub(in crate::ssh) struct Wire<S> {
    stream: S,
    progress: Arc<LoginProgress>,
    read: Option<Clear>,
    written: Option<Clear>,
    /// What came since the keys were exchanged; `None` once somebody has logged in.
    before_login: Option<usize>,
}

/// A login takes a few KiB. Whoever sends more before it lets the server exchange keys again and again, which nothing
/// else counts and costs the server far more than the client.
const MOST_BEFORE_LOGIN: usize = 64 << 10;

impl<S> Wire<S> {
    pub(in crate::ssh) fn new(stream: S, progress: Arc<LoginProgress>) -> Self {
        let clear = || Some(Clear::default());
        Self { stream, progress, read: clear(), written: clear(), before_login: Some(0) }
    }

    /// Whether so much may come before the login.
    fn is_bounded(&mut self, more: usize) -> bool {
        let Some(before) = self.before_login.filter(|_| self.read.is_none()) else { return true };
        let before = before.saturating_add(more);
        self.before_login = (!self.progress.is_logged_in()).then_some(before);
        self.before_login.is_none_or(|before| before <= MOST_BEFORE_LOGIN)
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let Some(clear) = &mut self.read else { return };
        clear.follow(bytes);
        if clear.has_version && self.progress.client.get().is_none() {
            let line = String::from_utf8_lossy(&clear.line).trim_end().to_owned();
            let _ = self.progress.client.set(line);
        }
        match (clear.has_version, clear.packets) {
            (false, _) => return,
            (true, 0) => self.progress.reach(Stage::Greeted),
            (true, 1) => self.progress.reach(Stage::Offered),
            (true, _) => self.progress.reach(Stage::Exchanging),
        }
        if clear.is_over {
            self.read = None;
        }
    }

    fn note_written(&mut self, bytes: &[u8]) {
        let Some(clear) = &mut self.written else { return };
        clear.follow(bytes);
        self.progress.greeted.store(clear.has_version, Ordering::Release);
        if clear.is_over {
            self.progress.sealed.store(true, Ordering::Release);
            self.written = None;
        }
    }
}

/// What passes in the clear in one direction: a line, then packets up to NEWKEYS.
#[derive(Debug, Default)]
struct Clear {
    has_version: bool,
    /// The line, as far as it has come and is no longer than a version may be.
    line: Vec<u8>,
    /// Whole packets, without NEWKEYS.
    packets: u32,
    /// Length, length of the padding and type of the packet that comes.
    head: Vec<u8>,
    /// As many bytes of the packet are still to come.
    rest: usize,
    is_over: bool,
}

impl Clear {
    const HEAD: usize = 6;
    const LINE: usize = 255;
    const NEW_KEYS: u8 = 21;

    fn follow(&mut self, mut bytes: &[u8]) {
        if !self.has_version {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let room = Self::LINE.saturating_sub(self.line.len());
            self.line.extend(bytes.iter().take(end.unwrap_or(bytes.len()).min(room)));
            let Some(end) = end else { return };
            self.has_version = true;
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
        while !bytes.is_empty() && !self.is_over {
            let skipped = self.rest.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.rest -= skipped;
            if skipped > 0 && self.rest == 0 {
                self.packets = self.packets.saturating_add(1);
            }
            let taken = (Self::HEAD - self.head.len()).min(bytes.len());
            self.head.extend(bytes.iter().take(taken));
            bytes = bytes.get(taken..).unwrap_or_default();
            if let [a, b, c, d, _, kind] = *self.head.as_slice() {
                self.head.clear();
                let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                // A packet that is too short or too long ends the connection, and nothing matters any more.
                self.rest = length.saturating_sub(2);
                self.is_over = kind == Self::NEW_KEYS || self.rest == 0;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if !bytes.is_empty() {
            self.progress.hear();
            if !self.is_bounded(bytes.len()) {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::QuotaExceeded)));
            }
            self.note_read(bytes);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let (Poll::Ready(Ok(count)), true) = (&written, self.written.is_some()) {
            self.note_written(bytes.get(..*count).unwrap_or_default());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.written.is_none() {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        let first = parts.iter().find(|part| !part.is_empty()).map_or(&[] as &[u8], |part| part);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, payload: usize) -> Vec<u8> {
        let mut packet = u32::try_from(payload + 2 + 4).unwrap().to_be_bytes().to_vec();
        packet.extend([4, kind]);
        packet.resize(packet.len() + payload + 4, 7);
        packet
    }

    #[test]
    fn packets_are_counted_however_they_are_cut() {
        let mut bytes = b"SSH-2.0-x\r\n".to_vec();
        bytes.extend(packet(20, 1000));
        bytes.extend(packet(30, 32));
        let before = bytes.len();
        bytes.extend(packet(21, 0));
        bytes.extend(b"\xff\xff\xff\xffencrypted");
        for cut in [1, 2, 3, 7, 1000, usize::MAX] {
            let mut clear = Clear::default();
            let mut seen = 0;
            for piece in bytes.chunks(cut.min(bytes.len())) {
                clear.follow(piece);
                seen += piece.len();
                assert!(!clear.is_over || seen > before, "{cut}");
            }
            assert!(clear.has_version && clear.is_over && clear.packets == 2, "{cut}: {clear:?}");
            assert_eq!(clear.line, b"SSH-2.0-x\r", "{cut}");
        }
    }

    #[tokio::test]
    async fn before_its_login_nobody_sends_without_end() {
        use crate::ssh::connection::admission::Places;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for logs_in in [false, true] {
            let (place, _) = Places::new(1).admit([127, 0, 0, 1].into(), || ());
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let mut wire = Wire::new(server, LoginProgress::new(place));
            client.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            client.write_all(&packet(Clear::NEW_KEYS, 0)).await.unwrap();
            let mut buffer = vec![0; 4096];
            assert!(wire.read(&mut buffer).await.unwrap() > 0);
            if logs_in {
                wire.progress.log_in();
            }
            client.write_all(&vec![7; 2 * MOST_BEFORE_LOGIN]).await.unwrap();
            let mut came = 0;
            let ended = loop {
                match wire.read(&mut buffer).await {
                    Ok(count) => came += count,
                    Err(error) => break Some(error.kind()),
                }
                if came >= 2 * MOST_BEFORE_LOGIN {
                    break None;
                }
            };
            let expected = (!logs_in).then_some(io::ErrorKind::QuotaExceeded);
            assert_eq!(ended, expected, "{came}");
            assert!(logs_in || came <= MOST_BEFORE_LOGIN);
        }
    }

    #[test]
    fn nonsense_is_only_counted() {
        let mut clear = Clear::default();
        for _ in 0..1000 {
            clear.follow(b"no line, ever");
        }
        assert!(!clear.has_version && clear.line.len() == Clear::LINE);
        clear.follow(b"\n\xff\xff\xff\xff");
        clear.follow(&[0; 5000]);
        assert!(clear.packets == 0 && clear.head.is_empty() && !clear.is_over);
    }
}
