//! Processes that use a disk without a mount in this namespace: by open descriptors, or by mounts in other namespaces.
//!
//! It only looks; processes may come and go while it does.

use super::procs::{
    Meter, OpenDevice, OpenDevices, devices_of_threads, has_ended, living, parse_cgroup, pids, read_small,
    status,
};
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Other processes that keep one of these block devices open for longer than a moment.
pub fn lasting_blocks(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    lasting(proc_root, FileType::BlockDevice, rdevs)
}

/// The same for character devices.
pub fn lasting_characters(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    lasting(proc_root, FileType::CharacterDevice, rdevs)
}

/// Looks several times, because udev and similar programs open a disk for a moment.
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

/// Bytes of one namespace's list of mounts that are read, and how long a look at all of them goes on: anybody may make
/// namespaces, with a hundred thousand mounts in each.
const MOUNTS: u64 = 4 << 20;
const LONG: Duration = Duration::from_secs(5);
/// Namespaces that are named when they could not be looked at.
const NAMED: usize = 16;

/// Calls `each` with every mount line of each mount namespace except that of pid 1. A process with another root sees
/// only a part of its namespace, and is read separately. Returns the namespaces that could not be read, named by a
/// process.
pub fn other_mounts(proc_root: &Path, each: &mut dyn FnMut(u32, &str)) -> io::Result<Vec<String>> {
    mounts_until(proc_root, Instant::now() + LONG, each)
}

fn mounts_until(
    proc_root: &Path,
    until: Instant,
    each: &mut dyn FnMut(u32, &str),
) -> io::Result<Vec<String>> {
    let of = |process: &Path, link: &str| fs::read_link(process.join(link));
    let ours = of(&proc_root.join("1"), "ns/mnt")?;
    let mut seen = BTreeSet::new();
    let (mut blind, mut more) = (Vec::new(), 0);
    for pid in pids(proc_root)? {
        let process = living(&proc_root.join(pid.to_string()));
        let looked = of(&process, "ns/mnt").and_then(|namespace| {
            if namespace == ours {
                return Ok(());
            }
            let sight = (namespace, of(&process, "root")?);
            if seen.contains(&sight) {
                return Ok(());
            }
            let looked = mount_lines(&process, until, &mut |line| each(pid, line));
            // Of one that ended meanwhile, another of its namespace is looked at.
            if !looked.as_ref().is_err_and(has_ended) {
                seen.insert(sight);
            }
            looked
        });
        match looked {
            Err(error) if !has_ended(&error) && blind.len() < NAMED => {
                let (name, uid) = status(&process);
                let account = uid.map(|uid| format!(", uid {uid}")).unwrap_or_default();
                blind.push(format!("process {pid} ({name}{account}): {error}"));
            }
            Err(error) if !has_ended(&error) => more += 1,
            _ => {}
        }
    }
    if more > 0 {
        blind.push(format!("{more} more namespaces"));
    }
    Ok(blind)
}

fn mount_lines(process: &Path, until: Instant, each: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut text =
        BufReader::with_capacity(64 << 10, fs::File::open(process.join("mountinfo"))?.take(MOUNTS));
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        if Instant::now() >= until {
            let why = format!("not looked at within {} s", LONG.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        line.clear();
        length += text.read_until(b'\n', &mut line)?;
        if u64::try_from(length).is_ok_and(|length| length >= MOUNTS) {
            let why = format!("it has more mounts than are read, {} MiB of their list", MOUNTS >> 20);
            return Err(io::Error::other(why));
        }
        if line.is_empty() {
            return Ok(());
        }
        each(String::from_utf8_lossy(&line).trim_end_matches('\n'));
    }
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
        let look = |until| {
            let mut tables = Vec::new();
            let blind = mounts_until(proc_root.path(), until, &mut |pid, line| {
                tables.push(format!("{} {line}", pid == 7));
            });
            tables.sort();
            (tables, blind.unwrap())
        };
        let later = || Instant::now() + Duration::from_mins(10);
        assert_eq!(look(later()), (vec!["false mnt:[2] /".into(), "true mnt:[2] /jail".into()], vec![]));
        process(9, "mnt:[3]", "/");
        fs::remove_file(proc_root.path().join("9/mountinfo")).unwrap();
        fs::create_dir(proc_root.path().join("9/mountinfo")).unwrap();
        // Of somebody with very many mounts: the others are seen.
        process(10, "mnt:[4]", "/");
        fs::write(proc_root.path().join("10/status"), "Name:\tunshare\nUid:\t1001\t1001\t1001\t1001\n")
            .unwrap();
        fs::write(proc_root.path().join("10/mountinfo"), "x\n".repeat(4 << 20)).unwrap();
        process(11, "mnt:[5]", "/");
        let (tables, blind) = look(later());
        assert!(tables.contains(&"false mnt:[5] /".to_owned()));
        // The first of its namespace has ended by then.
        process(12, "mnt:[6]", "/");
        fs::remove_file(proc_root.path().join("12/mountinfo")).unwrap();
        process(13, "mnt:[6]", "/");
        assert!(look(later()).0.contains(&"false mnt:[6] /".to_owned()));
        fs::remove_dir_all(proc_root.path().join("12")).unwrap();
        fs::remove_dir_all(proc_root.path().join("13")).unwrap();
        assert!(blind[0].starts_with("process 9 "), "{blind:?}");
        assert_eq!(
            blind[1..],
            ["process 10 (unshare, uid 1001): it has more mounts than are read, 4 MiB of their list"]
        );
        // No time is left for any.
        let (tables, blind) = look(Instant::now());
        assert!(tables.is_empty() && blind.len() == 5, "{blind:?}");
        (100..200).for_each(|pid| process(pid, &format!("mnt:[{pid}]"), "/"));
        assert_eq!(look(Instant::now()).1.last().unwrap(), "89 more namespaces");
        assert!(other_mounts(Path::new("/no/such/proc"), &mut |_, _| ()).is_err());
    }
}
