//! The device cgroups of this machine: which processes may open which device. It only reads.
//!
//! With version 1 each cgroup lists its rules. With version 2 the filter is a program, which cannot be read without
//! `unsafe`: then `super::namespaces` looks at device nodes instead.

use super::mountinfo;
use super::procs::parse_cgroup;
use crate::model::DeviceRule;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const MAX_CGROUPS: usize = 200_000;
const MAX_DEPTH: usize = 64;
const FILE_LIMIT: u64 = 1 << 20;
/// A node has some thousand mounts; each is a line of some hundred bytes.
const MOUNTS_LIMIT: u64 = 16 << 20;
/// The inode of the first pid namespace, in every kernel.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Where the hierarchies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// Version 1's device hierarchy, where there is one.
    pub devices: Option<PathBuf>,
    /// Version 2's.
    pub unified: Option<PathBuf>,
    /// This process is not in the first pid namespace: a cgroup that looks empty may have processes that it cannot see.
    pub blind: bool,
}

/// A cgroup with processes whose rules name a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// Below the hierarchy's top: `/docker/…`.
    pub path: String,
    pub container_id: Option<String>,
    pub rdevs: Vec<(u32, u32)>,
    /// One of its processes.
    pub pid: Option<u32>,
}

impl Cgroups {
    pub fn find(proc_root: &Path) -> io::Result<Self> {
        let mounts = read_up_to(&proc_root.join("self/mountinfo"), MOUNTS_LIMIT)?;
        let blind = fs::read_link(proc_root.join("self/ns/pid"))?.as_os_str() != FIRST_PID_NAMESPACE;
        Ok(Self::in_mounts(&mounts, blind))
    }

    fn in_mounts(mounts: &str, blind: bool) -> Self {
        let mut found = Self { devices: None, unified: None, blind };
        for line in mountinfo::lines(mounts) {
            match line.kind {
                "cgroup" if line.super_options.split(',').any(|option| option == "devices") => {
                    found.devices.get_or_insert_with(|| line.target_path());
                }
                "cgroup2" => drop(found.unified.get_or_insert_with(|| line.target_path())),
                _ => {}
            }
        }
        found
    }

    /// The path of the cgroup that this process is in.
    pub fn own(&self, proc_root: &Path) -> io::Result<Option<String>> {
        let text = read(&proc_root.join("self/cgroup"))?;
        Ok(self.of_process(&text).map(|cgroup| cgroup.path))
    }

    /// Every cgroup with processes that has one of these devices in a rule with its major. A rule for every device,
    /// as privileged containers and the system's own services have, is nobody's claim.
    pub fn ruled(&self, rdevs: &[(u32, u32)]) -> io::Result<Vec<Ruled>> {
        let Some(top) = &self.devices else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut todo = vec![(top.clone(), 0)];
        let mut count = 0_usize;
        while let Some((dir, depth)) = todo.pop() {
            count += 1;
            if count > MAX_CGROUPS || depth > MAX_DEPTH {
                return Err(io::Error::other(format!("{} has too many cgroups", top.display())));
            }
            match self.look_into(top, &dir, rdevs) {
                Ok(ruled) => found.extend(ruled),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(named(&dir, &error)),
            }
            match fs::read_dir(&dir) {
                Ok(entries) => {
                    let below =
                        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                    todo.extend(below.map(|entry| (entry.path(), depth + 1)));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(named(&dir, &error)),
            }
        }
        Ok(found)
    }

    fn look_into(&self, top: &Path, dir: &Path, rdevs: &[(u32, u32)]) -> io::Result<Option<Ruled>> {
        let rules = exact(&rules_in(dir)?);
        let rdevs: Vec<_> =
            rdevs.iter().filter(|rdev| rules.iter().any(|rule| rule.covers(**rdev))).copied().collect();
        if rdevs.is_empty() {
            return Ok(None);
        }
        let pid = read(&dir.join("cgroup.procs"))?.lines().find_map(|line| line.parse().ok());
        if pid.is_none() && !self.blind {
            return Ok(None);
        }
        let path = format!("/{}", dir.strip_prefix(top).unwrap_or(dir).display());
        Ok(Some(Ruled { container_id: parse_cgroup(&format!("0::{path}")), path, rdevs, pid }))
    }

    /// The cgroup that decides over a process's devices: its directory, by the text of its `cgroup` file.
    pub fn of_process(&self, text: &str) -> Option<ProcessCgroup> {
        let lines = || text.lines().map(|line| line.splitn(3, ':').skip(1));
        let path_of = |wanted: &str| {
            lines().find_map(|mut parts| {
                let names = parts.next()?;
                names.split(',').any(|name| name == wanted).then(|| parts.next())?
            })
        };
        let (top, path) = match &self.devices {
            Some(top) => (top, path_of("devices")?),
            None => (self.unified.as_ref()?, path_of("")?),
        };
        let path = path.to_owned();
        Some(ProcessCgroup {
            dir: top.join(path.trim_start_matches('/')),
            path,
            version_1: self.devices.is_some(),
        })
    }
}

/// The device cgroup of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCgroup {
    pub path: String,
    pub dir: PathBuf,
    pub version_1: bool,
}

impl ProcessCgroup {
    /// The container that it says it is. Anybody may give a cgroup of their own any name, so that it counts only
    /// where root made the directory.
    pub fn container_id(&self) -> Option<String> {
        let id = parse_cgroup(&format!("0::{}", self.path))?;
        fs::symlink_metadata(&self.dir).is_ok_and(|meta| meta.uid() == 0).then_some(id)
    }

    /// Its rules; `None` where they cannot be listed.
    pub fn rules(&self) -> io::Result<Option<Vec<DeviceRule>>> {
        if self.version_1 { rules_in(&self.dir).map(Some) } else { Ok(None) }
    }
}

/// Several processes share a cgroup: each is read once in a look.
#[derive(Debug, Default)]
pub struct RuleCache(BTreeMap<PathBuf, Option<Vec<DeviceRule>>>);

impl RuleCache {
    pub fn rules(&mut self, cgroup: &ProcessCgroup) -> io::Result<Option<&[DeviceRule]>> {
        if !self.0.contains_key(&cgroup.dir) {
            self.0.insert(cgroup.dir.clone(), cgroup.rules()?);
        }
        Ok(self.0.get(&cgroup.dir).and_then(|rules| rules.as_deref()))
    }
}

pub fn exact(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    rules.iter().filter(|rule| rule.is_exact()).copied().collect()
}

fn rules_in(dir: &Path) -> io::Result<Vec<DeviceRule>> {
    Ok(read(&dir.join("devices.list"))?.lines().filter_map(DeviceRule::parse).collect())
}

fn read(path: &Path) -> io::Result<String> {
    read_up_to(path, FILE_LIMIT)
}

/// Others choose what stands in these files: a mount point's name need not be UTF-8.
fn read_up_to(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removed while we looked.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

fn named(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn hierarchies_are_found_by_their_mounts() {
        let v1 = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                  31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                  32 30 0:28 / /sys/fs/cgroup/devices rw,nosuid - cgroup cgroup rw,devices\n";
        let found = Cgroups::in_mounts(v1, false);
        assert_eq!(found.devices.as_deref(), Some(Path::new("/sys/fs/cgroup/devices")));
        let of = found.of_process(&format!("5:devices:/docker/{ID}\n1:name=systemd:/x\n0::/y\n")).unwrap();
        assert_eq!(
            (of.path, of.dir),
            (format!("/docker/{ID}"), Path::new("/sys/fs/cgroup/devices/docker").join(ID))
        );
        let v2 = Cgroups::in_mounts("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\nbad\n", false);
        assert_eq!(v2.devices, None);
        let of = v2.of_process("0::/system.slice/ssh.service\n").unwrap();
        assert_eq!(of.dir, Path::new("/sys/fs/cgroup/system.slice/ssh.service"));
        assert_eq!(of.rules().unwrap(), None);
        assert_eq!(v2.of_process(""), None);
    }

    #[test]
    fn a_mount_point_whose_name_is_not_utf8_hides_nothing() {
        let proc_root = tempfile::tempdir().unwrap();
        let own = proc_root.path().join("self");
        fs::create_dir_all(own.join("ns")).unwrap();
        std::os::unix::fs::symlink(FIRST_PID_NAMESPACE, own.join("ns/pid")).unwrap();
        let mounts = b"90 24 0:50 / /home/x/\xca\xfd rw - fuse.sshfs x rw\n\
            32 30 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
        fs::write(own.join("mountinfo"), mounts).unwrap();
        let found = Cgroups::find(proc_root.path()).unwrap();
        assert_eq!(found.devices.as_deref(), Some(Path::new("/sys/fs/cgroup/devices")));
    }

    /// A hierarchy of plain files.
    fn tree(groups: &[(&str, &str, &str)]) -> (tempfile::TempDir, Cgroups) {
        let dir = tempfile::tempdir().unwrap();
        for (path, rules, procs) in groups {
            let at = dir.path().join(path);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("devices.list"), rules).unwrap();
            fs::write(at.join("cgroup.procs"), procs).unwrap();
        }
        let devices = Some(dir.path().to_owned());
        (dir, Cgroups { devices, unified: None, blind: false })
    }

    #[test]
    fn rules_that_name_a_card_are_claims_of_whoever_has_processes() {
        let (_dir, cgroups) = tree(&[
            ("", "a *:* rwm\n", "1\n"),
            ("docker", "a *:* rwm\n", ""),
            (&format!("docker/{ID}"), "c 1:3 rwm\nc 236:3 rw\n", "77\n78\n"),
            ("k8s.io", "a *:* rwm\n", ""),
            ("k8s.io/by-hand", "c 236:* rwm\n", "90\n"),
            ("machine.slice", "a *:* rwm\n", ""),
            ("machine.slice/all", "c *:* rwm\nb 236:1 rwm\n", "91\n"),
            ("left", "c 236:5 rwm\n", ""),
            ("mknod", "c 236:1 m\n", "92\n"),
        ]);
        let mut found = cgroups.ruled(&[(236, 1), (236, 3), (236, 5)]).unwrap();
        found.sort_by_key(|ruled| ruled.pid);
        let by_hand = Ruled {
            path: "/k8s.io/by-hand".into(),
            container_id: None,
            rdevs: vec![(236, 1), (236, 3), (236, 5)],
            pid: Some(90),
        };
        let docker = Ruled {
            path: format!("/docker/{ID}"),
            container_id: Some(ID.into()),
            rdevs: vec![(236, 3)],
            pid: Some(77),
        };
        assert_eq!(found, [docker, by_hand]);
        // Who does not see every process takes none for no answer.
        let blind = Cgroups { blind: true, ..cgroups };
        assert!(blind.ruled(&[(236, 5)]).unwrap().iter().any(|ruled| ruled.path == "/left"));
    }

    #[test]
    fn a_hierarchy_that_cannot_be_read_is_no_empty_answer() {
        let (dir, cgroups) = tree(&[("", "a *:* rwm\n", ""), ("x", "c 236:1 rwm\n", "")]);
        fs::remove_file(dir.path().join("x/devices.list")).unwrap();
        fs::create_dir(dir.path().join("x/devices.list")).unwrap();
        assert!(cgroups.ruled(&[(236, 1)]).is_err());
    }

    #[test]
    fn a_cgroup_that_somebody_named_like_a_container_is_none() {
        let (proc, top) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let group = top.path().join(ID);
        fs::create_dir(&group).unwrap();
        fs::create_dir_all(proc.path().join("self/ns")).unwrap();
        fs::create_dir(proc.path().join("70")).unwrap();
        let mounts = format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", top.path().display());
        fs::write(proc.path().join("self/mountinfo"), mounts).unwrap();
        std::os::unix::fs::symlink(FIRST_PID_NAMESPACE, proc.path().join("self/ns/pid")).unwrap();
        fs::write(proc.path().join("70/cgroup"), format!("0::/{ID}\n")).unwrap();
        let is_root = nix::unistd::getuid().is_root();
        let seen = || crate::host::procs::container_of(proc.path(), 70);
        assert_eq!(seen(), is_root.then(|| ID.to_owned()));
        if is_root {
            std::os::unix::fs::chown(&group, Some(1001), None).unwrap();
            assert_eq!(seen(), None);
        }
    }
}
