//! berth turns one Ascend server into a machine that a team can share.
//!
//! Layers, arrows one way (tests/cli/layering.rs checks them):
//! `main → cli, agent, ssh → bootstrap, check → ops → engine, alloc, keys, ledger, life, sim → facts → host → model`;
//! `profile` and `error` may be used by all. `life` knows `alloc` and `model`, and nothing else.

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
pub mod sim;
pub mod ssh;
