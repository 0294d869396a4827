//! Who uses a disk or a part of it: lsblk's tree (device-mapper and md tables, which it reads from /sys), mounts, swap,
//! and the holders that the tree does not show.

use super::disks::{Surroundings, split};
use super::lsblk::LsblkRow;
use super::mounts::MountLine;
use crate::model::disk_use::Use;

pub(super) fn uses_of(node: &LsblkRow, around: &Surroundings) -> Vec<Use> {
    let mut uses = Vec::new();
    add_uses(node, around, &mut uses);
    let unseen = &around.holders.unseen;
    uses.extend(unseen.iter().map(|what| Use::Unseen { what: what.clone() }));
    uses
}

fn add_uses(node: &LsblkRow, around: &Surroundings, uses: &mut Vec<Use>) {
    let is_swap = |swap: &&String| **swap == node.path || swap.ends_with(&format!("/{}", node.kernel_name));
    add_mounts(&node.number, &node.path, around, uses);
    if around.swaps.iter().any(|swap| is_swap(&swap)) {
        add(uses, Use::Swap);
    }
    add_holders(node, around, uses);
    for child in &node.children {
        match child.kind.as_str() {
            "part" => {}
            "lvm" => add(uses, Use::Volume { name: child.name.clone() }),
            kind => add(uses, Use::Stacked { kind: kind.into(), name: child.name.clone() }),
        }
        add_uses(child, around, uses);
    }
}

/// Adds the mounts of a device. Mounts in other namespaces are added only if the machine's own namespace has none.
fn add_mounts(number: &str, path: &str, around: &Surroundings, uses: &mut Vec<Use>) {
    let is_of_it = |mount: &&MountLine| mount.device == number || mount.source == path;
    let own: Vec<&MountLine> = around.mounts.iter().filter(is_of_it).collect();
    for mount in &own {
        add(uses, Use::Mounted { at: mount.target.clone() });
    }
    if own.is_empty() {
        for (process, mount) in around.holders.elsewhere.iter().filter(|(_, mount)| is_of_it(&mount)) {
            add(uses, Use::MountedElsewhere { at: mount.target.clone(), process: process.clone() });
        }
    }
}

fn add_holders(node: &LsblkRow, around: &Surroundings, uses: &mut Vec<Use>) {
    let Some(number) = split(&node.number) else { return };
    for over in around.holders.loops.iter().filter(|over| over.over == number) {
        add(uses, Use::Loop { name: over.name.clone(), offset: over.offset });
        add_mounts(&over.number, &format!("/dev/{}", over.name), around, uses);
    }
    for blind in around.holders.blind.iter().filter(|blind| blind.may_be_over(node.size_bytes)) {
        add(uses, Use::Unseen { what: blind.what.clone() });
    }
    for (process, _) in around.holders.open.iter().filter(|(_, open)| *open == number) {
        add(uses, Use::Open { process: process.clone() });
    }
    for export in around.holders.exports.iter().filter(|export| export.device == number) {
        add(uses, Use::Exported { by: export.by, name: export.name.clone() });
    }
}

fn add(uses: &mut Vec<Use>, new: Use) {
    if !uses.contains(&new) {
        uses.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::super::holders::{Blind, Export, Holders, Loop};
    use super::super::lsblk;
    use super::super::lvm::Lvm;
    use super::super::mounts;
    use super::*;
    use crate::model::disk_use::{Exporter, Process};

    const NODES: &str = r#"{"blockdevices":[{"name":"nvme1n1","kname":"nvme1n1","path":"/dev/nvme1n1","maj:min":"259:1",
        "type":"disk","size":1,"log-sec":4096,"children":[
        {"name":"nvme1n1p2","kname":"nvme1n1p2","path":"/dev/nvme1n1p2","maj:min":"259:3","type":"part","size":1}]}]}"#;

    fn said(mounted: &str, holders: Holders) -> Vec<String> {
        let nodes = lsblk::parse(NODES, lsblk::TO_DECIDE).unwrap();
        assert_eq!(nodes[0].block_size, Some(4096));
        let mounts = mounts::parse(mounted).unwrap();
        let lvm = Lvm::default();
        let around = Surroundings { mounts: &mounts, swaps: &[], lvm: &lvm, links: &[], holders: &holders };
        uses_of(&nodes[0], &around).iter().map(Use::to_string).collect()
    }

    fn process() -> Process {
        Process { pid: 7, name: "qemu".into(), unit: Some("vm.scope".into()) }
    }

    #[test]
    fn each_holder_of_a_disk_or_its_partition_is_named() {
        let elsewhere = mounts::parse("9 1 259:3 / /mnt rw - xfs /dev/x rw\n").unwrap().remove(0);
        let holders = Holders {
            loops: vec![Loop { name: "loop0".into(), number: "7:0".into(), over: (259, 1), offset: 512 }],
            open: vec![(process(), (259, 1)), (process(), (259, 3)), (process(), (259, 9))],
            elsewhere: vec![(process(), elsewhere)],
            exports: vec![Export { by: Exporter::NvmeTarget, name: "nqn.x".into(), device: (259, 3) }],
            unseen: vec!["why".into()],
            blind: vec![
                Blind { what: "blind".into(), size_bytes: Some(1) },
                Blind { what: "other".into(), size_bytes: Some(2) },
            ],
        };
        let at_loop = "9 1 7:0 / /srv rw - ext4 /dev/loop0 rw\n";
        let expected = [
            "loop device loop0 over it, from byte 512 on",
            "mounted at /srv",
            "it cannot be said that nobody uses it (blind)",
            "open in qemu (process 7, vm.scope)",
            "mounted at /mnt in the mount namespace of qemu (process 7, vm.scope)",
            "exported as nqn.x by the NVMe target",
            "it cannot be said that nobody uses it (why)",
        ];
        assert_eq!(said(at_loop, holders.clone()), expected);
        // Mounted here as well: the containers that have it are no news.
        let here = said("9 1 259:3 / /data rw - xfs /dev/x rw\n", holders);
        assert!(
            here.contains(&"mounted at /data".into()) && !here.join(" ").contains("namespace"),
            "{here:?}"
        );
        assert!(said("", Holders::default()).is_empty());
    }
}
