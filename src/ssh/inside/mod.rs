//! The server inside a berth's container, and the programs of its sessions. There is no host here to protect.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

pub(super) mod auth;
pub(super) mod berth;
pub(super) mod greeting;
pub(super) mod group_names;
pub(super) mod handler;
pub(super) mod host_key;
pub(super) mod notices;
pub(super) mod probe;
pub(super) mod program;
pub(super) mod revoke;
pub(super) mod scp;
pub(super) mod script;
pub(super) mod server;
pub(super) mod sftp;
pub(super) mod shell;
pub(super) mod shutdown;
pub(super) mod sourced;
pub(super) mod stamp;
pub(super) mod streams;
