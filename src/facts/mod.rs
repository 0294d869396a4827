//! Facts about this host. Each file has a pure parser, and a `gather` that reads through [`Host`].
//!
//! It judges nothing and changes nothing. A fact that could not be read is `None`, and its reason is kept beside it.

pub mod account;
pub mod addresses;
pub mod at_work;
pub mod blkid;
pub mod block;
pub mod cann;
pub mod claims;
pub mod clock;
pub mod conflicts;
pub mod cpu;
pub mod daemon_file;
mod disk_names;
mod disk_uses;
pub mod disks;
pub mod docker;
mod docker_unit;
pub mod driver;
pub mod fstab;
pub mod hccn;
pub mod holders;
pub mod lsblk;
pub mod lvm;
pub mod memory;
pub mod mounts;
pub mod os;
pub mod own;
pub mod package_changes;
pub mod packages;
pub mod pci;
pub mod run_packages;
pub mod smart;
pub mod space;
pub mod sysctl;
mod tasks;

use crate::host::Host;
use crate::model::facts::{DockerFacts, Facts, NpuFacts, SCHEMA, Unreadable};

/// Everything that `berth facts` shows. The cards and Docker are asked by the caller, who knows which cards and has the
/// client.
pub fn gather(
    host: &dyn Host,
    cards: (NpuFacts, Vec<Unreadable>),
    docker: Result<DockerFacts, String>,
) -> Facts {
    let (npu, mut unreadable) = cards;
    let mut note = |fact: &str, reason: String| unreadable.push(Unreadable { fact: fact.into(), reason });
    let os = os::gather(host).map_err(|reason| note("os", reason)).ok();
    let cpu = cpu::gather(host).map_err(|reason| note("cpu", reason)).ok();
    let memory = memory::gather(host).map_err(|reason| note("memory", reason)).ok();
    let block_devices = block::gather(host).map_err(|reason| note("block_devices", reason)).ok();
    let docker = docker.map_err(|reason| note("docker", reason)).ok();
    Facts { schema: SCHEMA, npu, os, cpu, memory, block_devices, docker, unreadable }
}
