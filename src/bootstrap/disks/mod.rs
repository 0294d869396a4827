//! Disks: empty ones become volumes, which are mounted for good; `/home` moves to one with its contents.
//!
//! `decide` says what should be done, `apply` makes volumes, `mounts` writes fstab, `trees` moves directories.

pub(in crate::bootstrap) mod apply;
pub mod decide;
pub(in crate::bootstrap) mod mounts;
pub(in crate::bootstrap) mod trees;
