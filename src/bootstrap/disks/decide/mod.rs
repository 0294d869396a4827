//! Decisions about disks: which empty disks become which volumes, which existing volumes are used or grown, and what
//! is refused.
//!
//! Pure: facts and wishes in, steps and refusals out. What is written on a disk counts, never its kernel name.

mod blocks;
mod layout;
mod mounts;
mod names;
mod supply;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_names;
mod volumes;

pub use blocks::mixed_blocks;
pub use layout::{DisksInput, plan};
pub use mounts::edit_fstab;
pub use names::{Naming, resolve};
pub use volumes::is_mounted_at;
