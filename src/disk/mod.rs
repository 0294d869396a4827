//! Decisions about disks: which empty ones become which volumes, what is adopted, what grows, and what forbids it all.
//!
//! Pure: facts and wishes in, steps and refusals out. What is written on a disk decides, never its kernel name.

mod layout;
mod mounts;
mod supply;
#[cfg(test)]
mod tests;
mod volumes;

pub use layout::{Request, plan};
pub use mounts::edit_fstab;
pub use volumes::is_mounted_at;
