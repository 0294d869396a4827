//! Decisions about disks: which empty ones become which volumes, what is adopted, what grows, and what forbids it all.
//!
//! Pure: facts and wishes in, steps and refusals out. What is written on a disk decides, never its kernel name.

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
