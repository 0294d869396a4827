//! Device nodes in other mount namespaces. Where device filters cannot be read (cgroup v2), these nodes show which
//! devices a container has that no engine here knows. It only looks, and opens no node.
//!
//! A namespace has a device if its /dev is its own, has the node, and a process in it may open that node. The last
//! condition is needed because anybody can make a namespace and bind any node into it. The host's /dev, seen from a
//! service's namespace, does not count; neither do the nodes of a privileged container, which has all of them.

use super::cgroups::{Cgroups, RuleCache, exact};
use super::procs::{has_ended, living, pids, read_small};
use super::{mountinfo, readback};
use nix::sys::stat::{major, minor};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a look goes on to look into everybody's /dev.
const LONG: Duration = Duration::from_secs(5);

/// Bytes of a process's list of mounts.
const MOUNTS: u64 = 16 << 20;

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

/// A process that could not be looked into, or not in time: it may have any node that it may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSeen {
    pub pid: u32,
    pub name: String,
    pub container_id: Option<String>,
    pub rdevs: Vec<(u32, u32)>,
}

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// One of each namespace at most.
    pub noded: Vec<Noded>,
    /// Those of one namespace name each node once: they share what is in it.
    pub not_seen: Vec<NotSeen>,
}

/// Who a process is, to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
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
    pub(super) fn may_be_opened_by(&self, rights: &Rights) -> bool {
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

/// Who has nodes of these. `own` are containers whose devices were given and read back by us. What one process makes
/// hard to see says nothing of the others: it is an error only where nobody can be looked at.
pub fn noded(
    proc_root: &Path,
    cgroups: &Cgroups,
    nodes: &[HostNode],
    own: &BTreeSet<String>,
) -> io::Result<Seen> {
    let first = Rights::of(&proc_root.join("1"))?;
    let rules = RuleCache::default();
    let mut look = Look { proc_root, cgroups, nodes, own, first, rules, until: Instant::now() + LONG };
    let mut found = Seen::default();
    for members in spaces(proc_root)?.into_values() {
        look.at_space(&members, &mut found);
    }
    Ok(found)
}

/// The processes of every mount namespace but our own and the first process's, which is no container's.
fn spaces(proc_root: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u32>>> {
    let space = |process: &str| fs::read_link(living(&proc_root.join(process)).join("ns/mnt"));
    let mut ours = vec![space("self")?];
    match space("1") {
        Ok(space) => ours.push(space),
        // Where the machine keeps its first process from everybody, root included.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    let mut found = BTreeMap::<PathBuf, Vec<u32>>::new();
    for pid in pids(proc_root)?.into_iter().filter(|pid| *pid != 1) {
        match space(&pid.to_string()) {
            Ok(space) if ours.contains(&space) => {}
            Ok(space) => found.entry(space).or_default().push(pid),
            Err(error) if has_ended(&error) => {}
            // As one that is alone in a namespace of its own.
            Err(_) => found.entry(pid.to_string().into()).or_default().push(pid),
        }
    }
    Ok(found)
}

struct Look<'a> {
    proc_root: &'a Path,
    cgroups: &'a Cgroups,
    nodes: &'a [HostNode],
    own: &'a BTreeSet<String>,
    first: Rights,
    rules: RuleCache,
    until: Instant,
}

impl Look<'_> {
    fn at_space(&mut self, members: &[u32], found: &mut Seen) {
        let mut told = BTreeSet::new();
        for pid in members {
            // Until more is known of it: that it may open everything.
            let mut may = Noded {
                pid: *pid,
                name: String::new(),
                cgroup: String::new(),
                container_id: None,
                rdevs: self.nodes.iter().map(|node| node.rdev).collect(),
            };
            match self.at(&mut may) {
                Ok(rdevs) if rdevs.is_empty() => {}
                Ok(rdevs) => {
                    found.noded.push(Noded { rdevs, ..may });
                    break;
                }
                Err(error) if has_ended(&error) => {}
                Err(error) => {
                    let Noded { pid, name, container_id, mut rdevs, .. } = may;
                    tracing::debug!(pid, name, %error, "its device nodes could not be looked at");
                    rdevs.retain(|rdev| told.insert(*rdev));
                    if !rdevs.is_empty() {
                        found.not_seen.push(NotSeen { pid, name, container_id, rdevs });
                    }
                }
            }
        }
    }

    /// Its nodes that it may open; none for a process that may not open any, or whose devices are known otherwise. What
    /// is found out on the way is noted in `may`.
    fn at(&mut self, may: &mut Noded) -> io::Result<Vec<(u32, u32)>> {
        let dir = living(&self.proc_root.join(may.pid.to_string()));
        let rights = Rights::of(&dir)?;
        may.name.clone_from(&rights.name);
        may.rdevs =
            self.nodes.iter().filter(|node| node.may_be_opened_by(&rights)).map(|node| node.rdev).collect();
        if may.rdevs.is_empty() || rights.uid == 0 && rights.are_all_of(&self.first) {
            return Ok(Vec::new());
        }
        let Some(cgroup) = self.cgroups.of_process(&read_small(&dir.join("cgroup"))?) else {
            return Ok(Vec::new());
        };
        may.container_id = cgroup.container_id();
        may.cgroup.clone_from(&cgroup.path);
        if may.container_id.as_ref().is_some_and(|id| self.own.contains(id)) {
            return Ok(Vec::new());
        }
        // Rules that can be listed and are not for everything have the last word, and were looked at.
        if let Some(rules) = self.rules.rules(&cgroup)?
            && exact(rules).len() == rules.len()
        {
            return Ok(Vec::new());
        }
        if Instant::now() >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "others took all the time"));
        }
        Ok(own_nodes(&dir)?.into_iter().filter(|rdev| may.rdevs.contains(rdev)).collect())
    }
}

/// Character devices in a process's /dev, unless that is the host's.
fn own_nodes(dir: &Path) -> io::Result<BTreeSet<(u32, u32)>> {
    let local =
        ["tmpfs", "devtmpfs", "ramfs", "overlay", "ext4", "ext3", "xfs", "btrfs", "rootfs", "zfs", "f2fs"];
    let kind = dev_kind(&mounts_of(dir)?);
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

/// Whole, or not at all: the last mount counts, and whose mounts are many could hide it.
fn mounts_of(dir: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(dir.join("mountinfo"))?, MOUNTS), &mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length < MOUNTS) {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    Err(io::Error::other("it has too many mounts"))
}

/// The kind of file system that /dev is on; the last mount on it counts.
fn dev_kind(mounts: &str) -> String {
    let at = |wanted: &str| mountinfo::lines(mounts).rfind(|line| line.target == wanted);
    at("/dev").or_else(|| at("/")).map_or_else(String::new, |line| line.kind.to_owned())
}

impl Rights {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
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

    /// A /proc with the first process, us, and two others in a namespace of theirs.
    fn proc_with(mountinfo: &str) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        let link = |process: &str, space: &str| {
            fs::create_dir_all(proc.path().join(process).join("ns")).unwrap();
            std::os::unix::fs::symlink(space, proc.path().join(process).join("ns/mnt")).unwrap();
        };
        link("self", "mnt:[1]");
        for (pid, uid, space) in
            [("1", 0, "mnt:[1]"), ("70", 1001, "mnt:[2]"), ("71", 1000, "mnt:[2]"), ("72", 1000, "mnt:[2]")]
        {
            link(pid, space);
            let at = |name: &str| proc.path().join(pid).join(name);
            let ids = format!("{uid}\t{uid}\t{uid}\t{uid}");
            let status =
                format!("Name:\tp{pid}\nUid:\t{ids}\nGid:\t{ids}\nGroups:\t\nCapBnd:\t000001ffffffffff\n");
            fs::write(at("status"), status).unwrap();
            fs::write(at("cgroup"), "0::/user.slice\n").unwrap();
            fs::write(at("mountinfo"), mountinfo).unwrap();
        }
        proc
    }

    #[test]
    fn who_cannot_be_looked_into_may_have_what_they_may_open_and_hides_nobody_else() {
        let cgroups = Cgroups { devices: None, unified: Some("/sys/fs/cgroup".into()), blind: false };
        let node = |minor, uid| HostNode { rdev: (236, minor), uid, gid: 0, mode: 0o20600 };
        let nodes = [node(1, 1000), node(2, 7)];
        let not_seen = [NotSeen { pid: 71, name: "p71".into(), container_id: None, rdevs: vec![(236, 1)] }];
        let odd = proc_with("1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /dev rw - proc proc rw\n");
        let seen = noded(odd.path(), &cgroups, &nodes, &BTreeSet::new()).unwrap();
        assert_eq!((seen.noded, seen.not_seen.as_slice()), (vec![], not_seen.as_slice()));

        // So does a mount behind hundreds of others.
        let many: Vec<String> =
            (10..2000).map(|id| format!("{id} 1 0:1 / /m/{id} rw - tmpfs tmpfs rw\n")).collect();
        let many = many.concat();
        let hidden = proc_with(&format!(
            "1 0 0:1 / / rw - overlay overlay rw\n{many}2 1 0:2 / /dev rw - fuse.x x rw\n"
        ));
        let seen = noded(hidden.path(), &cgroups, &nodes, &BTreeSet::new()).unwrap();
        assert_eq!((seen.noded, seen.not_seen.as_slice()), (vec![], not_seen.as_slice()));

        // Nothing is wrong with that one, but there is no time left.
        let plain = proc_with("1 0 0:1 / / rw - overlay overlay rw\n");
        let (first, own) = (Rights::default(), BTreeSet::new());
        let mut look = Look {
            proc_root: plain.path(),
            cgroups: &cgroups,
            nodes: &nodes,
            own: &own,
            first,
            rules: RuleCache::default(),
            until: Instant::now(),
        };
        let mut seen = Seen::default();
        look.at_space(&[70, 71, 72], &mut seen);
        assert_eq!((seen.noded, seen.not_seen.as_slice()), (vec![], not_seen.as_slice()));
    }
}
