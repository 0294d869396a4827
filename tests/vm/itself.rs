//! The rig itself: what the other tests take for granted is so.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

fn three_disks() -> Vec<Disk> {
    ["NV1", "NV2", "NV3"].map(|serial| Disk::new(serial, 2048)).to_vec()
}

#[test]
fn disks_are_real_and_outlive_a_power_cut_and_another_order() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = Machine::boot(&rig, Base::Bare, three_disks());
    assert_eq!(machine.ok("systemctl list-units --failed --no-legend"), "");
    assert_eq!(machine.run("docker version").code, 127, "a bare server has no Docker");

    let first = machine.device("NV1");
    machine.ok("vgcreate data /dev/disk/by-id/nvme-*_NV1 /dev/disk/by-id/nvme-*_NV2");
    machine.ok("lvcreate -y -l 100%FREE -n data data && mkfs.xfs -q /dev/data/data");
    machine.ok("mkdir /data && mount -o pquota /dev/data/data /data");
    machine.ok("echo canary >/data/canary && sync /data && sync -f /data");
    machine.ok("echo unflushed >/data/unflushed");
    machine.cut();

    machine.disks.rotate_left(1);
    machine.disks.push(Disk::new("NV4", 1024));
    machine.power_on();
    assert_ne!(machine.device("NV1"), first, "the name went to another disk");
    assert_eq!(machine.ok("lsblk -ndo SIZE \"$(readlink -f /dev/disk/by-id/nvme-*_NV4)\"").trim(), "1G");
    // Not even the mount point had reached the root disk.
    machine.ok("mkdir -p /data && mount -o pquota /dev/data/data /data");
    assert_eq!(machine.ok("cat /data/canary"), "canary");
    assert_eq!(machine.run("cat /data/unflushed").out, "", "a power cut loses what was not flushed");

    site::deliver(&machine, &[]);
    let facts: serde_json::Value =
        serde_json::from_str(&machine.ok(&format!("{} facts --json", site::PROGRAM))).unwrap();
    for serial in ["NV1", "NV2", "NV3", "NV4"] {
        assert!(facts.to_string().contains(&format!("\"{serial}\"")), "{serial}: {facts}");
    }
}

#[test]
fn a_disk_may_vanish_while_the_machine_runs() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = Machine::boot(&rig, Base::Docker, three_disks());
    machine.unplug("NV2");
    assert_eq!(machine.run("ls /dev/disk/by-id/nvme-*_NV2").code, 2);

    site::put_image(&rig, &machine);
    machine.ok("docker import /root/workspace.tar workspace");
    machine.ok("docker run -d --name sleeper --restart always workspace sleep 1000000");
    assert_eq!(machine.ok("docker run --rm workspace echo hello"), "hello");
    machine.reboot();
    assert_eq!(machine.device("NV2").len(), "/dev/nvme0n1".len(), "it is there again");
    machine.ok("timeout 200 sh -c 'until docker exec sleeper true; do sleep 0.2; done'");
}
