//! A machine with berth on it: the program, profiles, what a test needs of the bootstrap.

use crate::machine::Machine;
use crate::qemu::Rig;
use std::path::{Path, PathBuf};
use std::process::Command;

const BERTH: &str = env!("CARGO_BIN_EXE_berth");

/// Where an administrator would put the program that was downloaded.
pub const PROGRAM: &str = "/root/berth";

/// Copies the program and the profiles.
pub fn deliver(machine: &Machine) {
    machine.put(&stripped(machine.dir()), PROGRAM);
    machine.ok(&format!("chmod 755 {PROGRAM} && mkdir -p /usr/share/berth/profiles"));
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    for entry in std::fs::read_dir(profiles).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        machine.put(&path, &format!("/usr/share/berth/profiles/{name}"));
    }
}

/// A debug build without what only a debugger reads: a tenth of the size.
fn stripped(dir: &Path) -> PathBuf {
    let file = dir.join("berth");
    let status = Command::new("strip").arg("-o").arg(&file).arg(BERTH).status().expect("binutils are there");
    assert!(status.success(), "strip failed");
    file
}

/// A root file system that scripts/test made, in the machine.
pub fn put_image(rig: &Rig, machine: &Machine) -> String {
    let to = "/root/workspace.tar";
    machine.put(&rig.containers.join("workspace.tar"), to);
    to.to_owned()
}

/// The packages in /root/debs as an apt repository on the machine's own loopback.
pub fn serve_packages(machine: &Machine) {
    machine.ok("systemd-run --unit=repository busybox httpd -f -p 127.0.0.1:8000 -h /root/debs");
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] http://127.0.0.1:8000 ./\n");
}
