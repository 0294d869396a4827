//! Driver, firmware and card addresses on a whole server: the packages are simulated, account, unit and boots are real.

use crate::machine::Machine;
use crate::packages::{driver_package, firmware_package};
use crate::qemu::{Base, Rig};
use crate::site;
use std::time::Duration;

const DRIVER: &str = "/data/packages/Ascend-hdk-910b-npu-driver_25.5.1_linux-x86-64.run";
const FIRMWARE: &str = "/data/packages/Ascend-hdk-910b-npu-firmware_7.8.0.6.201.run";
const MARKER: &str = "/var/lib/berth/bootstrap/resume";
const BOOTSTRAP: &str = "/root/berth bootstrap --profile /root/node.toml";
const LOG: &str = "journalctl -b --no-pager -u berth-bootstrap";
/// The driver's package wrote its version, and has not ended.
const HALF: &str = "grep -q Version=25.5.1 /usr/local/Ascend/driver/version.info && \
     ! grep -q complete /etc/ascend_install.info";
/// What a second run must find as it was.
const STATE: &str = "tar -C / --sort=name --mtime=@0 -cf - etc usr/local/Ascend | sha256sum; \
     sha256sum /var/lib/berth/bootstrap/journal.jsonl";

/// The shipped profile with packages and addresses; QEMU has no card on its PCI bus.
fn profile() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/snt9b.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let cards: Vec<String> = (0..8)
        .map(|card| {
            format!("{{ card = {card}, address = \"10.1.0.{}\", netmask = \"255.255.0.0\" }}", card + 1)
        })
        .collect();
    text.replace("pci-ids = [\"19e5:d802\"]", "pci-ids = []")
        .replace("install = true", "install = false")
        .replace("layout = \"merge\"", "layout = \"none\"")
        .replace("os = [\"euleros 2.0\"", "os = [\"debian 12\"")
        .replace("arch = \"aarch64\"", "arch = \"x86_64\"")
        .replace("# packages = \"/data/packages\"", "packages = \"/data/packages\"")
        .replace("[berth]\n", &format!("[bootstrap.hccn]\naddresses = [{}]\n\n[berth]\n", cards.join(", ")))
}

fn deliver(machine: &Machine) {
    site::deliver(machine, &[]);
    machine.ok("mkdir -p /data/packages");
    machine.write(DRIVER, &driver_package("", "25.5.1", "x86_64", "7.8.0,7.8.99"));
    machine.write(FIRMWARE, &firmware_package("", "7.8.0.6.201"));
    machine.ok("chmod 755 /data/packages/*.run");
    machine.write("/root/node.toml", &profile());
}

#[track_caller]
fn refused(machine: &Machine, words: &str) {
    let ran = machine.run(&format!("{BOOTSTRAP} --apply --yes"));
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(words), "{words}: {}", ran.err);
}

/// Everything was done; the checks at the end say that this server has no cards.
fn applied(machine: &Machine) -> String {
    let ran = machine.run_within(Duration::from_mins(10), &format!("{BOOTSTRAP} --apply --yes"));
    assert!(ran.code == 4 && ran.err.contains("npu.count"), "{}{}", ran.out, ran.err);
    ran.out
}

/// The unit has had its turn.
fn wait_for_resumed(machine: &Machine) {
    let ended = "until [ \"$(systemctl show -P SubState berth-bootstrap)\" = dead ] || \
         systemctl is-failed -q berth-bootstrap; do sleep 0.5; done";
    machine.ok(&format!("timeout 200 sh -c '{ended}'"));
    // `dead` is also what it is before it starts.
    machine.ok(&format!(
        "timeout 200 sh -c 'while [ \"$(cat {MARKER} 2>/dev/null || echo none)\" != none ] && \
         [ \"$(cat {MARKER})\" != \"$(cat /proc/sys/kernel/random/boot_id)\" ]; do sleep 0.5; done'"
    ));
}

#[test]
fn a_bare_server_gets_its_driver_over_a_reboot() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = Machine::boot(&rig, Base::Bare, Vec::new());
    deliver(&machine);

    refused(&machine, "no headers of the running kernel");
    machine.ok("mkdir -p /lib/modules/$(uname -r)/build");
    machine.ok("groupadd -g 1000 staff-of-old");
    refused(&machine, "gid 1000, which group staff-of-old has");
    machine.ok("groupdel staff-of-old && chmod o+w /data/packages");
    refused(&machine, "/data/packages can be written by others");
    machine.ok("chmod o-w /data/packages && test ! -e /usr/local/Ascend && ! id HwHiAiUser");

    let plan = machine.ok(BOOTSTRAP);
    let at = |words: &str| plan.find(words).unwrap_or_else(|| panic!("{words}: {plan}"));
    assert!(at("make group HwHiAiUser (1000) and user HwHiAiUser (1000)") < at("install driver 25.5.1"));
    assert!(at("install driver 25.5.1") < at("install firmware 7.8.0.6.201"));
    assert!(at("install firmware 7.8.0.6.201") < at("ask for a reboot"));
    assert!(at("ask for a reboot") < at("set network addresses: card 0 10.1.0.1"));
    machine.ok("test ! -e /usr/local/Ascend");

    let ten = Duration::from_mins(10);
    let said = machine.ok_within(ten, &format!("{BOOTSTRAP} --apply --yes"));
    assert!(said.contains("A reboot is needed now"), "{said}");
    assert_eq!(
        machine.ok("id -u HwHiAiUser; id -g HwHiAiUser; stat -c %a /home/HwHiAiUser | cut -c1"),
        "1000\n1000\n7"
    );
    assert_eq!(machine.ok("systemctl is-enabled berth-bootstrap"), "enabled");
    assert_eq!(machine.run("cat /etc/hccn.conf").out, "", "addresses wait for the reboot");

    let before = machine.ok(STATE);
    let said = machine.ok(&format!("{BOOTSTRAP} --apply --yes"));
    assert!(said.contains("still waiting for the reboot"), "{said}");
    assert_eq!(machine.ok(STATE), before);

    machine.reboot();
    wait_for_resumed(&machine);
    let log = machine.ok(LOG);
    assert!(log.contains("set network addresses") && log.contains("Done: "), "{log}");
    assert_eq!(machine.run("systemctl is-failed berth-bootstrap").out.trim(), "inactive");
    machine.ok(&format!("test ! -e {MARKER} && grep -qx address_7=10.1.0.8 /etc/hccn.conf"));
    assert_eq!(
        machine.ok("systemctl is-active berth"),
        "active",
        "what stands behind the reboot was done too"
    );

    let before = machine.ok(STATE);
    let said = applied(&machine);
    assert!(said.contains("Nothing had to be done"), "{said}");
    assert_eq!(machine.ok(STATE), before);
}

#[test]
fn a_power_cut_in_the_installation_is_gone_on_with_and_a_failure_only_once() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = Machine::boot(&rig, Base::Bare, Vec::new());
    deliver(&machine);
    machine.ok("mkdir -p /lib/modules/$(uname -r)/build");

    // What fails before anything is installed is the admin's to look at: no boot goes on with it.
    machine.ok("echo half-driver > /etc/sim-run-mode");
    let ran = machine.run_within(Duration::from_mins(10), &format!("{BOOTSTRAP} --apply --yes"));
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("ended with status 137"), "{}", ran.err);
    machine.ok(&format!("test ! -e {MARKER} && {HALF} && rm /usr/local/Ascend/driver/version.info"));

    // The power goes in the middle of the package.
    machine.ok("echo hangs > /etc/sim-run-mode");
    let cut_off = machine.follow(&format!("{BOOTSTRAP} --apply --yes 2>&1"));
    machine.ok(&format!("timeout 200 sh -c 'until {HALF}; do sleep 0.5; done'"));
    machine.ok(&format!("test -e {MARKER} && rm /etc/sim-run-mode && sync"));
    machine.cut();
    drop(cut_off);

    // A power cut is a reboot: the driver is installed again, and asks for another one.
    machine.power_on();
    wait_for_resumed(&machine);
    machine
        .ok("grep -q complete /etc/ascend_install.info && test -e /usr/local/Ascend/firmware/version.info");
    let log = machine.ok(LOG);
    assert!(log.contains("A reboot is needed now"), "{log}");
    assert_eq!(machine.ok(&format!("cat {MARKER}")), machine.ok("cat /proc/sys/kernel/random/boot_id"));

    // What goes wrong behind it is visible, and tried once.
    machine.ok("echo no-link > /etc/sim-run-mode");
    machine.reboot();
    wait_for_resumed(&machine);
    assert_eq!(machine.run("systemctl is-failed berth-bootstrap").out.trim(), "failed");
    let log = machine.ok(LOG);
    assert!(log.contains("Hccn tool execution failed"), "{log}");
    machine.ok(&format!("test ! -e {MARKER} && rm /etc/sim-run-mode"));
    machine.reboot();
    assert_eq!(machine.ok("systemctl show -P ConditionResult berth-bootstrap"), "no");
    assert_eq!(machine.run("cat /etc/hccn.conf").out, "");
    let said = applied(&machine);
    assert!(said.contains("Done: "), "{said}");
    machine.ok("grep -qx address_7=10.1.0.8 /etc/hccn.conf");
}
