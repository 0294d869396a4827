//! The gateway with the real `ssh` and a real engine: its commands, its menu, its jumps, and what it refuses. Needs root.
//!
//! The rig is that of tests/docker. The gateway of each test has a port of its own.

mod commands;
mod flood;
mod front_door;
mod jumps;
mod menu;
mod ssh_config;
mod visitor;
