//! From a bare server to a login, and a second run that changes nothing.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

#[test]
fn a_bare_server_becomes_one_that_people_work_on() {
    let Some(rig) = Rig::find() else { return };
    let disks = ["NV1", "NV2", "NV3"].map(|serial| Disk::new(serial, 2048)).to_vec();
    let mut machine = Machine::boot(&rig, Base::Bare, disks);
    site::deliver(&machine, &[site::MERGE, site::OFFLINE]);
    let untouched =
        "find /etc -newer /root/berth -type f; vgs --noheadings; findmnt --real -rn -o TARGET,SOURCE";
    let before = machine.ok(untouched);
    let shown = site::bootstrap(&machine, "");
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    for serial in ["NV1", "NV2", "NV3"] {
        assert!(shown.out.contains(serial), "{}", shown.out);
    }
    assert!(shown.out.contains("Nothing was changed."), "{}", shown.out);
    assert_eq!(machine.ok(untouched), before, "a plan changes nothing");

    fails_in_the_middle(&machine);
    site::apply(&machine);
    // Another order of slots, as a firmware update may bring it.
    machine.power_off();
    machine.disks.rotate_left(1);
    machine.power_on();
    site::wait_for_agent(&machine);
    assert_eq!(machine.ok("findmnt -no FSTYPE /data"), "xfs");
    assert!(machine.ok("findmnt -no OPTIONS /data").contains("prjquota"));
    assert_eq!(machine.ok("docker info -f '{{.DockerRootDir}}'"), "/data/docker");
    site::use_the_node(&rig, &machine);

    let before = site::state(&machine);
    let again = site::bootstrap(&machine, "--apply --yes");
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert!(again.out.contains("Nothing had to be done"), "{}", again.out);
    assert_eq!(site::state(&machine), before, "a second bootstrap changes nothing");
}

/// One of the packages cannot be configured. The next run goes on with what is there.
fn fails_in_the_middle(machine: &Machine) {
    machine.ok(
        "set -e; mkdir -p /root/broken/DEBIAN; cd /root/broken/DEBIAN; touch /root/fail
         printf 'Package: zz-broken\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.com>\\n' >control
         echo 'Description: fails' >>control
         printf '#!/bin/sh\\n[ ! -e /root/fail ] || { echo not today >&2; exit 1; }\\n' >postinst
         chmod 755 postinst; dpkg-deb -b /root/broken /root/debs/zz-broken.deb",
    );
    let failed = site::bootstrap(machine, "--apply --yes");
    assert!(failed.code == 5 && failed.err.contains("not today"), "{}: {}", failed.code, failed.err);
    machine.ok("rm /root/fail");
}
