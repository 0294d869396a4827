//! Whole disks, with everything that is on them or uses them. A disk that could not be looked at never counts as empty.

use super::disk_names::{Called, aliases, call, identify};
use super::disk_uses::uses_of;
use super::holders::{Character, Holders, Number};
use super::lsblk::LsblkRow;
use super::lvm::Lvm;
use super::mounts::MountLine;
use crate::host::block::{Look, Names, names_of, nvme_transport};
use crate::host::{Host, Tool, block, read_text};
use crate::model::disk::{Content, Disk, HALF_BTRFS, Partition, Signature};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Facts from other sources than lsblk, with which disks are judged.
pub struct Surroundings<'a> {
    pub mounts: &'a [MountLine],
    pub swaps: &'a [String],
    pub lvm: &'a Lvm,
    /// Names in /dev/disk/by-id and the kernel name that each leads to.
    pub links: &'a [(String, String)],
    pub holders: &'a Holders,
}

/// The signatures that wipefs finds on the device itself; udev's database may be old.
pub fn signatures(host: &dyn Host, path: &str) -> Result<Vec<Signature>, String> {
    let cmd = Tool::WipefsList.cmd().args(["--json", path]).timeout(TIMEOUT);
    parse_signatures(&host.run(&cmd).map_err(|error| error.to_string())?.stdout)
}

pub fn parse_signatures(text: &str) -> Result<Vec<Signature>, String> {
    // Versions before 2.36 print nothing at all where there is nothing.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("wipefs printed no JSON: {error}"))?;
    let list = value.get("signatures").and_then(Value::as_array).ok_or("wipefs printed no signatures")?;
    let field = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut found: Vec<Signature> = Vec::new();
    for value in list {
        let signature = Signature {
            kind: field(value, "type").unwrap_or_else(|| "unknown".into()),
            uuid: field(value, "uuid"),
            label: field(value, "label"),
        };
        if !found.contains(&signature) {
            found.push(signature);
        }
    }
    Ok(found)
}

/// Judges every whole disk. `look` opens a device and says what is on it.
pub fn judge(
    host: &dyn Host,
    nodes: &[LsblkRow],
    around: &Surroundings,
    look: &dyn Fn(&Path, &str, bool) -> Look,
) -> Result<Vec<Disk>, String> {
    let whole: Vec<(&LsblkRow, Names)> =
        whole(nodes).map(|node| (node, names_of(host, &node.kernel_name))).collect();
    let mut disks = Vec::new();
    for (node, names) in &whole {
        let others = whole.iter().filter(|(other, _)| other.kernel_name != node.kernel_name);
        let called = call(names, others.clone().map(|(_, names)| names));
        let twins = others.filter(|(_, other)| other.serial == called.shared_serial);
        let twins: Vec<&str> = twins.map(|(other, _)| other.kernel_name.as_str()).collect();
        disks.push(disk(host, node, &called, &twins, around, look)?);
    }
    disks.sort_by(|a, b| (&a.id, a.size_bytes, &a.name).cmp(&(&b.id, b.size_bytes, &b.name)));
    Ok(disks)
}

fn whole(nodes: &[LsblkRow]) -> impl Iterator<Item = &LsblkRow> {
    nodes.iter().filter(|node| node.kind == "disk" && node.size_bytes > 0)
}

/// The numbers of disks and their partitions, whose holders matter.
pub fn numbers(nodes: &[LsblkRow]) -> Vec<Number> {
    let parts = |node: &'_ LsblkRow| -> Vec<String> {
        node.children.iter().filter(|child| child.kind == "part").map(|child| child.number.clone()).collect()
    };
    let all = whole(nodes).flat_map(|node| std::iter::once(node.number.clone()).chain(parts(node)));
    all.filter_map(|number| split(&number)).collect()
}

/// Other nodes of these disks: `/dev/sg0` and `/dev/bsg/0:0:0:0` of SCSI, `/dev/ng0n1` of NVMe.
pub fn characters(host: &dyn Host, nodes: &[LsblkRow]) -> Result<Vec<Character>, String> {
    let mut found = Vec::new();
    for node in whole(nodes) {
        let Some(disk) = split(&node.number) else { continue };
        let mut dirs = Vec::new();
        for kind in ["scsi_generic", "bsg"] {
            let dir = format!("/sys/block/{}/device/{kind}", node.kernel_name);
            match host.list(Path::new(&dir)) {
                Ok(paths) => dirs.extend(paths),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{dir}: {error}")),
            }
        }
        if let Some(name) = node.kernel_name.strip_prefix("nvme") {
            dirs.push(format!("/sys/class/nvme-generic/ng{name}").into());
        }
        for path in dirs.iter().map(|dir| dir.join("dev")) {
            match read_text(host, &path) {
                Ok(text) => {
                    let node = split(text.trim())
                        .ok_or_else(|| format!("{} is no device number", path.display()))?;
                    found.push(Character { node, disk });
                }
                // Older kernels have no such node of a namespace.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
    }
    Ok(found)
}

pub(super) fn split(number: &str) -> Option<Number> {
    let (major, minor) = number.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn disk(
    host: &dyn Host,
    node: &LsblkRow,
    called: &Called,
    twins: &[&str],
    around: &Surroundings,
    look: &dyn Fn(&Path, &str, bool) -> Look,
) -> Result<Disk, String> {
    let uses = uses_of(node, around);
    let mut partitions = Vec::new();
    for child in node.children.iter().filter(|child| child.kind == "part") {
        partitions.push(Partition {
            part: child.name.strip_prefix(&node.name).unwrap_or(&child.name).to_owned(),
            size_bytes: child.size_bytes,
            signatures: signatures(host, &child.path)?,
        });
    }
    let id = called.own.as_deref().and_then(|own| identify(own, &node.kernel_name, around.links));
    // Only where nobody is known to use it does it mean something that it cannot be had alone.
    let Look { content, traces, coverage } =
        look(Path::new(&node.path), called.own.as_deref().unwrap_or_default(), uses.is_empty());
    let is_nvme = node.transport.as_deref() == Some("nvme") || node.kernel_name.starts_with("nvme");
    Ok(Disk {
        id,
        shared_serial: called.shared_serial.clone(),
        aliases: aliases(node, called, twins, around.links),
        name: node.name.clone(),
        model: node.model.clone(),
        size_bytes: node.size_bytes,
        block_size: node.block_size,
        transport: if is_nvme { nvme_transport(host, &node.kernel_name) } else { node.transport.clone() },
        read_only: node.read_only,
        removable: node.removable,
        signatures: with_half_made(signatures(host, &node.path)?, &node.path, &content),
        partitions,
        content,
        traces,
        coverage,
        uses,
        pv: around.lvm.physical.get(&node.path).cloned(),
    })
}

/// A btrfs that mkfs did not finish has no signature that wipefs knows.
fn with_half_made(mut found: Vec<Signature>, path: &str, content: &Content) -> Vec<Signature> {
    if found.is_empty() && *content == Content::Data {
        let uuid = block::half_made_btrfs(Path::new(path));
        found.extend(uuid.map(|uuid| Signature { kind: HALF_BTRFS.into(), uuid: Some(uuid), label: None }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::lsblk;
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn the_character_devices_of_a_disk_are_known() {
        let disk = |name: &str, number: &str| {
            format!(
                r#"{{"name":"{name}","kname":"{name}","path":"/dev/{name}","maj:min":"{number}","type":"disk","size":1}}"#
            )
        };
        let disks = [disk("sda", "8:0"), disk("sdb", "8:16"), disk("nvme0n1", "259:0"), disk("vda", "254:0")];
        let printed = format!(r#"{{"blockdevices":[{}]}}"#, disks.join(","));
        let nodes = lsblk::parse(&printed, lsblk::TO_DECIDE).unwrap();
        let host = FakeHost::default()
            .with_file("/sys/block/sda/device/scsi_generic/sg3/dev", "21:3\n")
            .with_file("/sys/block/sda/device/bsg/0:0:0:0/dev", "248:1\n")
            .with_file("/sys/class/nvme-generic/ng0n1/dev", "237:0\n");
        let found = characters(&host, &nodes).unwrap();
        let found: Vec<(Number, Number)> = found.iter().map(|found| (found.node, found.disk)).collect();
        assert_eq!(found, [((21, 3), (8, 0)), ((248, 1), (8, 0)), ((237, 0), (259, 0))]);
        let odd = host.with_file("/sys/class/nvme-generic/ng0n1/dev", "what\n");
        assert!(characters(&odd, &nodes).unwrap_err().contains("ng0n1/dev is no device number"));
    }
}
