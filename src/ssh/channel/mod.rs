//! What both servers do with a channel: sessions and tunnels, their input and their windows. An implementation of
//! [`launch::Launch`] decides what a session's program is.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

pub(super) mod bridge;
pub(super) mod channels;
pub(super) mod environment;
pub(super) mod input;
mod interjection;
pub(super) mod launch;
pub(super) mod own_keys;
pub(super) mod session;
pub(super) mod terminal;
pub(super) mod terminal_modes;
pub(super) mod tunnel;
pub(super) mod windows;
