//! Device nodes in other mount namespaces: how a container that no engine here knows shows its devices where the
//! device filter cannot be read. It only looks, and opens no node.
//!
//! A namespace counts when its /dev is its own, has the node, and a process in it may open that node: anybody can make
//! a namespace and bind any node into it, without a right to use it. The host's own /dev, seen from a service's
//! namespace, says nothing; nor do all the nodes of a privileged container.

use super::cgroups::{Cgroups, RuleCache, exact};
use super::procs::{has_ended, living, pids, read_small};
use super::readback;
use nix::sys::stat::{major, minor};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// CAP_CHOWN to CAP_AUDIT_READ, which Linux 3.16 had.
const OLD_RIGHTS: u64 = (1 << 38) - 1;

/// A process in whose /dev there are nodes that it may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noded {
    pub pid: u32,
    pub name: String,
    pub cgroup: String,
    pub container_id: Option<String>,
    pub rdevs: Vec<(u32, u32)>,
}

/// Who a process is, to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rights {
    name: String,
    uid: u32,
    groups: BTreeSet<u32>,
    bounds: u64,
}

/// The node of a device on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostNode {
    pub rdev: (u32, u32),
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl HostNode {
    pub fn at(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let number = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
        Ok(Self {
            rdev: (number(major(meta.rdev())), number(minor(meta.rdev()))),
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode(),
        })
    }

    /// A node in another namespace is this one, or one that root made there.
    fn may_be_opened_by(&self, rights: &Rights) -> bool {
        let bits = if rights.uid == self.uid {
            self.mode >> 6
        } else if rights.groups.contains(&self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        rights.uid == 0 || bits & 0o6 != 0
    }
}

/// One entry a namespace. `own` are containers whose devices were given and read back by us.
pub fn noded(
    proc_root: &Path,
    cgroups: &Cgroups,
    nodes: &[HostNode],
    own: &BTreeSet<String>,
) -> io::Result<Vec<Noded>> {
    let first = Rights::of(&proc_root.join("1"))?;
    let mut rules = RuleCache::default();
    let mut found = Vec::new();
    for members in spaces(proc_root)?.into_values() {
        let mut looked = false;
        for pid in members {
            let outcome = look_at(proc_root, pid, cgroups, &mut rules, nodes, own, &first);
            match outcome {
                Ok(Some(noded)) => {
                    looked |= !noded.rdevs.is_empty();
                    found.extend((!noded.rdevs.is_empty()).then_some(noded));
                }
                Ok(None) => {}
                Err(error) if has_ended(&error) => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("process {pid}: {error}")));
                }
            }
            if looked {
                break;
            }
        }
    }
    Ok(found)
}

/// The processes of every mount namespace but our own and the first process's.
fn spaces(proc_root: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u32>>> {
    let space = |process: &str| fs::read_link(living(&proc_root.join(process)).join("ns/mnt"));
    let ours = [space("self")?, space("1")?];
    let mut found = BTreeMap::<PathBuf, Vec<u32>>::new();
    for pid in pids(proc_root)? {
        match space(&pid.to_string()) {
            Ok(space) if ours.contains(&space) => {}
            Ok(space) => found.entry(space).or_default().push(pid),
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("process {pid}: {error}"))),
        }
    }
    Ok(found)
}

/// `None` for a process that may not open any of these nodes, or whose devices are known otherwise.
fn look_at(
    proc_root: &Path,
    pid: u32,
    cgroups: &Cgroups,
    cache: &mut RuleCache,
    nodes: &[HostNode],
    own: &BTreeSet<String>,
    first: &Rights,
) -> io::Result<Option<Noded>> {
    let dir = living(&proc_root.join(pid.to_string()));
    let rights = Rights::of(&dir)?;
    if rights.uid == 0 && rights.are_all_of(first) {
        return Ok(None);
    }
    let openable: Vec<(u32, u32)> =
        nodes.iter().filter(|node| node.may_be_opened_by(&rights)).map(|node| node.rdev).collect();
    let Some(cgroup) = cgroups.of_process(&read_small(&dir.join("cgroup"))?) else { return Ok(None) };
    let container_id = cgroup.container_id();
    if openable.is_empty() || container_id.as_ref().is_some_and(|id| own.contains(id)) {
        return Ok(None);
    }
    // Rules that can be listed and are not for everything have the last word, and were looked at.
    if let Some(rules) = cache.rules(&cgroup)?
        && exact(rules).len() == rules.len()
    {
        return Ok(None);
    }
    let rdevs = own_nodes(&dir)?.into_iter().filter(|rdev| openable.contains(rdev)).collect();
    Ok(Some(Noded { pid, name: rights.name, cgroup: cgroup.path, container_id, rdevs }))
}

/// Character devices in a process's /dev, unless that is the host's.
fn own_nodes(dir: &Path) -> io::Result<BTreeSet<(u32, u32)>> {
    let local =
        ["tmpfs", "devtmpfs", "ramfs", "overlay", "ext4", "ext3", "xfs", "btrfs", "rootfs", "zfs", "f2fs"];
    let kind = dev_kind(&read_small(&dir.join("mountinfo"))?);
    if !local.contains(&kind.as_str()) {
        // It may be answered by a process of somebody's, and never.
        return Err(io::Error::other(format!("its /dev is of the kind {kind:?}, which is not looked into")));
    }
    let root =
        openat(CWD, dir.join("root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let Ok(dev) = statat(&root, "dev", AtFlags::SYMLINK_NOFOLLOW) else { return Ok(BTreeSet::new()) };
    let hosts = rustix::fs::stat("/dev")?;
    if (dev.st_dev, dev.st_ino) == (hosts.st_dev, hosts.st_ino) {
        return Ok(BTreeSet::new());
    }
    match readback::nodes(&root) {
        Ok(nodes) => Ok(nodes.into_iter().filter(|node| !node.block).map(|node| node.number).collect()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(BTreeSet::new())
        }
        Err(error) => Err(error),
    }
}

/// The kind of file system that /dev is on; the last mount on it counts.
fn dev_kind(mountinfo: &str) -> String {
    let mounts = || {
        mountinfo.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            Some((left.split(' ').nth(4)?, right.split(' ').next()?))
        })
    };
    let at = |wanted: &str| mounts().rfind(|(at, _)| *at == wanted);
    at("/dev").or_else(|| at("/")).map_or_else(String::new, |(_, kind)| kind.to_owned())
}

impl Rights {
    fn of(dir: &Path) -> io::Result<Self> {
        Ok(Self::parse(&read_small(&dir.join("status"))?))
    }

    /// Privileged: as many rights as the host's first process has. The driver counts such a one to the host, and so do
    /// we. A runtime may be older than the kernel's newest rights, so that these do not count.
    fn are_all_of(&self, first: &Self) -> bool {
        let wanted = first.bounds & OLD_RIGHTS;
        self.bounds & wanted == wanted
    }

    fn parse(status: &str) -> Self {
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let numbers = |key: &str| value(key).split_whitespace().filter_map(|word| word.parse().ok());
        // The last of the four is what files are opened with.
        let last = |key: &str| numbers(key).next_back();
        Self {
            name: value("Name:").trim().to_owned(),
            uid: last("Uid:").unwrap_or(0),
            groups: numbers("Groups:").chain(last("Gid:")).collect(),
            bounds: u64::from_str_radix(value("CapBnd:").trim(), 16).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_open_a_node_can_hold_it() {
        let node = HostNode { rdev: (236, 3), uid: 1000, gid: 1000, mode: 0o20660 };
        let who = |uid: u32, groups: &str| {
            Rights::parse(&format!(
                "Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t7\t7\t7\t7\nGroups:\t{groups} \n"
            ))
        };
        assert!(node.may_be_opened_by(&who(0, "")) && node.may_be_opened_by(&who(1000, "")));
        assert!(node.may_be_opened_by(&who(1001, "4 1000")) && !node.may_be_opened_by(&who(1001, "4")));
        assert!(HostNode { mode: 0o20666, ..node }.may_be_opened_by(&who(1001, "")));
        assert_eq!(who(1, "8").groups, BTreeSet::from([7, 8]));
    }

    #[test]
    fn privileged_is_who_has_every_right_that_a_runtime_knows() {
        let with = |bounds: &str| Rights::parse(&format!("CapBnd:\t{bounds}\n"));
        let first = with("000001ffffffffff");
        assert!(with("000001ffffffffff").are_all_of(&first) && with("0000003fffffffff").are_all_of(&first));
        assert!(!with("00000000a80425fb").are_all_of(&first) && !with("").are_all_of(&first));
        let less = with("000001fffeffffff");
        assert!(less.are_all_of(&less) && !less.are_all_of(&first));
    }

    #[test]
    fn the_last_mount_on_dev_is_what_is_there() {
        let root = "1 0 0:1 / / rw - overlay overlay rw\n";
        assert_eq!(dev_kind(root), "overlay");
        let over = format!("{root}2 1 0:2 / /dev rw - tmpfs tmpfs rw\n3 2 0:3 / /dev rw - fuse.x x rw\n");
        assert_eq!((dev_kind(&over).as_str(), dev_kind("")), ("fuse.x", String::new()));
    }
}
