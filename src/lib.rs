//! berth turns one Ascend server into a machine that a team can share.
//!
//! Layers, arrows one way (tests/cli/layering.rs checks them):
//! `main → cli, agent, ssh → ops → preflight, disk, driver, engine, alloc, keys, ledger, sim → plan → facts → host → model`;
//! `profile` and `error` may be used by all.

pub mod agent;
pub mod alloc;
pub mod cli;
pub mod disk;
pub mod driver;
pub mod engine;
pub mod error;
pub mod facts;
pub mod host;
pub mod keys;
pub mod ledger;
pub mod model;
pub mod ops;
pub mod plan;
pub mod preflight;
pub mod profile;
pub mod sim;
pub mod ssh;
