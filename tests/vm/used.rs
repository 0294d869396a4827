//! A server that people use already: homes, Docker with images and containers, disks with old data.

use crate::cuts::{cut_everywhere, make_theirs, theirs_is_as_it_was};
use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

/// In a name of a journal's line: what only this server has to do.
const ITS_OWN: [&str; 6] =
    ["disk.wipe", "volume.make", "tree.move", "mount.add:/home", "docker.", "volume.grow"];
const WIPE: &str = "--wipe OLD";

fn server(rig: &Rig) -> Machine {
    let disks = ["NV1", "THEIRS", "NV2", "OLD"].map(|serial| Disk::new(serial, 1024)).to_vec();
    let machine = Machine::boot(rig, Base::Docker, disks);
    make_theirs(&machine);
    machine.ok("mkfs.ext4 -q $(readlink -f /dev/disk/by-id/nvme-*_OLD)");
    machine.ok("mkdir -p /home/alice && echo mine >/home/alice/file && chown -R 1234 /home/alice");
    site::put_image(rig, &machine);
    machine.ok("docker import /root/workspace.tar theirs:1 && rm /root/workspace.tar");
    machine.ok("docker run -d --stop-signal KILL --name theirs --restart always theirs:1 sleep 1000000");
    machine.ok("docker exec theirs sh -c 'echo inside >/home/ma-user/file'");
    let disks =
        "[disks]\nlayout = \"split\"\nmin-size = \"512MiB\"\nmove-contents = true\nleave = [\"THEIRS\"]\n";
    site::deliver(&machine, &[disks, site::OFFLINE]);
    machine.ok("sync");
    machine
}

/// Where it was cut, in the end a whole server.
pub fn at_every_line(rig: &Rig) -> Vec<String> {
    let mut machine = server(rig);
    let is_its_own = |line: &str| ITS_OWN.iter().any(|name| line.contains(name));
    let mut cut = cut_everywhere(&mut machine, WIPE, is_its_own);
    is_whole(&machine, 2);
    machine.power_off();
    machine.disks.push(Disk::new("NV3", 1024));
    machine.power_on();
    cut.extend(cut_everywhere(&mut machine, "", |line| line.contains("volume.grow")));
    is_whole(&machine, 3);
    cut
}

/// Everything is where it should be, on volume `data` over that many disks.
fn is_whole(machine: &Machine, disks: u64) {
    site::nothing_is_left(machine);
    assert_eq!(machine.ok("vgs --noheadings -o pv_count berth_data").trim(), disks.to_string());
    let bytes: u64 = machine.ok("findmnt -bno SIZE /data").parse().unwrap();
    assert!(bytes > (disks * 900) << 20, "the file system has {bytes} bytes");
    assert_eq!(machine.ok("findmnt -no FSTYPE /home"), "xfs");
    assert_eq!(machine.ok("stat -c %u /home/alice/file && cat /home/alice/file"), "1234\nmine");
    assert_eq!(machine.ok("docker info -f '{{.DockerRootDir}}'"), "/data/docker");
    let running = "timeout 200 sh -c 'until docker exec theirs true 2>/dev/null; do sleep 0.5; done'";
    machine.ok(running);
    assert_eq!(machine.ok("docker exec theirs cat /home/ma-user/file"), "inside");
    theirs_is_as_it_was(machine);
}
