//! Who holds a disk without mounting it here: open descriptors, and mounts that another mount namespace sees.
//!
//! It only looks; processes may come and go while it does.

use super::procs::{
    Meter, OpenDevice, OpenDevices, devices_of_threads, has_ended, living, parse_cgroup, pids, read_small,
    status,
};
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Other processes that have one of these block devices open and keep it.
pub fn lasting_blocks(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    lasting(proc_root, FileType::BlockDevice, rdevs)
}

/// The same for character devices.
pub fn lasting_characters(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    lasting(proc_root, FileType::CharacterDevice, rdevs)
}

/// With patience: udev and its like look at a disk for a moment.
fn lasting(proc_root: &Path, kind: FileType, rdevs: &[(u32, u32)]) -> OpenDevices {
    const LOOKS: u32 = 15;
    const BETWEEN: Duration = Duration::from_millis(100);
    if rdevs.is_empty() {
        return OpenDevices::default();
    }
    let look = || {
        let mut found = open_devices(proc_root, kind, rdevs);
        found.open.retain(|open| open.pid != std::process::id());
        found
    };
    let mut found = look();
    for _ in 1..LOOKS {
        if found.open.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN);
        let again = look();
        let stays = |open: &OpenDevice| again.open.iter().any(|o| (o.pid, o.rdev) == (open.pid, open.rdev));
        found.open.retain(stays);
        found.unreadable = found.unreadable.max(again.unreadable);
        found.reason = found.reason.or(again.reason);
    }
    found
}

/// One entry for each process and device, in the order of pids. Every descriptor is looked at, however many.
fn open_devices(proc_root: &Path, kind: FileType, rdevs: &[(u32, u32)]) -> OpenDevices {
    let mut found = OpenDevices::default();
    let pids = match pids(proc_root) {
        Ok(pids) => pids,
        Err(error) => {
            found.unreadable = 1;
            found.reason = Some(format!("{} cannot be read: {error}", proc_root.display()));
            return found;
        }
    };
    for pid in pids {
        let dir = living(&proc_root.join(pid.to_string()));
        match devices_of_threads(&dir, kind, rdevs, &mut Meter::endless()) {
            Ok(open) => {
                let (name, uid) = status(&dir);
                let about = |rdev| OpenDevice { pid, name: name.clone(), uid, rdev, container_id: None };
                found.open.extend(open.into_iter().map(about));
            }
            Err(error) if has_ended(&error) => {}
            Err(error) => {
                found.unreadable += 1;
                found.reason.get_or_insert_with(|| format!("process {pid} cannot be looked into: {error}"));
            }
        }
    }
    found
}

/// A process's name, and the systemd unit or the container that it runs in.
pub fn name_and_unit(proc_root: &Path, pid: u32) -> (String, Option<String>) {
    let dir = living(&proc_root.join(pid.to_string()));
    let (name, _) = status(&dir);
    let cgroup = read_small(&dir.join("cgroup")).unwrap_or_default();
    let container = parse_cgroup(&cgroup).map(|id| format!("container {}", id.get(..12).unwrap_or(&id)));
    (name, container.or_else(|| unit_in(&cgroup)))
}

fn unit_in(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.flat_map(|path| path.rsplit('/'));
    let is_unit =
        |part: &&str| part.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "service" | "scope"));
    parts.find(is_unit).map(str::to_owned)
}

/// The mounts of each mount namespace but that of pid 1, as a process of it sees them. One that sees only a part of them,
/// because it has another root, counts for itself.
pub fn other_mount_namespaces(proc_root: &Path) -> io::Result<Vec<(u32, String)>> {
    let of = |process: &Path, link: &str| fs::read_link(process.join(link));
    let ours = of(&proc_root.join("1"), "ns/mnt")?;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(proc_root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let process = living(&entry.path());
        let table = of(&process, "ns/mnt").and_then(|namespace| {
            if namespace == ours || !seen.insert((namespace, of(&process, "root")?)) {
                return Ok(None);
            }
            fs::read(process.join("mountinfo")).map(Some)
        });
        match table {
            Ok(Some(text)) => {
                found.push((pid.parse().unwrap_or_default(), String::from_utf8_lossy(&text).into_owned()));
            }
            Ok(None) => {}
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("process {pid}: {error}"))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_unit_or_its_container() {
        assert_eq!(unit_in("0::/system.slice/libvirtd.service\n").as_deref(), Some("libvirtd.service"));
        assert_eq!(
            unit_in("0::/user.slice/user-0.slice/session-1.scope\n").as_deref(),
            Some("session-1.scope")
        );
        assert_eq!(unit_in("0::/\n"), None);
        let (name, _) = name_and_unit(Path::new("/proc"), std::process::id());
        assert!(!name.is_empty());
    }

    #[test]
    fn a_character_device_that_stays_open_is_found_by_its_number() {
        let null = (1, 3);
        let held = fs::File::open("/dev/null").unwrap();
        let of = |kind| open_devices(Path::new("/proc"), kind, &[null]).open;
        let is_own = |open: &OpenDevice| (open.pid, open.rdev) == (std::process::id(), null);
        assert!(of(FileType::CharacterDevice).iter().any(is_own));
        assert!(!of(FileType::BlockDevice).iter().any(is_own));
        drop(held);
        assert_eq!(lasting(Path::new("/no/proc"), FileType::CharacterDevice, &[]), OpenDevices::default());
    }

    #[test]
    fn mounts_of_another_namespace_are_read_once() {
        let proc_root = tempfile::tempdir().unwrap();
        let process = |pid: u32, namespace: &str, root: &str| {
            let dir = proc_root.path().join(pid.to_string());
            fs::create_dir_all(dir.join("ns")).unwrap();
            std::os::unix::fs::symlink(namespace, dir.join("ns/mnt")).unwrap();
            std::os::unix::fs::symlink(root, dir.join("root")).unwrap();
            fs::write(dir.join("mountinfo"), format!("{namespace} {root}")).unwrap();
        };
        process(1, "mnt:[1]", "/");
        process(4, "mnt:[1]", "/");
        process(5, "mnt:[2]", "/");
        process(6, "mnt:[2]", "/");
        // In a chroot it sees less than the others.
        process(7, "mnt:[2]", "/jail");
        fs::create_dir(proc_root.path().join("8")).unwrap();
        let mut tables: Vec<String> = other_mount_namespaces(proc_root.path())
            .unwrap()
            .into_iter()
            .map(|(pid, table)| format!("{} {table}", pid == 7))
            .collect();
        tables.sort();
        assert_eq!(tables, ["false mnt:[2] /", "true mnt:[2] /jail"]);
        process(9, "mnt:[3]", "/");
        fs::remove_file(proc_root.path().join("9/mountinfo")).unwrap();
        fs::create_dir(proc_root.path().join("9/mountinfo")).unwrap();
        assert!(other_mount_namespaces(proc_root.path()).unwrap_err().to_string().contains("process 9"));
        assert!(other_mount_namespaces(Path::new("/no/such/proc")).is_err());
    }
}
