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

    somebody_would_lose_something(&machine);
    fails_in_the_middle(&machine);
    site::apply(&machine);
    site::wait_for_agent(&machine);
    site::use_the_node(&rig, &machine);
    // Another order of slots, as a firmware update may bring it.
    machine.power_off();
    machine.disks.rotate_left(1);
    machine.power_on();
    site::wait_for_agent(&machine);
    assert_eq!(machine.ok("findmnt -no FSTYPE /data"), "xfs");
    assert!(machine.ok("findmnt -no OPTIONS /data").contains("prjquota"));
    assert_eq!(machine.ok("docker info -f '{{.DockerRootDir}}'"), "/data/docker");
    site::find_it_again(&machine);

    let before = site::state(&machine);
    let again = site::bootstrap(&machine, "--apply --yes");
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert!(again.out.contains("Nothing had to be done"), "{}", again.out);
    assert_eq!(site::state(&machine), before, "a second bootstrap changes nothing");
}

/// A node of Kubernetes: a containerd that Docker's packages do not go with, and containers that run under it.
fn somebody_would_lose_something(machine: &Machine) {
    let theirs = "Conflicts: containerd, runc\nReplaces: containerd, runc\nProvides: containerd, runc\n";
    make_package(machine, "containerd.io", theirs, "/root", ":");
    machine.ok("dpkg -i /root/containerd.io.deb");
    let shim = "/root/containerd-shim-runc-v2";
    machine.write(shim, "#!/bin/sh\nexec 3>/root/shim-runs\nwhile sleep 1; do :; done\n");
    machine.ok(&format!(
        "chmod 755 {shim} && systemd-run -q --unit=shim {shim} -namespace k8s.io -address /run/their.sock && \
         timeout 60 sh -c 'until [ -e /root/shim-runs ]; do sleep 0.2; done'"
    ));
    let said = site::refused(machine, "--apply --yes");
    assert!(said.contains("/run/their.sock (namespace \"k8s.io\""), "{said}");
    machine.ok("systemctl stop shim");
    for args in ["", "--apply --yes"] {
        let said = site::refused(machine, args);
        assert!(said.contains("apt-get would remove containerd.io"), "{said}");
    }
    assert_eq!(machine.ok(INSTALLED), "installed");
    machine.ok("dpkg -r containerd.io");
    somebody_installs_in_between(machine);
}

const INSTALLED: &str = "dpkg-query -W -f '${db:Status-Status}' containerd.io";

/// Their package comes between the answer of what apt-get would do and the installation: nothing but apt-get itself can see it.
fn somebody_installs_in_between(machine: &Machine) {
    let wrapper = "/usr/local/sbin/apt-get";
    let script = "#!/bin/sh\ncase \" $* \" in *' --simulate '*) ;; \
        *) dpkg -s containerd.io >/dev/null 2>&1 || dpkg -i /root/containerd.io.deb ;; esac\n\
        exec /usr/bin/apt-get \"$@\"\n";
    machine.write(wrapper, script);
    machine.ok(&format!("chmod 755 {wrapper}"));
    let failed = site::bootstrap(machine, "--apply --yes");
    assert_eq!(failed.code, 5, "{}{}", failed.out, failed.err);
    assert!(failed.err.contains("Packages need to be removed but remove is disabled"), "{}", failed.err);
    assert_eq!(machine.ok(INSTALLED), "installed");
    assert_eq!(machine.run("dpkg -s docker.io").code, 1, "nothing of it was installed");
    machine.ok(&format!("rm {wrapper} && dpkg -r containerd.io"));
}

/// Somebody else installs, and then one of the packages cannot be configured. The next run goes on with what is there.
fn fails_in_the_middle(machine: &Machine) {
    make_package(machine, "zz-slow", "", "/root", "while [ -e /root/wait ]; do sleep 0.2; done");
    machine.ok("touch /root/wait && systemd-run -q --unit=other dpkg -i /root/zz-slow.deb");
    machine.ok("timeout 60 sh -c 'until dpkg -s zz-slow 2>&1 | grep -q half-configured; do sleep 0.2; done'");
    let said = site::refused(machine, "--apply --yes");
    assert!(said.contains("is using the package manager"), "{said}");
    machine.ok("rm /root/wait; timeout 60 sh -c 'while systemctl is-active -q other; do sleep 0.2; done'");

    let postinst = "[ ! -e /root/fail ] || { echo not today >&2; exit 1; }";
    make_package(machine, "zz-broken", "", "/root/debs", postinst);
    machine.ok("touch /root/fail");
    let failed = site::bootstrap(machine, "--apply --yes");
    assert!(failed.code == 5 && failed.err.contains("not today"), "{}: {}", failed.code, failed.err);
    machine.ok("rm /root/fail");
}

/// An empty package with these fields more, that does this when it is configured.
fn make_package(machine: &Machine, name: &str, fields: &str, dir: &str, postinst: &str) {
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\n{fields}Description: x\n"
    );
    machine.ok(&format!("mkdir -p /root/{name}/DEBIAN"));
    machine.write(&format!("/root/{name}/DEBIAN/control"), &control);
    machine.write(&format!("/root/{name}/DEBIAN/postinst"), &format!("#!/bin/sh\n{postinst}\n"));
    machine
        .ok(&format!("chmod 755 /root/{name}/DEBIAN/postinst && dpkg-deb -b /root/{name} {dir}/{name}.deb"));
}
