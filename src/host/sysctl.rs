//! Kernel settings: names, paths in /proc/sys, reading and writing. It does not need the program sysctl, which some
//! systems lack.

use super::{Host, find_text, need_text, read_text};
use crate::error::Fault;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub const HOSTNAME: &str = "kernel.hostname";
pub const KERNEL: &str = "kernel.osrelease";
/// Of this boot and no other.
pub const BOOT_ID: &str = "kernel.random.boot_id";
/// Another one at each reading.
pub const NEW_UUID: &str = "kernel.random.uuid";

/// Whether it can be a setting's name, and its path nothing else.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    // A part of nothing, or of slashes alone, would be a path of its own.
    let is_part = |part: &str| part.contains(|c: char| c.is_ascii_alphanumeric());
    name.contains('.') && name.split('.').all(is_part) && name.chars().all(plain)
}

/// A slash in a name is a dot of an interface's name.
pub fn path_of(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(swapped(name))
}

/// The name of what a file of sysctl.d(5) sets: there it may be a path, and a dash says that it may fail.
pub fn name_in_file(written: &str) -> String {
    let written = written.trim().trim_start_matches('-');
    let is_path = written
        .find(['.', '/'])
        .is_some_and(|at| written.get(at..).is_some_and(|rest| rest.starts_with('/')));
    if is_path { swapped(written) } else { written.to_owned() }
}

fn swapped(name: &str) -> String {
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

/// What it says, without the end of the line.
pub fn read(host: &dyn Host, name: &str) -> io::Result<String> {
    read_at(host, &path_of(name))
}

/// `None`: this kernel does not have it.
pub fn look(host: &dyn Host, name: &str) -> Result<Option<String>, String> {
    Ok(find_text(host, &path_of(name))?.map(|text| text.trim().to_owned()))
}

/// One that every kernel has.
pub fn need(host: &dyn Host, name: &str) -> Result<String, String> {
    Ok(need_text(host, &path_of(name))?.trim().to_owned())
}

/// Sets it and reads it back.
pub fn set(name: &str, value: u64) -> Result<(), Fault> {
    set_at(&path_of(name), value)
}

/// What the kernel keeps in the same way elsewhere, such as a bridge's own in /sys.
pub(super) fn read_at(host: &dyn Host, path: &Path) -> io::Result<String> {
    read_text(host, path).map(|text| text.trim().to_owned())
}

pub(super) fn set_at(path: &Path, value: u64) -> Result<(), Fault> {
    let wrong = |what: &str| Fault::host(format!("{}: {what}", path.display()));
    fs::write(path, value.to_string()).map_err(|error| wrong(&error.to_string()))?;
    let now = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    if now.trim().parse() == Ok(value) {
        return Ok(());
    }
    Err(wrong(&format!("the kernel took {value} for {}", now.trim())))
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;

    #[test]
    fn a_name_leads_to_one_path() {
        assert_eq!(path_of("vm.max_map_count"), Path::new("/proc/sys/vm/max_map_count"));
        let vlan = "net.ipv4.conf.eth0/100.forwarding";
        assert_eq!(path_of(vlan), Path::new("/proc/sys/net/ipv4/conf/eth0.100/forwarding"));
        assert!(is_name(vlan) && !is_name("a..b") && !is_name("a./.b") && !is_name("../../etc/passwd"));
        assert_eq!(name_in_file(" -vm/max_map_count "), "vm.max_map_count");
        assert_eq!(name_in_file("net/ipv4/conf/eth0.100/forwarding"), vlan);
        assert_eq!((name_in_file(vlan), name_in_file("-")), (vlan.to_owned(), String::new()));
    }

    #[test]
    fn what_is_not_there_is_no_error_to_who_only_looks() {
        let host = FakeHost::default()
            .with_file("/proc/sys/kernel/hostname", "node1\n")
            .with_file("/proc/sys/kernel/osrelease/x", "");
        assert_eq!(look(&host, HOSTNAME), Ok(Some("node1".into())));
        assert_eq!(look(&host, BOOT_ID), Ok(None));
        assert!(look(&host, KERNEL).unwrap_err().contains("/proc/sys/kernel/osrelease cannot be read"));
        assert!(need(&host, BOOT_ID).unwrap_err().contains("/proc/sys/kernel/random/boot_id cannot be read"));
    }
}
