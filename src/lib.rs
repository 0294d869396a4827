//! berth turns one Ascend server into a machine that a team can share.
//!
//! Layers, arrows one way (tests/cli/layering.rs checks them):
//! `main → cli, agent, ssh → bootstrap, check → ops → engine, alloc, keys, ledger, life → accel → facts → host → model`;
//! every module may use `error`, and those above `host` may use `profile`. `life` is the exception: it may use `alloc`,
//! which is in its layer, and `model`, and nothing else.

pub mod accel;
pub mod agent;
pub mod alloc;
pub mod bootstrap;
pub mod check;
pub mod cli;
pub mod engine;
pub mod error;
pub mod facts;
pub mod host;
pub mod keys;
pub mod ledger;
pub mod life;
pub mod model;
pub mod ops;
pub mod profile;
pub mod ssh;
