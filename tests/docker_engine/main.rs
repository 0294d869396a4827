//! The Docker layer against a real Docker Engine, real device nodes and a real registry. Needs root.
//!
//! `BERTH_TEST_DOCKER` names the engine's socket (default `/var/run/docker.sock`); without an engine these fail.
#![allow(clippy::disallowed_methods, reason = "tests set up the host that they test on")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod berth;
#[path = "../common_registry/mod.rs"]
mod common_registry;
mod firewall;
mod image;
mod proxy;
mod registry;
mod rig;
mod scan;
mod version;
