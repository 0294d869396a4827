//! Finds the processes that have a device open, by a scan of /proc. It only looks; processes may start and end
//! meanwhile.

use super::cgroups::{Cgroups, ProcessCgroup, RuleCache};
use super::namespaces::{HostNode, Rights};
use super::{Host, hidden, read_text};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Descriptors that are looked at of one account's or container's processes together; a million takes a few seconds.
const MOST: usize = 1 << 20;
const MOST_OF_A_BERTH: usize = 1 << 18;
/// How long a look may take before it goes on with those alone who have few.
const LONG: Duration = Duration::from_secs(5);
const FEW: usize = 1 << 15;
/// Of a thread that seems to share the first one's descriptors, so many are looked at.
const SAMPLE: usize = 64;
/// How often the list of processes is asked for new ones in one look.
const ROUNDS: u32 = 3;
/// Set in a descriptor's flags when it was opened without a right to read or write.
const O_PATH: u32 = 0o10_000_000;

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
    /// Groups of processes with more descriptors than are looked at, once for each device that they may have.
    pub unfinished: Vec<OpenDevice>,
    /// Processes of berths that keep files open where nobody can look, once for each device that they may have.
    pub hidden: Vec<OpenDevice>,
    /// How many processes could not be looked into. If there are some, a device without a finding may still be in use.
    pub unreadable: u32,
    pub reason: Option<String>,
}

/// A container of a berth, and what its processes can have.
///
/// Its device cgroup lets them open its own devices and no other. What they can have besides was handed to them over a
/// socket, by another berth of the same owner, as those share a directory and nobody else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub container_id: String,
    pub own: Vec<(u32, u32)>,
    pub handed: Vec<(u32, u32)>,
}

/// Whose descriptors are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Container(String),
    Account(Option<u32>),
}

/// One look at all processes.
struct Look<'a> {
    proc_root: &'a Path,
    rdevs: &'a [(u32, u32)],
    nodes: &'a [HostNode],
    fences: &'a [Fence],
    cgroups: Option<Cgroups>,
    rules: RuleCache,
    until: Instant,
    meters: BTreeMap<Group, Meter>,
    found: OpenDevices,
}

/// What has been looked at of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    used: usize,
    most: usize,
    until: Instant,
}

impl Meter {
    /// A meter without limits, for callers that need a full answer however long it takes.
    pub(super) fn endless() -> Self {
        Self { used: 0, most: usize::MAX, until: Instant::now() + Duration::from_hours(24) }
    }

    /// Counts one more descriptor; `false` when the limit is reached.
    pub(super) fn spend(&mut self) -> bool {
        // The clock is not asked each time.
        if self.used.is_multiple_of(256) && Instant::now() >= self.until {
            self.most = self.most.min(FEW);
        }
        self.used = self.used.saturating_add(1);
        !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.used > self.most
    }
}

/// One entry for each process and device, in the order of pids.
///
/// If a process has more descriptors than are looked at, it may have every device open that it has the right to open.
/// The owner and mode in `nodes` say which those are. A device without an entry counts as one that everybody may open.
pub fn open_devices(
    proc_root: &Path,
    rdevs: &[(u32, u32)],
    nodes: &[HostNode],
    fences: &[Fence],
) -> OpenDevices {
    let pids = match pids(proc_root) {
        Ok(pids) => pids,
        Err(error) => {
            return OpenDevices {
                unreadable: 1,
                reason: Some(format!("{} cannot be read: {error}", proc_root.display())),
                ..OpenDevices::default()
            };
        }
    };
    let mut look = Look {
        proc_root,
        rdevs,
        nodes,
        fences,
        // Without it no fence is trusted, and everything is looked at.
        cgroups: Cgroups::find(proc_root).ok(),
        rules: RuleCache::default(),
        until: Instant::now() + LONG,
        meters: BTreeMap::new(),
        found: OpenDevices::default(),
    };
    let mut seen = BTreeSet::new();
    let mut new = pids;
    for round in 1.. {
        for pid in &new {
            look.note(*pid);
        }
        seen.extend(new);
        // A child may have come, with what its parent had, before the parent was looked at and gone.
        new = self::pids(proc_root).unwrap_or_default();
        new.retain(|pid| !seen.contains(pid));
        if new.is_empty() || round == ROUNDS {
            break;
        }
    }
    look.found
}

/// The processes that there are, in order.
pub(super) fn pids(proc_root: &Path) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(proc_root)?;
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

impl Look<'_> {
    fn note(&mut self, pid: u32) {
        match self.process(pid) {
            Ok(()) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => {
                self.found.unreadable += 1;
                let reason = format!("process {pid} cannot be looked into: {error}");
                self.found.reason.get_or_insert(reason);
            }
        }
    }

    fn process(&mut self, pid: u32) -> io::Result<()> {
        let dir = living(&self.proc_root.join(pid.to_string()));
        let cgroup = self.cgroups.as_ref().zip(read_small(&dir.join("cgroup")).ok());
        let cgroup = cgroup.and_then(|(cgroups, text)| cgroups.of_process(&text));
        let container_id = cgroup.as_ref().and_then(ProcessCgroup::container_id);
        let fences = self.fences;
        let fence = fences.iter().find(|fence| Some(&fence.container_id) == container_id.as_ref());
        let wanted = match (fence, &cgroup) {
            (Some(fence), Some(cgroup)) => self.possible(fence, cgroup)?,
            _ => self.rdevs.to_vec(),
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let (name, uid) = status(&dir);
        let group = container_id.clone().map_or(Group::Account(uid), Group::Container);
        let most = if fence.is_some() { MOST_OF_A_BERTH } else { MOST };
        let about =
            |rdev| OpenDevice { pid, name: name.clone(), uid, rdev, container_id: container_id.clone() };
        let meter = self.meters.entry(group).or_insert(Meter { used: 0, most, until: self.until });
        if meter.is_spent() {
            return Ok(());
        }
        let mut open = BTreeSet::new();
        let mut is_hidden = false;
        each_descriptor(&dir, meter, &mut |at, number| {
            open.extend(device_at(at, number, FileType::CharacterDevice, &wanted));
            is_hidden |= fence.is_some() && hidden::holds_others(at, number);
        })?;
        if fence.is_some() {
            match hidden::mapped(&self.proc_root.join(pid.to_string()), &wanted, meter) {
                Ok(mapped) => open.extend(mapped),
                Err(error) if has_ended(&error) => {}
                Err(_) => is_hidden = true,
            }
        }
        if meter.is_spent() {
            let may_have = |rdev: &(u32, u32)| fence.is_some() || may_open(self.nodes, &dir, *rdev);
            self.found.unfinished.extend(wanted.iter().copied().filter(may_have).map(about));
        }
        if is_hidden {
            self.found.hidden.extend(wanted.into_iter().filter(|rdev| !open.contains(rdev)).map(about));
        }
        self.found.open.extend(open.into_iter().map(about));
        Ok(())
    }

    /// What a process of a berth can have open besides its own devices: nothing, nearly always.
    fn possible(&mut self, fence: &Fence, cgroup: &ProcessCgroup) -> io::Result<Vec<(u32, u32)>> {
        let rules = self.rules.rules(cgroup)?;
        let allowed =
            |rdev: &(u32, u32)| rules.is_some_and(|rules| rules.iter().any(|rule| rule.covers(*rdev)));
        let can =
            |rdev: &&(u32, u32)| !fence.own.contains(rdev) && (fence.handed.contains(rdev) || allowed(rdev));
        Ok(self.rdevs.iter().filter(can).copied().collect())
    }
}

/// Whether the process could have opened the device by itself. What cannot be told is no reason to think otherwise.
fn may_open(nodes: &[HostNode], dir: &Path, rdev: (u32, u32)) -> bool {
    let mut its = nodes.iter().filter(|node| node.rdev == rdev).peekable();
    let Ok(rights) = Rights::of(dir) else { return true };
    its.peek().is_none() || its.any(|node| node.may_be_opened_by(&rights))
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

pub(super) fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Of a file below /proc/PID: the process is not there any more, or only its exit status is.
pub fn has_ended(error: &io::Error) -> bool {
    vanished(error) || error.kind() == io::ErrorKind::InvalidInput
}

/// Where a process shows what it has: its own directory, or that of another thread where the first one has ended. The
/// kernel shows nothing of a thread that has ended, and a process goes on without its first.
pub(super) fn living(process: &Path) -> PathBuf {
    if !is_ended(process) {
        return process.to_path_buf();
    }
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads
        .map(|thread| thread.path())
        .find(|thread| !is_ended(thread))
        .unwrap_or_else(|| process.to_path_buf())
}

fn is_ended(thread: &Path) -> bool {
    let text = read_small(&thread.join("status")).unwrap_or_default();
    let state = text.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
    matches!(state.trim_start().as_bytes().first(), Some(b'Z' | b'X' | b'x'))
}

/// What a process has open in any of its threads, which may have parted with the others' descriptors.
pub(super) fn devices_of_threads(
    dir: &Path,
    kind: FileType,
    rdevs: &[(u32, u32)],
    meter: &mut Meter,
) -> io::Result<BTreeSet<(u32, u32)>> {
    let mut open = BTreeSet::new();
    each_descriptor(dir, meter, &mut |at, number| open.extend(device_at(at, number, kind, rdevs)))?;
    Ok(open)
}

/// Whoever looks at a descriptor: the directory of the process or thread, and the number.
type See<'a> = dyn FnMut(&Path, &OsStr) + 'a;

/// Each that a process has in any of its threads. A thread with the same numbers as the first shares them, nearly
/// always: of it some are looked at, chosen anew each time, and all where they are few. Stops when the meter does.
fn each_descriptor(dir: &Path, meter: &mut Meter, see: &mut See) -> io::Result<()> {
    of_one_table(dir, meter, see)?;
    // `dir` may be that of a thread: then the others are beside it.
    let beside = dir.parent().filter(|above| above.ends_with("task"));
    let threads = match fs::read_dir(beside.map_or_else(|| dir.join("task"), Path::to_path_buf)) {
        Ok(threads) => threads,
        Err(error) if vanished(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let threads: Vec<PathBuf> = threads.flatten().map(|thread| thread.path()).collect();
    if threads.len() < 2 {
        return Ok(());
    }
    let first = numbers(dir);
    for thread in threads.iter().filter(|thread| thread.file_name() != dir.file_name()) {
        let own = numbers(thread);
        // A name costs far less than a look.
        meter.used = meter.used.saturating_add(own.len() / 16);
        let some = if own == first { sample(own) } else { own };
        for number in some {
            if !meter.spend() {
                return Ok(());
            }
            see(thread, &number);
        }
    }
    Ok(())
}

/// The numbers of a thread's descriptors; of one that has ended there are none.
fn numbers(thread: &Path) -> BTreeSet<OsString> {
    fs::read_dir(thread.join("fd")).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn sample(numbers: BTreeSet<OsString>) -> BTreeSet<OsString> {
    let step = numbers.len().div_ceil(SAMPLE).max(1);
    let start = usize::try_from(RandomState::new().hash_one(step) % step as u64).unwrap_or_default();
    numbers.into_iter().skip(start).step_by(step).collect()
}

fn of_one_table(dir: &Path, meter: &mut Meter, see: &mut See) -> io::Result<()> {
    each_entry(&dir.join("fd"), meter, &mut |entry| {
        see(dir, &entry.file_name());
        Ok(())
    })
}

/// What is in a directory of a process, which goes on meanwhile. Stops when the meter does.
pub(super) fn each_entry(
    dir: &Path,
    meter: &mut Meter,
    see: &mut dyn FnMut(&fs::DirEntry) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if vanished(&error) => continue,
            Err(error) => return Err(error),
        };
        if !meter.spend() {
            break;
        }
        see(&entry)?;
    }
    Ok(())
}

/// Which of these devices a descriptor is open for.
fn device_at(dir: &Path, descriptor: &OsStr, kind: FileType, rdevs: &[(u32, u32)]) -> Option<(u32, u32)> {
    // Follows the magic link to the open file itself, under whatever name it was opened, also in another
    // mount namespace. DONT_SYNC: a file on a network file system that hangs must not hang us.
    let (found, rdev) = kind_of(&dir.join("fd").join(descriptor)).ok()?;
    (found == kind && rdevs.contains(&rdev) && !is_only_a_path(dir, descriptor)).then_some(rdev)
}

/// What is behind a magic link, and its device number.
pub(super) fn kind_of(link: &Path) -> io::Result<(FileType, (u32, u32))> {
    let stat = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    Ok((FileType::from_raw_mode(stat.stx_mode.into()), (stat.stx_rdev_major, stat.stx_rdev_minor)))
}

/// `O_PATH` needs no right to the file, and the driver hears nothing of it. What cannot be read counts as open.
fn is_only_a_path(dir: &Path, descriptor: &OsStr) -> bool {
    let info = read_small(&dir.join("fdinfo").join(descriptor)).unwrap_or_default();
    let flags =
        info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & O_PATH != 0)
}

/// Name and real user from `/proc/<pid>/status`.
pub(super) fn status(dir: &Path) -> (String, Option<u32>) {
    let text = read_small(&dir.join("status")).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let uid = value("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
    (value("Name:").unwrap_or_default().to_owned(), uid)
}

pub(super) fn read_small(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, 64 << 10), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The id of the outermost container that a process is in, as the host's engine knows it: see
/// [`ProcessCgroup::container_id`], which does not believe a cgroup of somebody's own.
pub fn container_of(proc_root: &Path, pid: u32) -> Option<String> {
    let text = read_small(&proc_root.join(pid.to_string()).join("cgroup")).ok()?;
    Cgroups::find(proc_root).ok()?.of_process(&text)?.container_id()
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
    fn a_process_with_an_open_device_is_found() {
        // The device is its standard input for as long as it sleeps.
        let device = fs::File::open("/dev/full").unwrap();
        let mut child = Command::new("sleep").arg("60").stdin(device).stdout(Stdio::null()).spawn().unwrap();
        let found = open_devices(Path::new("/proc"), &[(1, 7)], &[], &[]);
        child.kill().unwrap();
        child.wait().unwrap();
        let ours = found.open.iter().find(|open| open.pid == child.id()).unwrap();
        assert_eq!((ours.rdev, ours.uid), ((1, 7), Some(nix::unistd::getuid().as_raw())));
        let again = open_devices(Path::new("/proc"), &[(1, 7)], &[], &[]);
        assert!(again.open.iter().all(|open| open.pid != child.id()));
    }

    #[test]
    fn only_what_a_process_may_open_is_thought_to_be_among_too_many() {
        let proc_root = tempfile::tempdir().unwrap();
        let node = HostNode { rdev: (1, 7), uid: 0, gid: 1000, mode: 0o20660 };
        for (pid, group, expected) in [("7", 100, false), ("8", 1000, true)] {
            let dir = proc_root.path().join(pid);
            fs::create_dir_all(&dir).unwrap();
            let status = format!(
                "Name:\tx\nUid:\t60001\t60001\t60001\t60001\nGid:\t{group}\t{group}\t{group}\t{group}\n"
            );
            fs::write(dir.join("status"), status).unwrap();
            assert_eq!(may_open(&[node], &dir, (1, 7)), expected);
            assert!(may_open(&[node], &dir, (1, 8)) && may_open(&[], &dir, (1, 7)), "nobody knows the node");
        }
        assert!(may_open(&[node], Path::new("/none"), (1, 7)), "nobody knows who it is");
    }

    #[test]
    fn a_path_alone_is_no_open_device() {
        use rustix::fs::{Mode, OFlags};
        let path = rustix::fs::open("/dev/full", OFlags::PATH, Mode::empty()).unwrap();
        let mut child =
            Command::new("sleep").arg("60").stdin(Stdio::from(path)).stdout(Stdio::null()).spawn().unwrap();
        let found = open_devices(Path::new("/proc"), &[(1, 7)], &[], &[]);
        let dir = Path::new("/proc").join(child.id().to_string());
        let has = fs::metadata(dir.join("fd/0"))
            .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_char_device(&meta.file_type()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has, "its standard input is the device");
        assert!(found.open.iter().all(|open| open.pid != child.id()), "{found:?}");
    }

    #[test]
    fn a_thread_that_parted_with_the_others_is_looked_at() {
        use std::sync::mpsc::channel;
        let ((opened, wait), (end, ended)) = (channel(), channel::<()>());
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            let device = fs::File::open("/dev/full").unwrap();
            opened.send(()).unwrap();
            let _ = ended.recv();
            drop(device);
        });
        wait.recv().unwrap();
        let own = std::process::id();
        let has = || {
            let found = open_devices(Path::new("/proc"), &[(1, 7)], &[], &[]);
            found.open.iter().any(|open| open.pid == own)
        };
        assert!(has());
        drop(end);
        thread.join().unwrap();
        assert!(!has());
    }

    #[test]
    fn a_process_goes_on_without_its_first_thread() {
        let proc_root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = proc_root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let ended = "Name:\tpython\nState:\tZ (zombie)\nUid:\t1000\t1000\t1000\t1000\n";
        file("7/status", ended);
        file("7/task/7/status", ended);
        file("7/task/9/status", &ended.replace("Z (zombie)", "S (sleeping)"));
        for fd in ["7/fd", "7/task/7/fd", "7/task/9/fd"] {
            fs::create_dir_all(proc_root.path().join(fd)).unwrap();
        }
        std::os::unix::fs::symlink("/dev/full", proc_root.path().join("7/task/9/fd/3")).unwrap();
        let found = open_devices(proc_root.path(), &[(1, 7)], &[], &[]);
        let [open] = found.open.as_slice() else { panic!("{found:?}") };
        assert_eq!((open.pid, open.uid, open.name.as_str()), (7, Some(1000), "python"));
        assert_eq!(living(&proc_root.path().join("7")), proc_root.path().join("7/task/9"));
    }

    #[test]
    fn a_look_ends_when_somebody_has_too_many_open() {
        let dir = tempfile::tempdir().unwrap();
        let fd = dir.path().join("fd");
        fs::create_dir(&fd).unwrap();
        for number in 0..10 {
            std::os::unix::fs::symlink("/dev/full", fd.join(number.to_string())).unwrap();
        }
        let later = Instant::now() + Duration::from_hours(1);
        let look = |mut meter: Meter| {
            let open =
                devices_of_threads(dir.path(), FileType::CharacterDevice, &[(1, 7)], &mut meter).unwrap();
            (meter.is_spent(), open)
        };
        let device = BTreeSet::from([(1, 7)]);
        assert_eq!(look(Meter { used: 0, most: 10, until: later }), (false, device.clone()));
        assert!(look(Meter { used: 0, most: 9, until: later }).0);
        // Late, those go on who have few.
        let now = Instant::now();
        assert_eq!(look(Meter { used: 0, most: MOST, until: now }), (false, device));
        assert!(look(Meter { used: FEW.next_multiple_of(256), most: MOST, until: now }).0);
    }

    #[test]
    fn what_a_berth_cannot_have_is_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("devices.list"), "c 1:3 rwm\nc 236:2 rw\n").unwrap();
        let cgroup = ProcessCgroup { path: "/docker/x".into(), dir: dir.path().into(), version_1: true };
        let mut look = Look {
            proc_root: Path::new("/proc"),
            rdevs: &[(236, 1), (236, 2), (236, 3)],
            nodes: &[],
            fences: &[],
            cgroups: None,
            rules: RuleCache::default(),
            until: Instant::now(),
            meters: BTreeMap::new(),
            found: OpenDevices::default(),
        };
        let fence = |own: &[(u32, u32)], handed: &[(u32, u32)]| Fence {
            container_id: "x".into(),
            own: own.to_vec(),
            handed: handed.to_vec(),
        };
        let mut can = |fence: Fence| look.possible(&fence, &cgroup).unwrap();
        assert_eq!(can(fence(&[(236, 2)], &[])), []);
        assert_eq!(can(fence(&[(236, 2)], &[(236, 3), (236, 2)])), [(236, 3)]);
        assert_eq!(can(fence(&[], &[])), [(236, 2)], "the kernel lets it open one more than we know of");
    }

    #[test]
    fn a_proc_that_cannot_be_read_is_not_an_empty_one() {
        let found = open_devices(Path::new("/no/such/proc"), &[(1, 3)], &[], &[]);
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
