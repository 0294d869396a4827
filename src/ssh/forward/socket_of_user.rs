//! Unix sockets, connected or listening, with the rights of the session user and no others.
//!
//! A short process does it: root's own connect and bind would go past the permissions that protect other users'
//! sockets and directories in the container. It hands the descriptor over; bytes never pass through it.
//! For a listener it stays until our end of its standard input is closed, and then removes what it made.

use crate::host::handover::{receive_with, send_with};
use crate::ssh::user::account::Account;
use crate::ssh::user::become_user::{Become, own_program};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// A connection waits that long with all its channels when a client asks to be listened for at a path that hangs.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer: a path, or why not.
const ANSWER: usize = 4096;

/// Which socket is wanted.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SocketOrder {
    /// Connect to a socket
    Connect { path: PathBuf },
    /// Listen at a path that nobody listens at
    Listen { path: PathBuf },
    /// Listen in a new directory of its own
    Agent,
}

impl SocketOrder {
    fn words(&self) -> Vec<OsString> {
        let (word, path) = match self {
            Self::Connect { path } => ("connect", Some(path)),
            Self::Listen { path } => ("listen", Some(path)),
            Self::Agent => ("agent", None),
        };
        let mut words = vec!["inside".into(), "socket".into(), word.into(), "--".into()];
        words.extend(path.map(Into::into));
        words
    }
}

/// A socket of the user. A listener's path is gone some time after this is dropped.
#[derive(Debug)]
pub(in crate::ssh) struct Made {
    socket: OwnedFd,
    pub(in crate::ssh) path: PathBuf,
    keeper: UnixStream,
}

impl Made {
    pub(super) fn into_stream(self) -> io::Result<UnixStream> {
        let stream = StdStream::from(self.socket);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }

    /// The listener, and what keeps its path.
    pub(super) fn into_listener(self) -> io::Result<(UnixListener, UnixStream)> {
        let listener = StdListener::from(self.socket);
        listener.set_nonblocking(true)?;
        Ok((UnixListener::from_std(listener)?, self.keeper))
    }
}

/// Has the socket made by a process of the user.
pub(in crate::ssh) async fn socket_of_user(account: &Account, order: &SocketOrder) -> io::Result<Made> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let keeper = UnixStream::from_std(ours)?;
    let mut command = Become::new(account, Path::new("/"), &own_program()).arguments(order.words()).command();
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    // Whoever waits for the socket may go away first.
    command.kill_on_drop(true);
    let mut child = command.spawn()?;
    // Its end of the pair must be in no process but the child.
    drop(command);
    let answer = timeout(PATIENCE, receive(&keeper)).await;
    if answer.is_err() {
        let _ = child.start_kill();
    }
    tokio::spawn(async move { child.wait().await });
    let (socket, path) =
        answer.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 3 s"))??;
    Ok(Made { socket, path, keeper })
}

async fn receive(from: &UnixStream) -> io::Result<(OwnedFd, PathBuf)> {
    loop {
        from.readable().await?;
        match from.try_io(Interest::READABLE, || receive_once(from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

fn receive_once(from: &UnixStream) -> io::Result<(OwnedFd, PathBuf)> {
    let mut answer = [0; ANSWER];
    let (count, socket) = receive_with(from, &mut answer)?;
    match (answer.get(..count).unwrap_or_default(), socket) {
        ([b'y', path @ ..], Some(socket)) => Ok((socket, OsString::from_vec(path.to_vec()).into())),
        ([b'n', reason @ ..], _) => Err(io::Error::other(String::from_utf8_lossy(reason).into_owned())),
        _ => Err(io::Error::other("the session user may not run this program")),
    }
}

/// `berth inside socket …`: makes the socket and hands it over on standard input.
pub fn serve_socket(order: SocketOrder) -> io::Result<()> {
    // What others must not see is closed to them from the start.
    umask(Mode::from_bits_truncate(0o177));
    match order {
        SocketOrder::Connect { path } => match StdStream::connect(&path) {
            Ok(socket) => hand_over(&socket, &path),
            Err(error) => refuse(&error),
        },
        SocketOrder::Listen { path } => match bind(&path) {
            Ok(socket) => {
                let made = std::fs::symlink_metadata(&path)?;
                hand_over(&socket, &path)?;
                wait_for_the_end()?;
                // Somebody else may listen there by now.
                if std::fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == made.ino()) {
                    std::fs::remove_file(&path)?;
                }
                Ok(())
            }
            Err(error) => refuse(&error),
        },
        SocketOrder::Agent => listen_as_agent(),
    }
}

fn listen_as_agent() -> io::Result<()> {
    // The directory needs its x bit.
    umask(Mode::from_bits_truncate(0o077));
    let made = tempfile::Builder::new().prefix("berth-agent-").tempdir().and_then(|directory| {
        let path = directory.path().join("agent.sock");
        Ok((StdListener::bind(&path)?, path, directory))
    });
    match made {
        Ok((socket, path, directory)) => {
            hand_over(&socket, &path)?;
            wait_for_the_end()?;
            directory.close()
        }
        Err(error) => refuse(&error),
    }
}

/// A socket that nobody answers at is what a connection that broke off left behind.
fn bind(path: &Path) -> io::Result<StdListener> {
    let is_left_behind = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && connects_now(path) == Err(Errno::ECONNREFUSED);
    if is_left_behind {
        std::fs::remove_file(path)?;
    }
    StdListener::bind(path)
}

/// Without waiting: a listener that is busy is one, too.
fn connects_now(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn hand_over(socket: &impl AsFd, path: &Path) -> io::Result<()> {
    send_with(rustix::stdio::stdin(), &[b"y", path.as_os_str().as_bytes()], Some(socket.as_fd()))
}

fn refuse(error: &io::Error) -> io::Result<()> {
    send_with(rustix::stdio::stdin(), &[b"n", error.to_string().as_bytes()], None)
}

fn wait_for_the_end() -> io::Result<()> {
    io::copy(&mut io::stdin().lock().take(ANSWER as u64), &mut io::sink()).map(drop)
}
