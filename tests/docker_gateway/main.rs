//! The gateway with the real `ssh` and a real engine: its commands, its menu, its jumps, and what it refuses. Needs root.
//!
//! The rig is that of tests/docker_berths. The gateway of each test has a port of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]
#![allow(clippy::print_stderr, reason = "a part that cannot run here says so")]
#![allow(dead_code, reason = "the rig has more than these tests use")]

mod commands;
mod front_door;
mod jumps;
#[path = "../docker_berths/machine.rs"]
mod machine;
mod menu;
#[path = "../docker_berths/rig.rs"]
mod rig;
mod ssh_config;
mod visitor;
