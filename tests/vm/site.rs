//! A machine with berth on it: the program, a profile, and what tests of the bootstrap ask again and again.

use crate::machine::Machine;
use crate::qemu::Rig;
use crate::shell::Ran;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BERTH: &str = env!("CARGO_BIN_EXE_berth");
/// Where an administrator would put the program that was downloaded.
pub const PROGRAM: &str = "/root/berth";
pub const JOURNAL: &str = "/var/lib/berth/bootstrap/journal.jsonl";
/// A whole bootstrap with Docker's packages.
pub const BOOTSTRAP: Duration = Duration::from_mins(15);

/// All disks in one volume.
pub const MERGE: &str = "[disks]\nlayout = \"merge\"\nmin-size = \"512MiB\"\n";
/// Docker from the packages that are in the machine.
pub const OFFLINE: &str = "[docker]\ninstall = true\npackages = \"/root/debs\"\n";
/// Docker from whatever apt knows.
pub const ONLINE: &str = "[docker]\ninstall = true\n";

/// Copies the program, and the simulated node's profile with this `[bootstrap]`.
pub fn deliver(machine: &Machine, bootstrap: &[&str]) {
    machine.put(&stripped(machine.dir()), PROGRAM);
    machine.ok(&format!("chmod 755 {PROGRAM} && mkdir -p /usr/share/berth/profiles /etc/berth"));
    machine.write("/usr/share/berth/profiles/sim.toml", &profile(&bootstrap.concat()));
    machine.write("/etc/berth/berth.toml", "profile = \"sim\"\n");
}

fn profile(bootstrap: &str) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/sim.toml");
    let mut profile: toml::Table = std::fs::read_to_string(shipped).unwrap().parse().unwrap();
    // The machine is a small one.
    let berth = profile.get_mut("berth").and_then(toml::Value::as_table_mut).unwrap();
    berth.insert("memory-per-card".into(), "96MiB".into());
    let check = profile.get_mut("check").and_then(toml::Value::as_table_mut).unwrap();
    check.insert("memory".into(), "1GiB".into());
    profile.insert("bootstrap".into(), toml::Value::Table(bootstrap.parse().unwrap()));
    profile.to_string()
}

/// A debug build without what only a debugger reads: a tenth of the size.
fn stripped(dir: &Path) -> PathBuf {
    let file = dir.join("berth");
    let status = Command::new("strip").arg("-o").arg(&file).arg(BERTH).status().expect("binutils are there");
    assert!(status.success(), "strip failed");
    file
}

/// `berth bootstrap` with these arguments.
pub fn bootstrap(machine: &Machine, args: &str) -> Ran {
    machine.run_within(BOOTSTRAP, &format!("{PROGRAM} bootstrap {args}"))
}

/// Does it, and then sees that nothing is left to do.
#[track_caller]
pub fn apply(machine: &Machine) {
    let mut ran = bootstrap(machine, "--apply --yes");
    if is_done(ran.code) && ran.err.contains("could not be looked at: docker.") {
        // An emulated processor may need more than the 10 seconds that a check gives an engine that was just started.
        machine.ok("docker info > /dev/null");
        ran = bootstrap(machine, "--apply --yes");
    }
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    nothing_is_left(machine);
}

/// A plan is empty.
#[track_caller]
pub fn nothing_is_left(machine: &Machine) {
    let again = bootstrap(machine, "");
    assert!(again.code == 0 && again.out.contains("Nothing is to be done."), "{}{}", again.out, again.err);
}

/// It must have done its steps. That a check fails afterwards is right where there is no Docker.
#[track_caller]
pub fn done(ran: &Ran) {
    assert!(is_done(ran.code), "{}: {}{}", ran.code, ran.out, ran.err);
}

/// 4: the steps are done, and a check fails.
pub fn is_done(code: i32) -> bool {
    [0, 4].contains(&code)
}

/// It must refuse; what it says.
#[track_caller]
pub fn refused(machine: &Machine, args: &str) -> String {
    let ran = bootstrap(machine, args);
    assert_eq!(ran.code, 3, "berth bootstrap {args}\n{}{}", ran.out, ran.err);
    ran.err
}

/// Everything that a second run must not change: files with their times, LVM's metadata, file systems, mounts.
pub fn state(machine: &Machine) -> String {
    let etc = "cd /etc && find . -type f -print0 | sort -z | xargs -0 sha256sum && \
               find . -printf '%p %M %u:%g %T@ %l\\n' | sort";
    let disks = "vgs --noheadings -o vg_name,vg_uuid,vg_seqno,vg_tags && pvs --noheadings -o pv_name,pv_uuid,vg_name && \
                 findmnt --real -rn -o TARGET,UUID,FSTYPE,OPTIONS && lsblk -nro NAME,FSTYPE,UUID,MOUNTPOINTS";
    let own =
        "sha256sum /usr/local/bin/berth && systemctl show -p ActiveEnterTimestampMonotonic berth docker";
    machine.ok(&format!("{etc} && {disks} && {own}"))
}

/// What is on disks, and what is mounted.
pub fn state_of_disks(machine: &Machine) -> String {
    machine.ok("vgs --noheadings -o vg_name,vg_uuid,vg_seqno; pvs --noheadings -o pv_name,pv_uuid,vg_name; \
                findmnt --real -rn -o TARGET,UUID; sha256sum /etc/fstab; lsblk -nro NAME,FSTYPE,UUID")
}

/// The agent answers, maybe after a boot.
pub fn wait_for_agent(machine: &Machine) {
    machine.ok(
        "timeout 200 sh -c 'until berth cards --json >/dev/null 2>&1; do sleep 0.5; done' || berth cards",
    );
}

/// What an administrator and a user do: a key, an image, a berth, a login.
pub fn use_the_node(rig: &Rig, machine: &Machine) {
    let key = machine.dir().join("alice");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f"]).arg(&key);
    assert!(keygen.status().expect("ssh-keygen is there").success());
    machine.put(&key.with_extension("pub"), "/root/alice.pub");
    put_image(rig, machine);
    machine.ok("berth image import /root/workspace.tar --name workspace");
    machine.ok("berth user add alice --key /root/alice.pub");
    machine.ok("berth request --user alice --name demo --cards 2 --image workspace");
    let ran = log_in(machine, "id -un; ls /dev/davinci?; echo stays > /tmp/made");
    assert_eq!((ran.code, ran.out.as_str()), (0, "ma-user\n/dev/davinci0\n/dev/davinci1\n"), "{}", ran.err);
}

/// The same berth after a boot: it comes back by itself, on its own cards, with its files. Then it is released.
pub fn find_it_again(machine: &Machine) {
    machine.ok(
        "timeout 200 sh -c 'until berth events --kind berth.back | grep -q alice/demo; do sleep 1; done' || \
         { berth list; berth events; false; }",
    );
    let ran = log_in(machine, "cat /tmp/made; ls /dev/davinci?");
    assert_eq!((ran.code, ran.out.as_str()), (0, "stays\n/dev/davinci0\n/dev/davinci1\n"), "{}", ran.err);
    let shown = show(machine);
    assert_eq!((&shown["state"], &shown["conditions"]), (&json!("live"), &json!([])), "{shown}");
    machine.ok("berth release alice/demo");
    // An emulated processor has much to do after a boot, and berth check gives an engine 10 seconds.
    machine.ok("docker info > /dev/null");
    assert_eq!(machine.ok("docker ps -q --filter label=berth.schema"), "");
}

fn show(machine: &Machine) -> Value {
    serde_json::from_str(&machine.ok("berth show alice/demo --json")).unwrap()
}

fn log_in(machine: &Machine, script: &str) -> Ran {
    let shown = show(machine);
    let port = u16::try_from(shown["port"].as_u64().unwrap()).unwrap();
    machine.ssh_to(port, &machine.dir().join("alice"), shown["ssh_user"].as_str().unwrap(), script)
}

/// A root file system that scripts/test made, in the machine.
pub fn put_image(rig: &Rig, machine: &Machine) {
    machine.put(&rig.containers.join("workspace.tar"), "/root/workspace.tar");
}

/// The packages in /root/debs as an apt repository on the machine's own loopback.
pub fn serve_packages(machine: &Machine) {
    machine.ok("systemd-run --unit=repository busybox httpd -f -p 127.0.0.1:8000 -h /root/debs");
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] http://127.0.0.1:8000 ./\n");
}
