//! The Ascend driver: its packages, the account that it runs as, the cards' addresses, and the reboot.
//!
//! `decide` says what should be done, `apply` looks and orders, `install` runs packages, `addresses` sets them, `reboot` goes on after it.

pub(in crate::bootstrap) mod addresses;
pub(in crate::bootstrap) mod apply;
mod cards;
pub mod decide;
pub(in crate::bootstrap) mod install;
pub(in crate::bootstrap) mod reboot;
