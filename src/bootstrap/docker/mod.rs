//! Docker: its packages, its configuration, its data.
//!
//! `decide` plans the steps. `apply` asks Docker before that, and executes the steps after. `move_data` moves Docker's
//! data, `back` undoes a configuration with which Docker does not run, `packages` installs.

pub(in crate::bootstrap) mod apply;
pub(super) mod back;
pub mod decide;
pub(in crate::bootstrap) mod move_data;
pub(in crate::bootstrap) mod packages;
pub(in crate::bootstrap) mod restart_list;
