//! Forwards: TCP and unix sockets, opened by the client or listened for on its behalf, and its authentication agent.
//!
//! Addresses and paths are those of the container. A unix socket is dialled and made as the session user, never as
//! root: a process of that user does it and hands the descriptor over ([`socket_of_user`]).
//! Listeners are on loopback only, whatever a client asks for: a berth's neighbours are on the container's network.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

mod dial;
mod listen;
mod socket_of_user;

pub(in crate::ssh) use dial::{Target, dial};
pub(in crate::ssh) use listen::{Listeners, Wanted};
pub use socket_of_user::{SocketOrder, serve_socket};
