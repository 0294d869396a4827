//! The mounts in pid 1's namespace and in others, and swap.

use super::fstab::unescape;
use crate::host::procs::has_ended;
use crate::host::{Host, block, mountinfo, need_text, read_text};
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine {
    /// Unique among all mounts in all namespaces.
    pub id: u64,
    /// The mount is a slave: later mounts below its master appear here too.
    pub is_slave: bool,
    /// `259:1`; btrfs and overlays have numbers of no device.
    pub device: String,
    /// The directory of the file system that is mounted; `/` is all of it.
    pub root: String,
    pub target: String,
    pub options: Vec<String>,
    pub kind: String,
    pub source: String,
}

/// The mounts of pid 1, also when this process has its own namespace.
pub fn gather(host: &dyn Host) -> Result<Vec<MountLine>, String> {
    gather_from(host, Path::new("/proc/1/mountinfo"))
}

/// The mounts of this process; needs no rights.
pub fn gather_own(host: &dyn Host) -> Result<Vec<MountLine>, String> {
    gather_from(host, Path::new("/proc/self/mountinfo"))
}

fn gather_from(host: &dyn Host, path: &Path) -> Result<Vec<MountLine>, String> {
    Ok(parse(&need_text(host, path)?)?.into_iter().map(resolved).collect())
}

/// A btrfs keeps the name by which mkfs called its device.
pub(super) fn resolved(mut line: MountLine) -> MountLine {
    if line.source.starts_with("/dev/disk/")
        && let Ok(name) = block::kernel_name(Path::new(&line.source))
    {
        line.source = format!("/dev/{name}");
    }
    line
}

pub fn parse(text: &str) -> Result<Vec<MountLine>, String> {
    text.lines()
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                format!("mountinfo has a line `{}`", line.chars().take(200).collect::<String>())
            })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<MountLine> {
    let seen = mountinfo::Line::parse(line)?;
    let options = seen.options.split(',').chain(seen.super_options.split(','));
    Some(MountLine {
        id: seen.id,
        is_slave: seen.is_slave,
        device: seen.device.to_owned(),
        root: unescape(seen.root),
        target: unescape(seen.target),
        options: options.filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        kind: seen.kind.to_owned(),
        source: unescape(seen.source),
    })
}

/// Other places through which this directory, or a part of it, can be written to: mount points in the machine's own
/// namespace, and pids of processes, mostly of containers, in other namespaces. A later mount over the directory is not
/// seen in these places.
pub fn also_at(host: &dyn Host, top: &Path) -> Result<(Vec<String>, Vec<u32>), String> {
    let own = gather(host)?;
    let Some((device, inner)) = place_of(&own, top) else { return Ok((Vec::new(), Vec::new())) };
    let is_of_it =
        |line: &&MountLine| line.device == device && !line.options.iter().any(|option| option == "ro");
    let is_part = |line: &&MountLine| Path::new(&line.root).starts_with(&inner);
    let parts = own.iter().filter(|line| is_of_it(line) && is_part(line) && Path::new(&line.target) != top);
    let targets: Vec<String> = parts.map(|line| line.target.clone()).collect();
    // All of it, or more: a slave gets what is mounted over it.
    let has_all = |line: &&MountLine| inner.starts_with(&line.root) && !line.is_slave;
    let is_foreign = |line: &&MountLine| {
        let is_own = own.iter().any(|other| other.id == line.id);
        let has_part = is_part(line) && Path::new(&line.root) != inner && !targets.contains(&line.target);
        !is_own && is_of_it(line) && (has_part || has_all(line))
    };
    let mut found = Vec::new();
    for_each_sight(host, &mut |pid, lines| {
        if lines.iter().any(|line| is_foreign(&line)) {
            found.push(pid);
        }
    })?;
    Ok((targets, found))
}

/// Whether it is of a disk, of another machine, or of a pool: what people keep data on.
pub fn is_storage(line: &MountLine) -> bool {
    const KINDS: [&str; 7] = ["nfs", "nfs4", "cifs", "ceph", "lustre", "fuse.glusterfs", "zfs"];
    line.source.starts_with("/dev/") || KINDS.contains(&line.kind.as_str())
}

/// File systems that processes have mounted at this path in their own namespaces, and that the machine's namespace does
/// not have. Containers are left out, because their `/` is another one.
pub fn only_elsewhere(
    host: &dyn Host,
    own: &[MountLine],
    top: &Path,
) -> Result<Vec<(u32, MountLine)>, String> {
    let root = place_of(own, Path::new("/"));
    let is_ours = |line: &MountLine| own.iter().any(|other| other.device == line.device);
    let mut found: Vec<(u32, MountLine)> = Vec::new();
    for_each_sight(host, &mut |pid, lines| {
        if place_of(&lines, Path::new("/")) != root {
            return;
        }
        for line in lines.into_iter().filter(|line| Path::new(&line.target) == top) {
            let is_known = found.iter().any(|(_, other)| other.device == line.device);
            if is_storage(&line) && !is_ours(&line) && !is_known {
                found.push((pid, line));
            }
        }
    })?;
    Ok(found)
}

/// Bytes of one process's list of mounts, and how long all of them are looked at: anybody may make namespaces, with a
/// hundred thousand mounts in each.
const MOST: usize = 4 << 20;
const LONG: Duration = Duration::from_secs(20);

/// Calls `each` with the mounts of every process, once for all processes that see the same mounts.
fn for_each_sight(host: &dyn Host, each: &mut dyn FnMut(u32, Vec<MountLine>)) -> Result<(), String> {
    let entries = host.list(Path::new("/proc")).map_err(|error| format!("/proc cannot be read: {error}"))?;
    let (keys, mut seen, until) = (RandomState::new(), BTreeSet::new(), Instant::now() + LONG);
    for pid in entries.iter().filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok()) {
        let path = format!("/proc/{pid}/mountinfo");
        let text = match read_text(host, Path::new(&path)) {
            Ok(text) => text,
            // It has nothing mounted any more.
            Err(error) if has_ended(&error) => continue,
            Err(error) => return Err(format!("{path} cannot be read: {error}")),
        };
        if text.len() > MOST {
            return Err(format!(
                "{} has more mounts than are read, {} MiB of their list",
                who(host, pid),
                MOST >> 20
            ));
        }
        if seen.insert(keys.hash_one(&text)) {
            each(pid, parse(&text).map_err(|why| format!("{path}: {why}"))?);
        }
        if Instant::now() > until {
            let whose = who(host, pid);
            return Err(format!(
                "mounts could not all be looked at within {} s, up to {whose}",
                LONG.as_secs()
            ));
        }
    }
    Ok(())
}

fn who(host: &dyn Host, pid: u32) -> String {
    let status = read_text(host, Path::new(&format!("/proc/{pid}/status"))).unwrap_or_default();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
    format!("process {pid} ({}, uid {})", value("Name:").unwrap_or("?"), value("Uid:").unwrap_or("?"))
}

/// Files below a directory that the kernel itself has open: swap, and the backing files of loop devices.
pub fn files_in_use(host: &dyn Host, top: &Path) -> Result<Vec<String>, String> {
    let mut files: Vec<(String, String)> =
        gather_swaps(host)?.into_iter().map(|path| (path, "used as swap".to_owned())).collect();
    // Without the module there are none.
    for device in host.list(Path::new("/sys/block")).unwrap_or_default() {
        let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Only one that is set up has the file.
        if name.starts_with("loop")
            && let Ok(path) = read_text(host, &device.join("loop/backing_file"))
        {
            files.push((path.trim_end().to_owned(), format!("the file of {name}")));
        }
    }
    let below = files.into_iter().filter(|(path, _)| Path::new(path).starts_with(top));
    Ok(below.map(|(path, what)| format!("{path}, {what}")).collect())
}

/// The device that a directory is on, and the directory's path in that file system.
fn place_of(lines: &[MountLine], top: &Path) -> Option<(String, PathBuf)> {
    let above = lines.iter().filter(|line| top.starts_with(&line.target));
    // The last of several at one place is the one that is seen.
    let mount = above.max_by_key(|line| Path::new(&line.target).components().count())?;
    let below = top.strip_prefix(&mount.target).ok()?;
    Some((mount.device.clone(), Path::new(&mount.root).join(below)))
}

/// Devices and files that are used as swap.
pub fn gather_swaps(host: &dyn Host) -> Result<Vec<String>, String> {
    let text = need_text(host, Path::new("/proc/swaps"))?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let found = parse(
            "25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             40 25 0:31 / /my\\040data rw,noatime - btrfs /dev/nvme0n1 rw,space_cache\n",
        )
        .unwrap();
        assert_eq!((found[0].device.as_str(), found[0].target.as_str()), ("254:0", "/"));
        assert_eq!((found[1].target.as_str(), found[1].source.as_str()), ("/my data", "/dev/nvme0n1"));
        assert_eq!(found[1].options, ["rw", "noatime", "rw", "space_cache"]);
        assert_eq!((found[0].root.as_str(), found[1].root.as_str()), ("/", "/"));
        assert!(parse("nonsense\n").is_err());
    }

    #[test]
    fn a_container_that_was_given_a_part_of_a_directory_is_found() {
        let root = "25 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let given = |from: &str, options: &str| {
            format!(
                "1 0 0:40 / / rw - overlay overlay rw\n9 1 254:0 {from} /work {options} - ext4 /dev/vda rw\n"
            )
        };
        let host = FakeHost::default()
            .with_file("/proc/1/mountinfo", root)
            .with_file("/proc/7/mountinfo", &given("/home/alice", "rw"))
            .with_file("/proc/8/mountinfo", &given("/home/alice", "ro"))
            .with_file("/proc/9/mountinfo", &given("/homework", "rw"))
            .with_file("/proc/10/mountinfo", root);
        assert_eq!(also_at(&host, Path::new("/home")).unwrap(), (vec![], vec![7]));

        let whole = |line: &str| {
            FakeHost::default().with_file("/proc/1/mountinfo", root).with_file("/proc/7/mountinfo", line)
        };
        for (line, is_seen) in [
            ("9 1 254:0 /home /home rw - ext4 /dev/vda rw\n", true),
            ("9 1 254:0 / /host rw - ext4 /dev/vda rw\n", true),
            ("9 1 254:0 / /host ro - ext4 /dev/vda rw\n", false),
            // As systemd starts services: a mount over /home comes there too.
            ("9 1 254:0 / / rw master:1 - ext4 /dev/vda rw\n", false),
            // A part does not have the place where it would come.
            ("9 1 254:0 /home/alice /work rw master:1 - ext4 /dev/vda rw\n", true),
        ] {
            let pids = if is_seen { vec![7] } else { vec![] };
            assert_eq!(also_at(&whole(line), Path::new("/home")).unwrap(), (vec![], pids), "{line}");
        }
        assert!(also_at(&whole("nonsense\n"), Path::new("/home")).unwrap_err().contains("/proc/7/mountinfo"));

        let bound = format!("{root}30 25 254:0 /home/bob /srv/bob rw - ext4 /dev/vda rw\n");
        let host = host.with_file("/proc/1/mountinfo", &bound).with_file("/proc/10/mountinfo", &bound);
        assert_eq!(also_at(&host, Path::new("/home")).unwrap(), (vec!["/srv/bob".into()], vec![7]));
        assert_eq!(also_at(&host, Path::new("/data")).unwrap(), (vec![], vec![]));
    }

    #[test]
    fn what_is_mounted_in_another_namespace_alone_is_found() {
        let root = "25 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let top = Path::new("/data");
        let with = |lines: &str| {
            let host = FakeHost::default()
                .with_file("/proc/1/mountinfo", root)
                .with_file("/proc/7/mountinfo", lines)
                .with_file("/proc/8/mountinfo", lines);
            only_elsewhere(&host, &gather(&host).unwrap(), top).unwrap()
        };
        let pids = |lines: &str| with(lines).iter().map(|(pid, _)| *pid).collect::<Vec<_>>();
        assert_eq!(pids(&format!("{root}30 25 8:16 / /data rw - xfs /dev/sdb rw\n")), [7]);
        assert_eq!(pids(&format!("{root}30 25 0:50 / /data rw - nfs nas:/x rw\n")), [7]);
        for none in [
            root.to_owned(),
            // A container's own /data.
            "25 1 0:40 / / rw - overlay overlay rw\n30 25 8:16 / /data rw - xfs /dev/sdb rw\n".to_owned(),
            // How systemd hides or binds a directory for a service.
            format!("{root}30 25 0:22 /systemd/inaccessible/dir /data ro - tmpfs tmpfs rw\n"),
            format!("{root}30 25 254:0 /data /data rw - ext4 /dev/vda rw\n"),
            format!("{root}30 25 8:16 / /data/deeper rw - xfs /dev/sdb rw\n"),
        ] {
            assert_eq!(pids(&none), [0; 0], "{none}");
        }
    }

    #[test]
    fn who_has_very_many_mounts_is_named_and_those_who_see_the_same_are_one() {
        let root = "25 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let given = format!("{root}9 1 254:0 /home /m rw - ext4 /dev/vda rw\n");
        let host = FakeHost::default()
            .with_file("/proc/1/mountinfo", root)
            .with_file("/proc/7/mountinfo", &given)
            .with_file("/proc/8/mountinfo", &given);
        assert_eq!(also_at(&host, Path::new("/home")).unwrap(), (vec![], vec![7]));
        let host = host
            .with_file("/proc/9/mountinfo", &given.repeat(MOST / given.len() + 1))
            .with_file("/proc/9/status", "Name:\tunshare\nUid:\t1001\t1001\t1001\t1001\n");
        let said = "process 9 (unshare, uid 1001) has more mounts than are read, 4 MiB of their list";
        assert_eq!(also_at(&host, Path::new("/home")).unwrap_err(), said);
        assert_eq!(only_elsewhere(&host, &gather(&host).unwrap(), Path::new("/data")).unwrap_err(), said);
    }

    #[test]
    fn files_that_the_kernel_has_are_found() {
        let host = FakeHost::default()
            .with_file("/proc/swaps", "Filename Type Size Used Priority\n/home/swap\\040file file 1 0 -2\n")
            .with_file("/sys/block/loop0/loop/backing_file", "/home/a/disk.img\n")
            .with_file("/sys/block/loop1/loop/backing_file", "/homework/disk.img\n")
            .with_file("/sys/block/loop2/size", "0\n");
        let found = files_in_use(&host, Path::new("/home")).unwrap();
        assert_eq!(found, ["/home/swap file, used as swap", "/home/a/disk.img, the file of loop0"]);
    }
}
