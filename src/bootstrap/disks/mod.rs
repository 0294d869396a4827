//! Disks: empty disks become volumes, which are mounted at every boot; `/home` is moved to a volume with its contents.
//!
//! `decide` plans the steps, `apply` makes volumes, `mounts` writes fstab, `trees` moves directories.

pub(in crate::bootstrap) mod apply;
pub mod decide;
pub(in crate::bootstrap) mod mounts;
pub(in crate::bootstrap) mod trees;
