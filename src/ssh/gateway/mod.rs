//! The gateway: one port of the node for all users. They log in by their berth name, run the commands of this
//! program, and jump to their own berths.
//!
//! [`front`](crate::ssh::connection::front) listens and applies limits. A command is a child process of an
//! unprivileged uid, whose calls to the agent are made in the name of the user ([`launch`]). The gateway must never
//! run a shell, or a word of a client as a program. It must never connect to anything but a live berth of the user
//! who logged in.

mod door;
mod gate;
mod handler;
mod jump;
mod launch;
mod login;
mod places;
mod record;
mod revoke;
mod server;

pub use door::Doors;
pub use server::Gateway;

use std::os::unix::net::UnixStream;
use tokio::sync::watch;

/// What answers the calls of the gateway's commands.
pub trait Api: Send + Sync + 'static {
    /// Answers on this channel, in the name of this user, until the other side closes it, or the user's connection has
    /// ended: then it is closed, with all that came through it.
    fn serve(&self, user: &str, channel: UnixStream, connected: watch::Receiver<()>);
}
