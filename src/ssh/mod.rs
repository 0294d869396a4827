//! SSH: the server inside a berth's container, and the gateway on the node. Only they and `keys` use russh.
//!
//! Inside the container: `serve` accepts connections ([`server`]); a thin handler ([`handler`]) turns the client's
//! requests into events of a pure state machine ([`session`]) and hands its orders to one task a channel
//! ([`channel`]), which runs one program ([`program`]) as the session user ([`become_user`]).
//! Nothing of this touches the host: it runs in the container, or works on text that the agent hands over.
//!
//! On the node: [`gateway`], which uses the same channels, and starts nothing but this program, as nobody.
//! It must never start a program for somebody without a [`auth::Grant`], nor as root for a user who is not.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

mod account;
mod admission;
mod auth;
mod become_user;
mod channel;
mod channels;
mod descriptors;
mod editors;
mod environment;
mod farewell;
mod forward;
mod front;
pub mod gateway;
mod group_names;
mod guest;
mod handler;
mod host_key;
mod image;
mod input;
mod own_keys;
mod probe;
mod program;
mod protocol;
mod report;
mod revoke;
mod scp;
mod script;
mod server;
mod session;
mod sftp;
mod shell;
mod socket;
mod sourced;
mod stamp;
mod streams;
mod terminal;
mod terminal_modes;
mod windows;
mod wire;

pub use account::Account;
pub use become_user::{Become, become_and_run, become_nobody};
pub use forward::{SocketOrder, serve_socket};
pub use probe::probe;
pub use scp::{run_scp, scp_arguments};
pub use script::environment_as_bytes;
pub use server::{ServeOptions, serve};
pub use sftp::serve_sftp;
