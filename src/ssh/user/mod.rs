//! Which account a program runs as, and what its image says about accounts. Both servers start programs as an
//! account that is not root.
#![allow(
    clippy::disallowed_methods,
    reason = "runs inside a berth's container: there is no host to protect, and programs are what sessions are for"
)]

pub(super) mod account;
pub(super) mod become_user;
pub(super) mod descriptors;
pub(super) mod editors;
pub(super) mod image;
