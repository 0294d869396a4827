//! The SSH server of a berth and real clients. `rig` starts the server on a free port of this machine. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test starts programs, looks at the machine, ends where something is wrong, and says what it leaves out"
)]

mod audit;
mod broken_images;
mod clients;
mod copies;
mod editor;
mod flood;
mod flow;
mod forwards;
mod hostile;
mod limits;
mod live;
mod logins;
mod matrix;
mod notices;
mod rig;
mod rigs;
mod scp;
mod security_key;
mod server;
mod sftp;
mod sftp_hostile;
mod sshd;
mod traffic;
