//! A session's program as its channel sees it: how it is started, its streams, its signals. An implementation of
//! [`Launch`] decides which account it runs as.

use super::session::ProgramPlan;
use super::terminal::{Control, Terminal};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::process::Child;
use tokio::sync::watch;

pub(in crate::ssh) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(in crate::ssh) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A running program with its streams.
pub(in crate::ssh) struct Program {
    pub(in crate::ssh) child: Child,
    pub(in crate::ssh) input: Writer,
    pub(in crate::ssh) output: Reader,
    /// Apart from the output, unless there is a terminal.
    pub(in crate::ssh) errors: Option<Reader>,
    pub(in crate::ssh) terminal: Option<Control>,
    pub(in crate::ssh) group: Group,
}

impl Program {
    /// With a text before its own output.
    pub(in crate::ssh) fn after(self, text: String) -> Self {
        Self { output: Box::new(io::Cursor::new(text).chain(self.output)), ..self }
    }
}

/// The program's process group. Valid until the program was waited for.
#[derive(Debug, Clone, Copy)]
pub(in crate::ssh) struct Group(Option<Pid>);

impl Group {
    pub(in crate::ssh) fn leader(self) -> Option<Pid> {
        self.0
    }

    pub(in crate::ssh) fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw))
    }

    pub(in crate::ssh) fn signal(self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It has no group of its own yet, or has just ended; then there is nobody to tell.
            let _ = killpg(pid, signal).or_else(|_| kill(pid, signal));
        }
    }
}

/// What a session's program is and how it starts. This is the only difference between sessions of the server inside
/// and of the gateway.
pub(in crate::ssh) trait Launch: Send + Sync + 'static {
    /// The user of the session, for the log.
    fn who(&self) -> &str;
    /// A file of keys that the program may write to, though berth ignores it; `None` where there is none.
    fn keys_file(&self) -> Option<PathBuf> {
        None
    }
    /// Lines that the server writes into the session, where that has a terminal.
    fn notices(&self) -> Option<watch::Receiver<Bytes>> {
        None
    }
    fn launch(&self, plan: ProgramPlan, terminal: Option<Terminal>) -> Launching<'_>;
}

pub(in crate::ssh) type Launching<'a> = Pin<Box<dyn Future<Output = io::Result<Program>> + Send + 'a>>;

/// Starts it, at a terminal where there is one.
pub(in crate::ssh) fn spawn(
    mut command: tokio::process::Command,
    terminal: Option<Terminal>,
) -> io::Result<Program> {
    let control = if let Some(terminal) = terminal {
        command.stdin(terminal.user_end.try_clone()?).stdout(terminal.user_end.try_clone()?);
        command.stderr(terminal.user_end);
        Some(terminal.control)
    } else {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        None
    };
    let mut child = command.spawn()?;
    // Our copies of the terminal's other end must go, or its end would never be seen.
    drop(command);
    let group = Group::of(&child);
    let missing = || io::Error::other("a stream is missing");
    let (input, output, errors): (Writer, Reader, Option<Reader>) = if let Some(control) = &control {
        let (input, output) = control.streams()?;
        (Box::new(input), Box::new(output), None)
    } else {
        (
            Box::new(child.stdin.take().ok_or_else(missing)?),
            Box::new(child.stdout.take().ok_or_else(missing)?),
            Some(Box::new(child.stderr.take().ok_or_else(missing)?)),
        )
    };
    Ok(Program { child, input, output, errors, terminal: control, group })
}
