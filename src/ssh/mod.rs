//! SSH: the server inside a berth's container, and the gateway on the node. Only they and `keys` use russh.
//!
//! Rooms, arrows one way (tests/cli/layering.rs checks them): `gateway, inside → forward → channel → connection → user`.
//!
//! Inside the container: `serve` accepts connections ([`inside::server`]); a thin handler ([`inside::handler`]) turns the client's
//! requests into events of a pure state machine ([`channel::session`]) and hands its orders to one task a channel
//! ([`channel::bridge`]), which runs one program ([`inside::program`]) as the session user ([`user::become_user`]).
//!
//! On the node: [`gateway`], which uses the same channels, and starts nothing but this program, as nobody.
//! It must never start a program for somebody without a [`inside::auth::Grant`], nor as root for a user who is not.
mod channel;
mod connection;
mod forward;
pub mod gateway;
mod inside;
mod user;

pub use forward::{SocketOrder, serve_socket};
pub use inside::probe::probe;
pub use inside::scp::{run_scp, scp_arguments};
pub use inside::script::environment_as_bytes;
pub use inside::server::{ServeOptions, serve};
pub use inside::sftp::serve_sftp;
pub use user::account::Account;
pub use user::become_user::{Become, as_nobody, become_and_run, become_nobody};
