//! Uses of a block device that an exclusive open does not detect: loop devices, open descriptors, mounts in other mount
//! namespaces, exports to other machines.
//!
//! What could not be looked at is reported in `unseen` or `blind`, and never counts as "not in use".

use super::mounts::{self, MountLine};
use crate::host::{Host, block, block_holders, read_text};
use crate::model::disk_use::{Exporter, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;

pub type Number = (u32, u32);

/// Mounts in other namespaces that are kept, and processes that are named when theirs are not understood.
const MOST_MOUNTS: usize = 4096;
const MOST_UNSEEN: usize = 16;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Holders {
    pub loops: Vec<Loop>,
    /// Loop devices whose backing file cannot be looked at any more.
    pub blind: Vec<Blind>,
    pub open: Vec<(Process, Number)>,
    pub elsewhere: Vec<(Process, MountLine)>,
    pub exports: Vec<Export>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// A loop device over a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    pub name: String,
    pub number: String,
    pub over: Number,
    pub offset: u64,
}

/// Such a loop device. It can be over a disk only if the disk has this size, where the device reaches the disk's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    pub what: String,
    pub size_bytes: Option<u64>,
}

impl Blind {
    pub fn may_be_over(&self, size_bytes: u64) -> bool {
        self.size_bytes.is_none_or(|size| size == size_bytes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub by: Exporter,
    pub name: String,
    pub device: Number,
}

/// A character device by which a disk is read and written past its block device, such as `/dev/sg0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Character {
    pub node: Number,
    pub disk: Number,
}

/// `numbers`: the devices that matter. `characters`: nodes that reach the same disks by another way.
/// `own`: what is mounted in the machine's own namespace.
pub fn gather(host: &dyn Host, numbers: &[Number], characters: &[Character], own: &[MountLine]) -> Holders {
    let mut holders = gather_files(host, &block::number_of);
    let proc_root = Path::new("/proc");
    let open = block_holders::lasting_blocks(proc_root, numbers);
    holders.unseen.extend(open.reason);
    holders.open = open.open.into_iter().map(|open| (process(open.pid), open.rdev)).collect();
    let nodes: Vec<Number> = characters.iter().map(|character| character.node).collect();
    let open = block_holders::lasting_characters(proc_root, &nodes);
    holders.unseen.extend(open.reason);
    for open in open.open {
        let disks = characters.iter().filter(|character| character.node == open.rdev);
        holders.open.extend(disks.map(|character| (process(open.pid), character.disk)));
    }
    gather_elsewhere(proc_root, own, &mut holders);
    holders
}

/// Mounts in other namespaces that may be of a disk.
#[derive(Default)]
struct Elsewhere<'a> {
    /// Devices that are mounted in the machine's own namespace: what others have of them is no news.
    own: BTreeSet<&'a str>,
    /// One of each device is enough in each namespace.
    seen: BTreeSet<(u32, String, String)>,
    lines: Vec<(u32, MountLine)>,
    unseen: BTreeMap<u32, String>,
}

impl Elsewhere<'_> {
    fn note(&mut self, pid: u32, text: &str) {
        let device = text.split(' ').nth(2).unwrap_or_default();
        // A file system on several devices has a number of no device, and one of them as its source.
        if self.own.contains(device) || device.starts_with("0:") && !text.contains(" /dev/") {
            return;
        }
        let line = match mounts::parse(text) {
            Ok(lines) => lines.into_iter().next(),
            Err(why) => {
                self.unseen.entry(pid).or_insert(why);
                None
            }
        };
        let is_of_disk = |line: &MountLine| !device.starts_with("0:") || line.source.starts_with("/dev/");
        let Some(line) = line.filter(is_of_disk) else { return };
        if self.lines.len() >= MOST_MOUNTS {
            self.unseen.entry(pid).or_insert_with(|| "there are too many, in all namespaces together".into());
        } else if self.seen.insert((pid, line.device.clone(), line.source.clone())) {
            self.lines.push((pid, line));
        }
    }
}

fn gather_elsewhere(proc_root: &Path, own: &[MountLine], found: &mut Holders) {
    let own = own.iter().map(|line| line.device.as_str()).filter(|device| !device.starts_with("0:"));
    let mut elsewhere = Elsewhere { own: own.collect(), ..Elsewhere::default() };
    match block_holders::other_mounts(proc_root, &mut |pid, line| elsewhere.note(pid, line)) {
        Ok(blind) => {
            found.unseen.extend(blind.into_iter().map(|who| format!("mounts in the namespace of {who}")));
        }
        Err(error) => found.unseen.push(format!("mounts in other namespaces: {error}")),
    }
    let unseen = elsewhere.unseen.into_iter().take(MOST_UNSEEN);
    found.unseen.extend(unseen.map(|(pid, why)| format!("the mounts of process {pid}: {why}")));
    let mut processes = BTreeMap::new();
    for (pid, line) in elsewhere.lines {
        let process = processes.entry(pid).or_insert_with(|| process(pid)).clone();
        found.elsewhere.push((process, mounts::resolved(line)));
    }
}

fn process(pid: u32) -> Process {
    let (name, unit) = block_holders::name_and_unit(Path::new("/proc"), pid);
    Process { pid, name, unit }
}

type NumberOf<'a> = &'a dyn Fn(&Path) -> io::Result<Option<Number>>;

/// What /sys says.
fn gather_files(host: &dyn Host, number_of: NumberOf) -> Holders {
    let mut found = Holders::default();
    loops(host, number_of, &mut found);
    nvme_target(host, number_of, &mut found);
    lio(host, number_of, &mut found);
    scst(host, number_of, &mut found);
    found
}

/// Lists a directory of a kernel module. It is empty where the module is not loaded.
fn list(host: &dyn Host, dir: &str, found: &mut Holders) -> Vec<(String, String)> {
    let paths = match host.list(Path::new(dir)) {
        Ok(paths) => paths,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            found.unseen.push(format!("{dir}: {error}"));
            return Vec::new();
        }
    };
    let named = paths.iter().filter_map(|path| {
        Some((path.file_name()?.to_string_lossy().into_owned(), path.to_string_lossy().into_owned()))
    });
    named.collect()
}

fn read(host: &dyn Host, path: &str) -> Option<String> {
    let text = read_text(host, Path::new(path)).ok()?;
    let text = text.trim_end_matches(['\n', '\0']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number of the block device at a path; `None`: it is no block device.
fn behind(path: &str, whose: &str, number_of: NumberOf, found: &mut Holders) -> Option<Number> {
    match number_of(Path::new(path)) {
        Ok(number) => number,
        // In another mount namespace it may be there, and a deleted node leads to its device still.
        Err(error) => {
            found.unseen.push(format!("what is behind {whose}, {path}: {error}"));
            None
        }
    }
}

fn loops(host: &dyn Host, number_of: NumberOf, found: &mut Holders) {
    for (name, dir) in list(host, "/sys/block", found) {
        // Only one that is set up has the file.
        let Some(path) = read(host, &format!("{dir}/loop/backing_file")) else { continue };
        let number = |file: &str| read(host, &format!("{dir}/{file}"))?.trim().parse::<u64>().ok();
        let offset = number("loop/offset");
        match number_of(Path::new(&path)) {
            Ok(None) => {}
            Ok(Some(over)) => {
                let number = read(host, &format!("{dir}/dev")).unwrap_or_default();
                found.loops.push(Loop { name, number, over, offset: offset.unwrap_or(0) });
            }
            // Its file may be one that was removed, like that of an old snap, or a node in another mount namespace.
            Err(error) => {
                let is_whole = number("loop/sizelimit") == Some(0);
                let end = number("size").zip(offset).map(|(sectors, offset)| sectors * 512 + offset);
                let what = format!("what is behind {name}, {path}: {error}");
                found.blind.push(Blind { what, size_bytes: end.filter(|_| is_whole) });
            }
        }
    }
}

/// Whether exports cannot be seen: the module is loaded, but configfs, where they are configured, is not mounted.
fn is_hidden(host: &dyn Host, module: &str, dir: &str, found: &mut Holders) -> bool {
    let is_loaded = host.exists(Path::new(&format!("/sys/module/{module}")));
    let is_hidden = is_loaded && !host.exists(Path::new(dir));
    if is_hidden {
        found.unseen.push(format!("module {module} is loaded, and {dir} is not there: mount configfs"));
    }
    is_hidden
}

fn nvme_target(host: &dyn Host, number_of: NumberOf, found: &mut Holders) {
    const TOP: &str = "/sys/kernel/config/nvmet";
    if is_hidden(host, "nvmet", TOP, found) {
        return;
    }
    for (subsystem, dir) in list(host, &format!("{TOP}/subsystems"), found) {
        for (number, dir) in list(host, &format!("{dir}/namespaces"), found) {
            let path = read(host, &format!("{dir}/device_path")).filter(|path| path.starts_with('/'));
            let name = format!("{subsystem}, namespace {number}");
            let Some(path) = path else { continue };
            if let Some(device) = behind(&path, &name, number_of, found) {
                found.exports.push(Export { by: Exporter::NvmeTarget, name, device });
            }
        }
        passed_through(host, &subsystem, &format!("{dir}/passthru"), found);
    }
}

/// Adds an export of a whole controller with all its namespaces. Its node is no block device.
fn passed_through(host: &dyn Host, subsystem: &str, dir: &str, found: &mut Holders) {
    let path = read(host, &format!("{dir}/device_path")).filter(|path| path.starts_with('/'));
    let Some(path) = path else { return };
    if read(host, &format!("{dir}/enable")).as_deref() == Some("0") {
        return;
    }
    let name = format!("{subsystem}, passthru");
    let controller = path.rsplit('/').next().unwrap_or_default();
    if controller.is_empty() || !host.exists(Path::new(&format!("/sys/class/nvme/{controller}"))) {
        found.unseen.push(format!("what is behind {name}, {path}: no NVMe controller has this name"));
        return;
    }
    for (disk, dir) in list(host, "/sys/block", found) {
        if !is_of_controller(host, &disk, &dir, controller) {
            continue;
        }
        match read(host, &format!("{dir}/dev")).as_deref().and_then(super::disks::split) {
            Some(device) => {
                found.exports.push(Export { by: Exporter::NvmeTarget, name: name.clone(), device });
            }
            None => found.unseen.push(format!("the device number of {disk}")),
        }
    }
}

/// A namespace of one path is below its controller, and has its number; one of several is below a subsystem, in which
/// its controllers are. A number that is that of a subsystem only makes us refuse one disk too many.
fn is_of_controller(host: &dyn Host, disk: &str, dir: &str, controller: &str) -> bool {
    let number = disk.strip_prefix(controller).and_then(|rest| rest.strip_prefix('n'));
    let has_its_number = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    has_its_number || host.exists(Path::new(&format!("{dir}/device/{controller}")))
}

fn lio(host: &dyn Host, number_of: NumberOf, found: &mut Holders) {
    const TOP: &str = "/sys/kernel/config/target";
    if is_hidden(host, "target_core_mod", TOP, found) {
        return;
    }
    for (hba, dir) in list(host, &format!("{TOP}/core"), found) {
        for (store, dir) in list(host, &dir, found) {
            let name = format!("{hba}/{store}");
            let info = read(host, &format!("{dir}/info")).unwrap_or_default();
            let mut devices: Vec<Number> = numbers_in(&info).into_iter().collect();
            let path = read(host, &format!("{dir}/udev_path"));
            for path in
                path.iter().map(String::as_str).chain(files_in(&info)).filter(|path| path.starts_with('/'))
            {
                devices.extend(behind(path, &name, number_of, found));
            }
            devices.dedup();
            let by = Exporter::Lio;
            found.exports.extend(devices.into_iter().map(|device| Export { by, name: name.clone(), device }));
        }
    }
}

/// `Major: 259 Minor: 1`, as an iblock says it.
fn numbers_in(info: &str) -> Option<Number> {
    let after = |key: &str| {
        let rest = info.split_once(key)?.1.split_whitespace().next()?;
        rest.parse().ok()
    };
    Some((after("Major:")?, after("Minor:")?))
}

/// `File: /dev/nvme1n1 Size: …`, as a fileio says it.
fn files_in(info: &str) -> impl Iterator<Item = &str> {
    info.split("File: ").skip(1).filter_map(|rest| rest.split_whitespace().next())
}

fn scst(host: &dyn Host, number_of: NumberOf, found: &mut Holders) {
    for (name, dir) in list(host, "/sys/kernel/scst_tgt/devices", found) {
        let text = read(host, &format!("{dir}/filename")).unwrap_or_default();
        let Some(path) = text.lines().next().filter(|path| path.starts_with('/')) else { continue };
        if let Some(device) = behind(path, &name, number_of, found) {
            found.exports.push(Export { by: Exporter::Scst, name, device });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    fn number_of(path: &Path) -> io::Result<Option<Number>> {
        match path.to_str().unwrap() {
            "/dev/nvme1n1" => Ok(Some((259, 1))),
            "/dev/nvme1n1p2" => Ok(Some((259, 3))),
            "/srv/image" => Ok(None),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn loop_devices_are_found_by_what_is_behind_them() {
        let host = FakeHost::default()
            .with_file("/sys/block/loop0/loop/backing_file", "/dev/nvme1n1\n")
            .with_file("/sys/block/loop0/loop/offset", "1048576\n")
            .with_file("/sys/block/loop0/dev", "7:0\n")
            .with_file("/sys/block/loop1/loop/backing_file", "/srv/image\n")
            .with_file("/sys/block/loop2/dev", "7:2\n")
            .with_file("/sys/block/loop3/loop/backing_file", "/dev/gone (deleted)\n")
            .with_file("/sys/block/loop4/loop/backing_file", "/snap/old (deleted)\n")
            .with_file("/sys/block/loop4/loop/offset", "4096\n")
            .with_file("/sys/block/loop4/loop/sizelimit", "0\n")
            .with_file("/sys/block/loop4/size", "8\n")
            .with_file("/sys/block/sda/dev", "8:0\n");
        let found = gather_files(&host, &number_of);
        let over = Loop { name: "loop0".into(), number: "7:0".into(), over: (259, 1), offset: 1 << 20 };
        assert_eq!(found.loops, [over]);
        let [any, whole] = found.blind.as_slice() else { panic!("{:?}", found.blind) };
        assert!(any.what.contains("loop3, /dev/gone (deleted)") && any.may_be_over(1), "{any:?}");
        assert!(whole.may_be_over(8192) && !whole.may_be_over(4096), "{whole:?}");
        assert!(found.unseen.is_empty(), "{:?}", found.unseen);
    }

    #[test]
    fn of_the_mounts_in_other_namespaces_those_of_other_disks_are_kept_once() {
        let own = mounts::parse("25 1 8:2 / / rw - ext4 /dev/sda2 rw\n").unwrap();
        let own = own.iter().map(|line| line.device.as_str()).collect();
        let mut elsewhere = Elsewhere { own, ..Elsewhere::default() };
        for id in 0..900 {
            elsewhere.note(7, &format!("{id} 1 8:2 /home /m/{id} rw - ext4 /dev/sda2 rw"));
            elsewhere.note(7, &format!("{id} 1 0:{id} / /m/{id} rw - tmpfs x rw"));
            elsewhere.note(7, &format!("{id} 1 0:{id} / /dev/{id} rw - tmpfs x rw"));
            elsewhere.note(7, &format!("{id} 1 259:3 / /m/{id} rw - xfs /dev/nvme1n1 rw"));
            elsewhere.note(8, &format!("{id} 1 0:99 / /m/{id} rw - btrfs /dev/nvme2n1 rw"));
            elsewhere.note(9, &format!("nonsense {id}"));
        }
        let kept: Vec<_> = elsewhere
            .lines
            .iter()
            .map(|(pid, line)| (*pid, line.source.as_str(), line.target.as_str()))
            .collect();
        assert_eq!(kept, [(7, "/dev/nvme1n1", "/m/0"), (8, "/dev/nvme2n1", "/m/0")]);
        assert_eq!(elsewhere.unseen.len(), 1);
        // Names of devices are anybody's to give.
        (0..9000).for_each(|id| elsewhere.note(70, &format!("{id} 1 0:{id} / /m rw - tmpfs /dev/x{id} rw")));
        assert_eq!(elsewhere.lines.len(), MOST_MOUNTS);
        assert!(elsewhere.unseen[&70].starts_with("there are too many"));
    }

    #[test]
    fn exports_are_found_in_each_target() {
        let host = FakeHost::default()
            .with_file(
                "/sys/kernel/config/nvmet/subsystems/nqn.x/namespaces/1/device_path",
                "/dev/nvme1n1p2\n",
            )
            .with_file("/sys/kernel/config/nvmet/subsystems/nqn.x/namespaces/2/device_path", "(null)\n")
            .with_file(
                "/sys/kernel/config/target/core/fileio_0/a/info",
                "Status: ACTIVATED\n File: /dev/nvme1n1 Size: 5\n",
            )
            .with_file(
                "/sys/kernel/config/target/core/iblock_0/b/info",
                "iBlock device: x\n  Major: 259 Minor: 3  CLAIMED\n",
            )
            .with_file("/sys/kernel/config/target/core/pscsi_0/c/udev_path", "/dev/nvme1n1\n")
            .with_file("/sys/kernel/config/target/core/fileio_0/d/udev_path", "/srv/image\n")
            .with_file("/sys/kernel/scst_tgt/devices/e/filename", "/dev/nvme1n1\n[key]\n");
        let found = gather_files(&host, &number_of);
        let said: Vec<(Exporter, &str, u32)> =
            found.exports.iter().map(|export| (export.by, export.name.as_str(), export.device.1)).collect();
        let expected = [
            (Exporter::NvmeTarget, "nqn.x, namespace 1", 3),
            (Exporter::Lio, "fileio_0/a", 1),
            (Exporter::Lio, "iblock_0/b", 3),
            (Exporter::Lio, "pscsi_0/c", 1),
            (Exporter::Scst, "e", 1),
        ];
        assert_eq!(said, expected);
        assert!(found.unseen.is_empty(), "{:?}", found.unseen);
    }

    #[test]
    fn a_controller_that_is_passed_through_exports_all_its_namespaces() {
        const TOP: &str = "/sys/kernel/config/nvmet/subsystems";
        let found = |path: &str, enable: &str| {
            let host = FakeHost::default()
                .with_file("/sys/class/nvme/nvme1/dev", "239:1\n")
                .with_file("/sys/block/nvme1n1/dev", "259:1\n")
                .with_file("/sys/block/nvme1n1/device/transport", "pcie\n")
                .with_file("/sys/block/nvme1n2/dev", "259:2\n")
                .with_file("/sys/block/nvme1n2/device/transport", "pcie\n")
                .with_file("/sys/block/nvme11n1/dev", "259:3\n")
                .with_file("/sys/block/nvme11n1/device/transport", "pcie\n")
                // Of several paths: its number is that of the subsystem.
                .with_file("/sys/block/nvme0n1/dev", "259:4\n")
                .with_file("/sys/block/nvme0n1/device/subsysnqn", "nqn.s\n")
                .with_file("/sys/block/nvme0n1/device/nvme1/transport", "pcie\n")
                .with_file("/sys/block/sda/dev", "8:0\n")
                .with_file(&format!("{TOP}/nqn.x/passthru/device_path"), path)
                .with_file(&format!("{TOP}/nqn.x/passthru/enable"), enable);
            let found = gather_files(&host, &number_of);
            let mut minors: Vec<u32> = found.exports.iter().map(|export| export.device.1).collect();
            minors.sort_unstable();
            assert!(found.exports.iter().all(|export| export.name == "nqn.x, passthru"));
            (minors, found.unseen.len())
        };
        assert_eq!(found("/dev/nvme1\n", "1\n"), (vec![1, 2, 4], 0));
        assert_eq!(found("/dev/nvme1\n", "0\n"), (vec![], 0));
        assert_eq!(found("(null)\n", "0\n"), (vec![], 0));
        assert_eq!(found("/dev/other\n", "1\n"), (vec![], 1));
    }

    #[test]
    fn a_target_that_cannot_be_looked_at_is_not_an_empty_one() {
        let host = FakeHost::default()
            .with_file("/sys/module/nvmet/refcnt", "1\n")
            .with_file("/sys/module/target_core_mod/refcnt", "1\n");
        let unseen = gather_files(&host, &number_of).unseen;
        assert_eq!(unseen.len(), 2, "{unseen:?}");
        assert!(unseen.iter().all(|what| what.contains("mount configfs")), "{unseen:?}");
    }
}
