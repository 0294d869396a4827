//! The agent's socket: made here or handed over by systemd, and the uid behind each connection.

use crate::error::Fault;
use crate::host::dirs;
use crate::profile::Paths;
use anyhow::{Context, Result};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use tokio::net::{UnixListener, UnixStream};

/// Who connected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// A process with this uid, as the kernel says (SO_PEERCRED).
    Uid(u32),
    /// A user who is logged in at the gateway, which handed this connection out.
    Gateway(String),
    /// The kernel did not say who it is. Such a caller may do nothing.
    Unknown,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        stream.peer_cred().map_or(Self::Unknown, |cred| Self::Uid(cred.uid()))
    }
}

/// The socket that systemd handed over, else `berth.sock` in the run directory. Anybody may connect; the kernel
/// says who it is.
pub(super) fn listen(paths: &Paths) -> Result<UnixListener> {
    let listener = match handed_over()? {
        Some(listener) => listener,
        None => bind(paths)?,
    };
    listener.set_nonblocking(true).context("preparing the agent's socket")?;
    UnixListener::from_std(listener).context("preparing the agent's socket")
}

fn handed_over() -> Result<Option<StdListener>> {
    listenfd::ListenFd::from_env().take_unix_listener(0).context("taking the socket that systemd handed over")
}

fn bind(paths: &Paths) -> Result<StdListener> {
    dirs::make_dir(&paths.run, 0o755)?;
    let socket = paths.socket();
    refuse_second(&socket)?;
    // Nobody answers there: what is left is of an agent that was killed.
    dirs::remove_socket(&socket)?;
    let listener = StdListener::bind(&socket).map_err(|error| {
        Fault::host(format!("binding {}: {error}", socket.display())).help("set paths.run in the config")
    })?;
    dirs::set_mode(&socket, 0o666)?;
    Ok(listener)
}

fn refuse_second(socket: &Path) -> Result<(), Fault> {
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(Fault::host(format!("another agent answers at {}", socket.display()))
            .help("stop it, or give this one a config with `paths` of its own"));
    }
    Ok(())
}
