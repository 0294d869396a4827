//! Collects the facts about disks, mounts and the machine. If one part cannot be read, the whole look fails: nothing is
//! decided from half of the facts.

use crate::bootstrap::observed::{BootSeen, BtrfsVolume, Directory, Machine, Mount, Observed};
use crate::facts::disks::{self, Surroundings};
use crate::facts::lsblk::{self, LsblkRow};
use crate::facts::lvm::{self, Lvm};
use crate::facts::mounts::{self, MountLine};
use crate::facts::packages::is_installed;
use crate::facts::{blkid, claims, fstab, holders, os};
use crate::host::{Host, block, files, need_text, tree};
use crate::model::disk::Disk;
use crate::model::docker_seen::{DockerSeen, KernelSeen, PackagesSeen};
use crate::model::observed::{OwnParts, VolumeGroup};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `targets`: directories that something is to be mounted at.
pub(super) fn gather(host: &dyn Host, targets: &[PathBuf], own: OwnParts) -> Result<Observed, String> {
    let lvm = lvm::gather(host)?;
    let nodes = lsblk::gather_to_decide(host)?;
    let lines = mounts::gather(host)?;
    let swaps = mounts::gather_swaps(host)?;
    let links = block::stable_links().map_err(|error| format!("/dev/disk/by-id cannot be read: {error}"))?;
    let lvm_or_none = lvm.clone().unwrap_or_default();
    // Before the contents: who writes and goes has left something by then.
    let holders = holders::gather(host, &disks::numbers(&nodes), &disks::characters(host, &nodes)?, &lines);
    let around =
        Surroundings { mounts: &lines, swaps: &swaps, lvm: &lvm_or_none, links: &links, holders: &holders };
    let disks = disks::judge(host, &nodes, &around, &block::look_at_content)?;
    let groups = look_into(host, lvm_or_none)?;
    let numbers = file_systems_by_number(&nodes);
    Ok(Observed {
        machine: machine(host)?,
        btrfs: btrfs(&disks)?,
        groups,
        mounts: lines.iter().filter_map(|line| mount(line, &numbers, targets)).collect(),
        fstab: fstab::gather(host)?,
        directories: targets
            .iter()
            .map(|path| {
                let claims = claims::gather(host, path, &lines, &numbers)?;
                Ok(Directory { claims, ..directory(host, path)? })
            })
            .collect::<Result<_, String>>()?,
        disks,
        // Looked at by those who know what the profile asks of them.
        docker: DockerSeen::default(),
        packages: PackagesSeen::default(),
        kernel: KernelSeen::default(),
        own,
        driver: None,
        hccn: None,
        cards: None,
        boot: BootSeen::default(),
    })
}

fn machine(host: &dyn Host) -> Result<Machine, String> {
    let os = os::gather(host)?;
    let id = need_text(host, Path::new("/etc/machine-id"))?;
    Ok(Machine {
        id: id.trim().to_owned(),
        os: os.id,
        os_version: os.version,
        arch: os.arch,
        kernel: os.kernel,
        systemd: host.exists(Path::new("/run/systemd/system")),
        missing_tools: MAKERS
            .iter()
            .filter(|name| !is_installed(host, name))
            .map(|name| (*name).into())
            .collect(),
    })
}

fn directory(host: &dyn Host, path: &Path) -> Result<Directory, String> {
    let (entries, is_no_directory) = match host.list(path) {
        // What mkfs makes itself is nobody's.
        Ok(names) => (names.iter().filter(|name| !name.ends_with("lost+found")).count(), false),
        // A link to nothing is something.
        Err(error) if error.kind() == ErrorKind::NotFound => (0, files::has_name(path)),
        Err(error) if error.kind() == ErrorKind::NotADirectory => (0, true),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let real = tree::real_path(path);
    let link_to = (real != path).then(|| real.display().to_string());
    let path = path.display().to_string();
    Ok(Directory { path, entries, link_to, is_no_directory, claims: Vec::new() })
}

/// Programs that make volumes; not every system image contains them.
const MAKERS: [&str; 3] = ["lvm", "mkfs.xfs", "mkfs.btrfs"];

/// Adds to each active volume the file system that is on it.
fn look_into(host: &dyn Host, lvm: Lvm) -> Result<Vec<VolumeGroup>, String> {
    let mut groups = lvm.groups;
    for group in &mut groups {
        for volume in group.volumes.iter_mut().filter(|volume| volume.active) {
            volume.file_system = blkid::probe(host, &format!("/dev/{}/{}", group.name, volume.name))?;
        }
    }
    Ok(groups)
}

/// The UUIDs of file systems by device number and by path, to find those of mounts.
fn file_systems_by_number(nodes: &[LsblkRow]) -> BTreeMap<String, String> {
    let all = nodes.iter().flat_map(LsblkRow::whole_tree);
    all.filter_map(|node| Some((node, node.uuid.as_ref()?)))
        .flat_map(|(node, uuid)| [&node.number, &node.path].map(|name| (name.clone(), uuid.clone())))
        .collect()
}

/// Returns the mount if it is of a disk or a network, or at one of `targets`. `None` for the kernel's own mounts and
/// for those of containers, which change all the time.
fn mount(line: &MountLine, by_number: &BTreeMap<String, String>, targets: &[PathBuf]) -> Option<Mount> {
    let is_ours_to_be = targets.iter().any(|target| target == Path::new(&line.target));
    if !mounts::is_storage(line) && !is_ours_to_be {
        return None;
    }
    let uuid = by_number.get(&line.device).or_else(|| by_number.get(&line.source));
    Some(Mount {
        target: line.target.clone(),
        kind: line.kind.clone(),
        uuid: uuid.cloned(),
        options: line.options.clone(),
    })
}

/// The btrfs file systems, with their members by UUID. The superblock says how many members there should be.
fn btrfs(disks: &[Disk]) -> Result<Vec<BtrfsVolume>, String> {
    let mut found: BTreeMap<String, BtrfsVolume> = BTreeMap::new();
    for disk in disks {
        let Some(signature) = disk.signatures.iter().find(|signature| signature.kind == "btrfs") else {
            continue;
        };
        let Some(uuid) = signature.uuid.clone() else { continue };
        let volume = found.entry(uuid.clone()).or_insert_with(|| BtrfsVolume {
            uuid,
            label: signature.label.clone(),
            disks: Vec::new(),
            expected_disks: 0,
        });
        volume.disks.extend(disk.id.as_ref().map(|id| id.serial.clone()));
        if volume.expected_disks == 0 {
            volume.expected_disks = block::btrfs_members(Path::new(&format!("/dev/{}", disk.name)))
                .map_err(|error| format!("reading the btrfs of {}: {error}", disk.describe()))?;
        }
    }
    Ok(found.into_values().collect())
}
