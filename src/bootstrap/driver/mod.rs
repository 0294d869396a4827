//! The Ascend driver: its packages, the account that it runs as, the cards' addresses, and the reboot.
//!
//! `decide` plans the steps, `apply` collects the facts for it, `install` runs packages, `addresses` sets addresses,
//! and `reboot` continues the run after a reboot.

pub(in crate::bootstrap) mod addresses;
pub(in crate::bootstrap) mod apply;
mod cards;
pub mod decide;
pub(in crate::bootstrap) mod install;
pub(in crate::bootstrap) mod reboot;
