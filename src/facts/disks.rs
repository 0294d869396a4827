//! Whole disks, with everything that could be on them or use them. What could not be looked at is no empty disk.

use super::lvm::Lvm;
use super::mounts::MountLine;
use crate::host::block::Look;
use crate::host::{Host, Tool, block};
use crate::model::disk::{Content, Disk, DiskId, HALF_BTRFS, Partition, Signature};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const COLUMNS: &str = "NAME,KNAME,PATH,MAJ:MIN,TYPE,SIZE,SERIAL,MODEL,TRAN,RO,RM";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A device as lsblk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub kernel_name: String,
    pub path: String,
    pub number: String,
    pub kind: String,
    pub size_bytes: u64,
    pub serial: Option<String>,
    pub model: Option<String>,
    pub transport: Option<String>,
    pub read_only: bool,
    pub removable: bool,
    pub children: Vec<Node>,
}

/// What is known beside lsblk when disks are judged.
pub struct Surroundings<'a> {
    pub mounts: &'a [MountLine],
    pub swaps: &'a [String],
    pub lvm: &'a Lvm,
    /// Names in /dev/disk/by-id and the kernel name that each leads to.
    pub links: &'a [(String, String)],
}

pub fn gather_nodes(host: &dyn Host) -> Result<Vec<Node>, String> {
    let cmd = Tool::Lsblk.cmd().args(["--json", "--bytes", "-o", COLUMNS]).timeout(TIMEOUT);
    parse_nodes(&host.run(&cmd).map_err(|error| error.to_string())?.stdout)
}

pub fn parse_nodes(text: &str) -> Result<Vec<Node>, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("lsblk printed no JSON: {error}"))?;
    let list = value.get("blockdevices").and_then(Value::as_array).ok_or("lsblk printed no block devices")?;
    list.iter().map(|value| node(value, 0)).collect()
}

fn node(value: &Value, depth: usize) -> Result<Node, String> {
    const DEEPEST: usize = 16;
    let text = |key: &str| {
        let text = value.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let need = |key: &str| text(key).ok_or_else(|| format!("lsblk printed a device without {key}"));
    // Old versions print numbers and truths as text.
    let number = |key: &str| {
        let value = value.get(key)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(number(key) == Some(1));
    let children = value.get("children").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if depth > DEEPEST {
        return Err("lsblk printed devices within devices without end".into());
    }
    Ok(Node {
        name: need("name")?,
        kernel_name: need("kname")?,
        path: need("path")?,
        number: need("maj:min")?,
        kind: need("type")?,
        size_bytes: number("size").ok_or("lsblk printed a device without size")?,
        serial: text("serial"),
        model: text("model"),
        transport: text("tran"),
        read_only: is("ro"),
        removable: is("rm"),
        children: children.iter().map(|child| node(child, depth + 1)).collect::<Result<_, _>>()?,
    })
}

/// The signatures on one device, as wipefs finds them on the device itself; udev's memory may be old.
pub fn signatures(host: &dyn Host, path: &str) -> Result<Vec<Signature>, String> {
    let cmd = Tool::Wipefs.cmd().args(["--json", path]).timeout(TIMEOUT);
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
    nodes: &[Node],
    around: &Surroundings,
    look: &dyn Fn(&Path, &str, bool) -> Look,
) -> Result<Vec<Disk>, String> {
    let whole = || nodes.iter().filter(|node| node.kind == "disk" && node.size_bytes > 0);
    let mut serials: BTreeMap<&str, usize> = BTreeMap::new();
    for serial in whole().filter_map(|node| node.serial.as_deref()) {
        *serials.entry(serial).or_default() += 1;
    }
    let mut disks = Vec::new();
    for node in whole() {
        let is_unique = node.serial.as_deref().is_some_and(|serial| serials.get(serial) == Some(&1));
        disks.push(disk(host, node, is_unique, around, look)?);
    }
    disks.sort_by(|a, b| (&a.id, a.size_bytes, &a.name).cmp(&(&b.id, b.size_bytes, &b.name)));
    Ok(disks)
}

fn disk(
    host: &dyn Host,
    node: &Node,
    is_unique: bool,
    around: &Surroundings,
    look: &dyn Fn(&Path, &str, bool) -> Look,
) -> Result<Disk, String> {
    let mut uses = Vec::new();
    add_uses(node, around, &mut uses);
    let mut partitions = Vec::new();
    for child in node.children.iter().filter(|child| child.kind == "part") {
        partitions.push(Partition {
            part: child.name.strip_prefix(&node.name).unwrap_or(&child.name).to_owned(),
            size_bytes: child.size_bytes,
            signatures: signatures(host, &child.path)?,
        });
    }
    // Only where nobody is known to use it does it mean something that it cannot be had alone.
    let Look { content, traces, coverage } =
        look(Path::new(&node.path), node.serial.as_deref().unwrap_or_default(), uses.is_empty());
    let serial = node.serial.as_deref().filter(|_| is_unique);
    Ok(Disk {
        id: serial.and_then(|serial| identify(serial, &node.kernel_name, around.links)),
        name: node.name.clone(),
        model: node.model.clone(),
        size_bytes: node.size_bytes,
        transport: node.transport.clone(),
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

/// The link that names the disk and no other: with its serial number, and the name space's number where there is one.
fn identify(serial: &str, kernel_name: &str, links: &[(String, String)]) -> Option<DiskId> {
    // udev replaces what a file name cannot have.
    let plain = serial.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.:".contains(c), "_");
    let of_disk = || links.iter().filter(|(_, target)| target == kernel_name).map(|(link, _)| link);
    let by_serial = of_disk().filter(|link| link.contains(&plain)).max_by_key(|link| link.len());
    // Names by what is written on a disk come and go with it.
    let stays = |link: &&String| !["lvm-pv-uuid-", "md-uuid-", "dm-"].iter().any(|of| link.starts_with(of));
    let link = by_serial.or_else(|| of_disk().filter(stays).min())?;
    Some(DiskId { serial: serial.to_owned(), link: link.clone() })
}

/// Everything in the tree below that somebody uses.
fn add_uses(node: &Node, around: &Surroundings, uses: &mut Vec<String>) {
    for mount in around.mounts {
        if mount.device == node.number || mount.source == node.path {
            add(uses, format!("mounted at {}", mount.target));
        }
    }
    if around.swaps.iter().any(|swap| *swap == node.path || swap.ends_with(&format!("/{}", node.kernel_name)))
    {
        add(uses, "used as swap".into());
    }
    for child in &node.children {
        match child.kind.as_str() {
            "part" => {}
            "lvm" => add(uses, format!("LVM volume {}", child.name)),
            kind => add(uses, format!("{kind} device {}", child.name)),
        }
        add_uses(child, around, uses);
    }
}

fn add(uses: &mut Vec<String>, text: String) {
    if !uses.contains(&text) {
        uses.push(text);
    }
}
