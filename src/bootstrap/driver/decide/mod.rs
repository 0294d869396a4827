//! Decisions about the driver: which packages are installed in which order, the account that it runs as, the addresses
//! that the cards get, and what is refused.
//!
//! Pure: facts and wishes in, steps and refusals out. It installs nothing.

mod account;
mod choose;
mod csv;
mod hccn;
#[cfg(test)]
mod hccn_tests;
mod install;
mod name;
mod pair;
#[cfg(test)]
mod tests;
mod unit;

pub use hccn::{Addresses, plan_addresses};
pub use install::{DriverInput, plan};
pub use pair::installed_misfit;
pub use unit::resume_unit;
