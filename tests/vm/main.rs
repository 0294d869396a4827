//! Whole servers in QEMU: real systemd, NVMe disks, LVM, file systems, Docker; and power cuts. Needs root.
//!
//! `BERTH_TEST_VM` names the directory in which `scripts/test` built the servers, `BERTH_TEST_IMAGES` the root file
//! systems of containers. Each test has machines of its own, made of overlays, and ends what it started. A boot takes
//! about twenty seconds of an emulated processor: what can honestly share a machine is one test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]
#![allow(clippy::print_stderr, reason = "a part that cannot run here says so")]

mod adopted;
mod bare;
mod campaign;
mod cuts;
mod docker_there;
mod driver;
mod homes;
mod itself;
mod machine;
mod odd_disks;
mod packages;
mod qemu;
mod refusals;
mod shell;
mod site;
mod used;
