//! SSH: the server inside a berth's container and its authentication. Only it and `keys` use russh.
//!
//! Inside the container: `serve` accepts connections ([`server`]); a thin handler ([`handler`]) turns the client's
//! requests into events of a pure state machine ([`session`]) and hands its orders to one task a channel
//! ([`channel`]), which runs one program ([`program`]) as the session user ([`become_user`]).
//! Nothing here touches the host: it runs in the container, or works on text that the agent hands over.
//! It must never start a program for somebody without a [`auth::Grant`], nor as root for a user who is not.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

mod account;
mod auth;
mod become_user;
mod channel;
mod connection;
mod environment;
mod farewell;
mod handler;
mod image;
mod input;
mod probe;
mod program;
mod script;
mod server;
mod session;
mod shell;
mod terminal;

pub use account::Account;
pub use become_user::{Become, become_and_run};
pub use probe::probe;
pub use script::environment_as_bytes;
pub use server::{ServeOptions, serve};
