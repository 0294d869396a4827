//! Docker: its packages, its configuration, its data.
//!
//! `decide` says what should be done, `apply` asks before and carries out after, `move_data` moves its data, `back` undoes a configuration
//! with which it does not run, `packages` installs.

pub(in crate::bootstrap) mod apply;
pub(super) mod back;
pub mod decide;
pub(in crate::bootstrap) mod move_data;
pub(in crate::bootstrap) mod packages;
pub(in crate::bootstrap) mod restart_list;
