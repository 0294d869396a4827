//! Reads from the kernel what a running container really has: device rules, device nodes, mounts, limits.
//!
//! The root file system belongs to the container: links in it are resolved inside it, never on the host, and no
//! node in it is opened. A process id may be used again: everything is read through one handle on its directory
//! in /proc, and its cgroup must carry the container's id.

use super::{device_number_of, mountinfo};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

const FILE_LIMIT: u64 = 4 << 20;
const MAX_NODES: usize = 4096;
const MAX_LINKS: usize = 40;
const MAX_COMPONENTS: usize = 512;
const CGROUPS: &str = "/sys/fs/cgroup";

/// A device node as it is in the container's /dev.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerNode {
    pub path: PathBuf,
    /// Block devices are never ours.
    pub block: bool,
    pub number: (u32, u32),
}

/// What is mounted where a mount was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSeen {
    pub target: PathBuf,
    /// `None`: nothing is mounted there.
    pub read_only: Option<bool>,
    /// The same file or directory as the source on the host.
    pub same_source: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelView {
    /// Lines of cgroup v1's `devices.list`; `None` on cgroup v2, whose filter is a program that cannot be listed.
    pub device_rules: Option<Vec<String>>,
    pub nodes: Vec<ContainerNode>,
    pub mounts: Vec<MountSeen>,
    /// Bytes; `None` for no limit.
    pub memory: Option<u64>,
    pub pids: Option<u64>,
    /// Open files that its first process may have, the hard limit.
    pub nofile: Option<u64>,
    pub cpuset: Option<String>,
    pub no_new_privileges: bool,
    /// The most that its processes may ever have, as the kernel's bits.
    pub capabilities: u64,
}

/// Reads all that; `wanted` are pairs of a source on the host and a target inside.
pub fn read_container(pid: u32, container_id: &str, wanted: &[(PathBuf, PathBuf)]) -> io::Result<KernelView> {
    let process = openat(CWD, format!("/proc/{pid}"), dir_flags(), Mode::empty())?;
    let cgroups = own_cgroups(&process, pid, container_id)?;
    let root = openat(&process, "root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mountinfo = parse_mountinfo(&read_at(&process, "mountinfo")?);
    let status = read_at(&process, "status")?;
    let mounts = wanted.iter().map(|(source, target)| see_mount(&root, &mountinfo, source, target)).collect();
    Ok(KernelView {
        device_rules: device_rules(&cgroups)?,
        nodes: nodes(&root)?,
        mounts,
        memory: limit(&cgroups, "memory", "memory.limit_in_bytes", "memory.max")?,
        pids: limit(&cgroups, "pids", "pids.max", "pids.max")?,
        nofile: hard_nofile(&read_at(&process, "limits")?),
        cpuset: value(&cgroups, "cpuset", "cpuset.cpus", "cpuset.cpus")?.filter(|cpus| !cpus.is_empty()),
        no_new_privileges: status.lines().any(|line| line == "NoNewPrivs:\t1"),
        capabilities: bounding_set(&status)
            .ok_or_else(|| io::Error::other(format!("process {pid} says nothing of its capabilities")))?,
    })
}

/// `Max open files  1024  4096  files` → 4096.
fn hard_nofile(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().nth(1)?.parse().ok()
}

/// `CapBnd:`, a tab, `00000000a80425fb`
fn bounding_set(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// How often the kernel killed in a container for want of memory; `None` where it does not count that.
pub fn oom_kills(pid: u32, container_id: &str) -> io::Result<Option<u64>> {
    let process = openat(CWD, format!("/proc/{pid}"), dir_flags(), Mode::empty())?;
    let cgroups = own_cgroups(&process, pid, container_id)?;
    let counts = value(&cgroups, "memory", "memory.oom_control", "memory.events")?;
    Ok(counts.as_deref().and_then(parse_oom_kills))
}

/// The CPU time that a container has used since it was started; `None` where it is not counted.
pub fn cpu_time(pid: u32, container_id: &str) -> io::Result<Option<Duration>> {
    let process = openat(CWD, format!("/proc/{pid}"), dir_flags(), Mode::empty())?;
    let cgroups = own_cgroups(&process, pid, container_id)?;
    let text = value(&cgroups, "cpuacct", "cpuacct.usage", "cpu.stat")?;
    Ok(text.as_deref().and_then(parse_cpu_time))
}

/// Version 1 writes nanoseconds, version 2 a line `usage_usec N` among others.
fn parse_cpu_time(text: &str) -> Option<Duration> {
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    match micros {
        Some(micros) => micros.trim().parse().ok().map(Duration::from_micros),
        None => text.trim().parse().ok().map(Duration::from_nanos),
    }
}

/// Both versions write `oom_kill N` among other lines; before Linux 4.13 there was none.
fn parse_oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok())
}

/// The cgroups of a process, which must carry the container's id.
fn own_cgroups(process: &OwnedFd, pid: u32, container_id: &str) -> io::Result<Vec<(Vec<String>, String)>> {
    let cgroups = parse_cgroups(&read_at(process, "cgroup")?);
    if cgroups.iter().any(|(_, path)| path.contains(container_id)) {
        return Ok(cgroups);
    }
    Err(io::Error::other(format!("process {pid} is not in container {container_id}")))
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn read_at(dir: &OwnedFd, name: &str) -> io::Result<String> {
    let file = std::fs::File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `9:devices:/docker/…` → the controllers and the path; `0::/…` is version 2.
fn parse_cgroups(text: &str) -> Vec<(Vec<String>, String)> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?.split(',').map(str::to_owned).collect();
            Some((controllers, parts.next()?.to_owned()))
        })
        .collect()
}

/// The directory of a controller: version 1's where it is mounted, else version 2's.
fn cgroup_dir(cgroups: &[(Vec<String>, String)], controller: &str) -> Option<(PathBuf, u8)> {
    let relative = |path: &str| path.trim_start_matches('/').to_owned();
    if let Some((controllers, path)) = cgroups.iter().find(|(names, _)| names.iter().any(|n| n == controller))
    {
        let mounts = [controllers.join(","), controller.to_owned()];
        let dir = mounts.iter().map(|name| Path::new(CGROUPS).join(name)).find(|dir| dir.is_dir())?;
        return Some((dir.join(relative(path)), 1));
    }
    let (_, path) = cgroups.iter().find(|(names, _)| names.iter().all(String::is_empty))?;
    Some((Path::new(CGROUPS).join(relative(path)), 2))
}

fn device_rules(cgroups: &[(Vec<String>, String)]) -> io::Result<Option<Vec<String>>> {
    match cgroup_dir(cgroups, "devices") {
        Some((dir, 1)) => {
            let text = read_bounded(&dir.join("devices.list"))?;
            Ok(Some(text.lines().map(|line| line.trim().to_owned()).collect()))
        }
        _ => Ok(None),
    }
}

fn value(
    cgroups: &[(Vec<String>, String)],
    controller: &str,
    v1: &str,
    v2: &str,
) -> io::Result<Option<String>> {
    let Some((dir, version)) = cgroup_dir(cgroups, controller) else { return Ok(None) };
    match read_bounded(&dir.join(if version == 1 { v1 } else { v2 })) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        // On version 2 a controller that nobody limited may be switched off.
        Err(error) if version == 2 && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn limit(cgroups: &[(Vec<String>, String)], controller: &str, v1: &str, v2: &str) -> io::Result<Option<u64>> {
    // Version 1 writes "no limit" as the largest page-aligned number.
    let parsed = value(cgroups, controller, v1, v2)?.and_then(|text| text.parse::<u64>().ok());
    Ok(parsed.filter(|limit| *limit < (1 << 62)))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every device node directly in the container's /dev.
pub(super) fn nodes(root: &OwnedFd) -> io::Result<Vec<ContainerNode>> {
    let dev = openat(root, "dev", dir_flags(), Mode::empty())?;
    let mut found = Vec::new();
    for (count, entry) in Dir::read_from(&dev)?.enumerate() {
        if count > MAX_NODES {
            return Err(io::Error::other("its /dev has too many entries"));
        }
        let entry = entry?;
        let Ok(stat) = statat(&dev, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            found.push(ContainerNode {
                path: Path::new("/dev").join(name),
                block: kind == FileType::BlockDevice,
                number: device_number_of(stat.st_rdev),
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Mount point and whether it is read-only, in the order they were mounted.
fn parse_mountinfo(text: &str) -> Vec<(PathBuf, bool)> {
    mountinfo::lines(text).map(|line| (line.target_path(), line.has_option("ro"))).collect()
}

fn see_mount(root: &OwnedFd, mountinfo: &[(PathBuf, bool)], source: &Path, target: &Path) -> MountSeen {
    let nothing = MountSeen { target: target.to_path_buf(), read_only: None, same_source: false };
    let Ok((handle, resolved)) = resolve_in(root, target) else { return nothing };
    let Some((_, read_only)) = mountinfo.iter().rev().find(|(at, _)| *at == resolved) else { return nothing };
    let same_source = match (rustix::fs::fstat(&handle), rustix::fs::stat(source)) {
        (Ok(inside), Ok(outside)) => (inside.st_dev, inside.st_ino) == (outside.st_dev, outside.st_ino),
        _ => false,
    };
    MountSeen { read_only: Some(*read_only), same_source, ..nothing }
}

/// Follows a path inside a root directory that its owner may be changing: no component ever leads out of it.
/// (`openat2` does the same from Linux 5.6 on; nodes run 4.19.)
fn resolve_in(root: &OwnedFd, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let top = openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut stack: Vec<(OwnedFd, std::ffi::OsString)> = Vec::new();
    let mut todo: VecDeque<PathBuf> = components(path);
    let (mut links, mut steps) = (0, 0);
    while let Some(name) = todo.pop_front() {
        steps += 1;
        if steps > MAX_COMPONENTS {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        if name == Path::new("..") {
            stack.pop();
            continue;
        }
        let at = stack.last().map_or(&top, |(handle, _)| handle);
        let handle = openat(at, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            stack.push((handle, name.into_os_string()));
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many links"));
        }
        let link = readlinkat(&handle, "", Vec::new())?;
        let link = Path::new(OsStr::from_bytes(link.to_bytes())).to_path_buf();
        if link.is_absolute() {
            stack.clear();
        }
        for part in components(&link).into_iter().rev() {
            todo.push_front(part);
        }
    }
    let mut resolved = PathBuf::from("/");
    resolved.extend(stack.iter().map(|(_, name)| name));
    Ok((stack.pop().map_or(top, |(handle, _)| handle), resolved))
}

fn components(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path();
        std::fs::create_dir_all(inside.join("usr/share")).unwrap();
        std::fs::write(inside.join("usr/share/zone"), "x").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, inside.join(name)).unwrap();
        link("/usr/share/zone", "absolute");
        link("../../../../../usr/share/zone", "out");
        link("loop", "loop");
        let root = openat(CWD, inside, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for path in ["/absolute", "/out", "/usr/../usr/share/zone"] {
            let (handle, resolved) = resolve_in(&root, Path::new(path)).unwrap();
            assert_eq!(resolved, Path::new("/usr/share/zone"), "{path}");
            let want = rustix::fs::stat(inside.join("usr/share/zone")).unwrap().st_ino;
            assert_eq!(rustix::fs::fstat(&handle).unwrap().st_ino, want);
        }
        assert!(resolve_in(&root, Path::new("/loop")).is_err());
        assert!(resolve_in(&root, Path::new("/none")).is_err());
        assert_eq!(resolve_in(&root, Path::new("/..")).unwrap().1, Path::new("/"));
    }

    #[test]
    fn cgroups_of_both_versions_are_understood() {
        let one = parse_cgroups("9:devices:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/x:y\n");
        assert_eq!(one[1], (vec!["cpu".to_owned(), "cpuacct".into()], "/docker/ab".into()));
        assert_eq!(one[2].1, "/x:y");
        let two = parse_cgroups("0::/system.slice/docker-ab.scope\n");
        let (dir, version) = cgroup_dir(&two, "devices").unwrap();
        assert_eq!((dir.as_path(), version), (Path::new("/sys/fs/cgroup/system.slice/docker-ab.scope"), 2));
        assert!(parse_cgroups("nonsense\n\n:").is_empty());
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), Some(2));
        assert_eq!(parse_oom_kills("low 0\nmax 7\noom 3\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn cpu_time_is_read_in_both_versions() {
        assert_eq!(parse_cpu_time("1500000000\n"), Some(Duration::from_millis(1500)));
        assert_eq!(
            parse_cpu_time("usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n"),
            Some(Duration::from_micros(2500))
        );
        assert_eq!(parse_cpu_time("user_usec 2000\n"), None);
    }

    #[test]
    fn the_bounding_set_is_read() {
        assert_eq!(bounding_set("Name:\tx\nCapBnd:\t00000000a80425fb\nCapAmb:\t0\n"), Some(0xa804_25fb));
        assert_eq!(bounding_set("Name:\tx\n"), None);
    }

    #[test]
    fn limits_are_read_by_name() {
        let text = "Limit   Soft   Hard   Units\nMax open files            1024   4096   files\n";
        assert_eq!((hard_nofile(text), hard_nofile("")), (Some(4096), None));
        assert!(hard_nofile(&std::fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }

    #[test]
    fn mount_points_are_unescaped() {
        let line = "90 72 254:0 /a\\040b /home/x\\040y ro,relatime master:2 - ext4 /dev/vda rw\nbad\n";
        assert_eq!(parse_mountinfo(line), [(PathBuf::from("/home/x y"), true)]);
    }

    #[test]
    fn a_process_of_somebody_else_is_refused() {
        let error = read_container(std::process::id(), &"f".repeat(64), &[]).unwrap_err();
        assert!(error.to_string().contains("is not in container"), "{error}");
    }
}
