//! Who has a device open: a scan of /proc. It only looks; processes may come and go while it does.

use super::{Host, read_text};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A process that has one of the devices open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDevice {
    pub pid: u32,
    pub name: String,
    pub uid: Option<u32>,
    /// Major and minor.
    pub rdev: (u32, u32),
    /// The container it runs in, by its cgroup.
    pub container_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenDevices {
    pub open: Vec<OpenDevice>,
    /// Processes that could not be looked into: then nobody found does not mean nobody there.
    pub unreadable: u32,
    pub reason: Option<String>,
}

/// One entry for each process and character device, in the order of pids.
pub fn open_devices(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    open_of(FileType::CharacterDevice, proc_root, rdevs)
}

/// Other processes that have one of these block devices open and keep it: udev and its like look at a disk for a moment.
pub fn lasting_blocks(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    const LOOKS: u32 = 15;
    const BETWEEN: Duration = Duration::from_millis(100);
    let look = || {
        let mut found = open_of(FileType::BlockDevice, proc_root, rdevs);
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

fn open_of(kind: FileType, proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
    let mut found = OpenDevices::default();
    let entries = match fs::read_dir(proc_root) {
        Ok(entries) => entries,
        Err(error) => {
            found.unreadable = 1;
            found.reason = Some(format!("{} cannot be read: {error}", proc_root.display()));
            return found;
        }
    };
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let dir = proc_root.join(pid.to_string());
        match devices_of(&dir, kind, rdevs) {
            Ok(open) => {
                for rdev in open {
                    let (name, uid) = status(&dir);
                    let container_id = container_of(proc_root, pid);
                    found.open.push(OpenDevice { pid, name, uid, rdev, container_id });
                }
            }
            Err(error) if vanished(&error) => {}
            Err(error) => {
                found.unreadable += 1;
                found.reason.get_or_insert_with(|| format!("process {pid} cannot be looked into: {error}"));
            }
        }
    }
    found
}

/// Processes that are in a directory, run a program of it, or have something below it open.
pub fn at_work_below(proc_root: &Path, top: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc_root)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        match is_at_work_below(&entry.path(), top) {
            Ok(true) => found.push(format!("{} (process {pid})", status(&entry.path()).0)),
            Ok(false) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("process {pid}: {error}"))),
        }
    }
    Ok(found)
}

fn is_at_work_below(process: &Path, top: &Path) -> io::Result<bool> {
    let is_below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(top));
    if ["cwd", "root", "exe"].iter().any(|name| is_below(&process.join(name))) {
        return Ok(true);
    }
    let open = fs::read_dir(process.join("fd"))?;
    Ok(open.flatten().any(|entry| is_below(&entry.path())))
}

fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Of a file below /proc/PID: the process is not there any more, or only its exit status is.
pub fn has_ended(error: &io::Error) -> bool {
    vanished(error) || error.kind() == io::ErrorKind::InvalidInput
}

fn devices_of(dir: &Path, kind: FileType, rdevs: &[(u32, u32)]) -> io::Result<BTreeSet<(u32, u32)>> {
    let mut open = BTreeSet::new();
    for entry in fs::read_dir(dir.join("fd"))? {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) if vanished(&error) => continue,
            Err(error) => return Err(error),
        };
        // Follows the magic link to the open file itself, under whatever name it was opened, also in another
        // mount namespace. DONT_SYNC: a file on a network file system that hangs must not hang us.
        let flags = AtFlags::STATX_DONT_SYNC;
        let Ok(stat) = statx(CWD, &path, flags, StatxFlags::TYPE) else { continue };
        let rdev = (stat.stx_rdev_major, stat.stx_rdev_minor);
        if FileType::from_raw_mode(stat.stx_mode.into()) == kind && rdevs.contains(&rdev) {
            open.insert(rdev);
        }
    }
    Ok(open)
}

/// Name and real user from `/proc/<pid>/status`.
fn status(dir: &Path) -> (String, Option<u32>) {
    let text = read_small(&dir.join("status")).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let uid = value("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
    (value("Name:").unwrap_or_default().to_owned(), uid)
}

/// A process's name, and the systemd unit or the container that it runs in.
pub fn name_and_unit(proc_root: &Path, pid: u32) -> (String, Option<String>) {
    let dir = proc_root.join(pid.to_string());
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
    let of = |pid: &str, link: &str| fs::read_link(proc_root.join(pid).join(link));
    let ours = of("1", "ns/mnt")?;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(proc_root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let table = of(pid, "ns/mnt").and_then(|namespace| {
            if namespace == ours || !seen.insert((namespace, of(pid, "root")?)) {
                return Ok(None);
            }
            fs::read(entry.path().join("mountinfo")).map(Some)
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

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, 64 << 10), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The id of the outermost container that a process is in, as the host's engine knows it.
pub fn container_of(proc_root: &Path, pid: u32) -> Option<String> {
    let text = read_small(&proc_root.join(pid.to_string()).join("cgroup")).ok()?;
    parse_cgroup(&text)
}

/// `/docker/<id>`, `/system.slice/docker-<id>.scope`, `/kubepods/…/cri-containerd-<id>.scope`.
pub fn parse_cgroup(text: &str) -> Option<String> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        path.split('/').find_map(|part| {
            let part = part.strip_suffix(".scope").unwrap_or(part);
            let id = part.rsplit(['-', ':']).next()?;
            (id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
        })
    })
}

/// A user's name from /etc/passwd, read directly: a static program cannot load NSS modules.
pub fn user_name(host: &dyn Host, uid: u32) -> Option<String> {
    let text = read_text(host, Path::new("/etc/passwd")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;
    use std::process::{Command, Stdio};

    #[test]
    fn containers_are_found_in_every_kind_of_cgroup() {
        let id = "0123456789abcdef".repeat(4);
        for text in [
            format!("12:devices:/docker/{id}\n0::/\n"),
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("3:cpu:/kubepods/burstable/pod12-34/{id}\n"),
            format!("0::/kubepods.slice/kubepods-podx.slice/cri-containerd-{id}.scope/init\n"),
            format!("0::/../../docker/{id}/docker/{}\n", "f".repeat(64)),
            format!("0::/system.slice/x:cri-containerd:{id}\n"),
        ] {
            assert_eq!(parse_cgroup(&text).as_deref(), Some(id.as_str()), "{text}");
        }
        assert_eq!(parse_cgroup("0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(parse_cgroup(""), None);
    }

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

    #[test]
    fn a_process_with_an_open_device_is_found() {
        // The device is its standard input for as long as it sleeps.
        let device = fs::File::open("/dev/full").unwrap();
        let mut child = Command::new("sleep").arg("60").stdin(device).stdout(Stdio::null()).spawn().unwrap();
        let found = open_devices(Path::new("/proc"), &[(1, 7)]);
        child.kill().unwrap();
        child.wait().unwrap();
        let ours = found.open.iter().find(|open| open.pid == child.id()).unwrap();
        assert_eq!((ours.rdev, ours.uid), ((1, 7), Some(nix::unistd::getuid().as_raw())));
        let again = open_devices(Path::new("/proc"), &[(1, 7)]);
        assert!(again.open.iter().all(|open| open.pid != child.id()));
    }

    #[test]
    fn a_proc_that_cannot_be_read_is_not_an_empty_one() {
        let found = open_devices(Path::new("/no/such/proc"), &[(1, 3)]);
        assert_eq!(found.unreadable, 1);
        assert!(found.reason.unwrap().contains("/no/such/proc"));
    }

    #[test]
    fn users_have_names() {
        let host =
            FakeHost::default().with_file("/etc/passwd", "root:x:0:0::/:/bin/sh\nbob:x:1001:100::/:/\n\n+\n");
        assert_eq!(user_name(&host, 1001).as_deref(), Some("bob"));
        assert_eq!(user_name(&host, 7), None);
    }
}
