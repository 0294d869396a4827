//! Whole directory trees: compares a copy with its original, measures, empties. No link in them is followed.
//!
//! A directory that a run of berth is still filling carries a mark (an extended attribute that only root can set) with
//! the system's id. Only marked directories are ever emptied. A copy made by another system, or by this machine before
//! it was installed anew, has another id and stays: it may be the only copy left.

use crate::model::docker_seen::Place;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, XattrFlags, fstat,
    lgetxattr, llistxattr, lremovexattr, lsetxattr, openat, readlinkat, statat, statx,
};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MACHINE_ID: &str = "/etc/machine-id";
const MARK: &str = "trusted.berth.unfinished";
/// Deeper than anything that people make; each level keeps two directories open.
const DEEPEST: usize = 256;
/// The kernel's own limits.
const XATTR_NAMES: usize = 64 << 10;
/// An attribute that says where a file is stored differs in every copy.
const NOT_COPIED: [&[u8]; 2] = [b"security.evm", MARK.as_bytes()];

/// What is different, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: PathBuf,
    pub what: &'static str,
}

/// The first difference between two directories' contents. Of the two themselves only owner and mode count.
pub fn compare(a: &Path, b: &Path) -> io::Result<Option<Difference>> {
    let mut walk = Comparison::default();
    let (dir_a, dir_b) = (open_dir(CWD, a.as_os_str())?, open_dir(CWD, b.as_os_str())?);
    let (stat_a, stat_b) = (fstat(&dir_a)?, fstat(&dir_b)?);
    if let Some(what) = differing_rights(&stat_a, &stat_b) {
        return Ok(Some(Difference { path: PathBuf::new(), what }));
    }
    walk.directories(&dir_a, &dir_b, Path::new(""), 0)
}

#[derive(Default)]
struct Comparison {
    /// Files with several names, by device and number: which of one tree is which of the other.
    pairs: HashMap<(u64, u64), (u64, u64)>,
    back: HashMap<(u64, u64), (u64, u64)>,
}

impl Comparison {
    fn directories(
        &mut self,
        a: &OwnedFd,
        b: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> io::Result<Option<Difference>> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "{} is more than {DEEPEST} directories deep",
                path.display()
            )));
        }
        let (names, others) = (names(a)?, names(b)?);
        if let Some(name) = names.symmetric_difference(&others).min() {
            let what = if names.contains(name) { "it is not in the copy" } else { "it is only in the copy" };
            return Ok(Some(Difference { path: path.join(OsStr::from_bytes(name.to_bytes())), what }));
        }
        for name in names {
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            let found = self.entries(a, b, &name, &below, depth).map_err(|error| {
                io::Error::new(error.kind(), format!("comparing {}: {error}", below.display()))
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn entries(
        &mut self,
        a: &OwnedFd,
        b: &OwnedFd,
        name: &CString,
        path: &Path,
        depth: usize,
    ) -> io::Result<Option<Difference>> {
        let different = |what| Ok(Some(Difference { path: path.to_path_buf(), what }));
        let stat_a = statat(a, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let stat_b = statat(b, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(what) = differing_stat(&stat_a, &stat_b) {
            return different(what);
        }
        if xattrs(a, name)? != xattrs(b, name)? {
            return different("its extended attributes differ");
        }
        if protection(a, name)? != protection(b, name)? {
            return different("it may not be changed, or only grow (lsattr), and cp does not copy that");
        }
        match FileType::from_raw_mode(stat_a.st_mode) {
            FileType::Directory => {
                let (dir_a, dir_b) = (open_dir(a.as_fd(), as_os(name))?, open_dir(b.as_fd(), as_os(name))?);
                return self.directories(&dir_a, &dir_b, path, depth + 1);
            }
            FileType::Symlink if readlinkat(a, name, Vec::new())? != readlinkat(b, name, Vec::new())? => {
                return different("it leads elsewhere");
            }
            kind => match self.pair(&stat_a, &stat_b) {
                Pair::Other => return different("its hard links differ"),
                Pair::New if kind == FileType::RegularFile && !same_content(a, b, name)? => {
                    return different("its contents differ");
                }
                Pair::New | Pair::Known => {}
            },
        }
        Ok(None)
    }

    fn pair(&mut self, a: &Stat, b: &Stat) -> Pair {
        if a.st_nlink < 2 && b.st_nlink < 2 {
            return Pair::New;
        }
        let (id_a, id_b) = ((a.st_dev, a.st_ino), (b.st_dev, b.st_ino));
        match (self.pairs.insert(id_a, id_b), self.back.insert(id_b, id_a)) {
            (None, None) => Pair::New,
            (Some(known), Some(back)) if known == id_b && back == id_a => Pair::Known,
            _ => Pair::Other,
        }
    }
}

enum Pair {
    New,
    /// Another name of files that were compared.
    Known,
    Other,
}

fn differing_rights(a: &Stat, b: &Stat) -> Option<&'static str> {
    if a.st_mode != b.st_mode {
        return Some("its type or mode differs");
    }
    ((a.st_uid, a.st_gid) != (b.st_uid, b.st_gid)).then_some("its owner differs")
}

fn differing_stat(a: &Stat, b: &Stat) -> Option<&'static str> {
    let kind = FileType::from_raw_mode(a.st_mode);
    if let Some(what) = differing_rights(a, b) {
        return Some(what);
    }
    if kind == FileType::RegularFile && a.st_size != b.st_size {
        return Some("its size differs");
    }
    if matches!(kind, FileType::BlockDevice | FileType::CharacterDevice) && a.st_rdev != b.st_rdev {
        return Some("it is another device");
    }
    ((a.st_mtime, a.st_mtime_nsec) != (b.st_mtime, b.st_mtime_nsec)).then_some("its time of change differs")
}

fn open_dir(at: BorrowedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

fn as_os(name: &CString) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

fn names(dir: &OwnedFd) -> io::Result<std::collections::BTreeSet<CString>> {
    let mut found = std::collections::BTreeSet::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            found.insert(name);
        }
    }
    Ok(found)
}

/// By the directory's descriptor, so that no name above is looked up again; the last one is not followed.
fn below(dir: &OwnedFd, name: &CString) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(as_os(name))
}

fn xattrs(dir: &OwnedFd, name: &CString) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = below(dir, name);
    let mut list = Vec::with_capacity(XATTR_NAMES);
    match llistxattr(&path, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    }
    let mut found = Vec::new();
    for key in list.split(|byte| *byte == 0).filter(|key| !key.is_empty() && !NOT_COPIED.contains(key)) {
        let mut value = Vec::with_capacity(XATTR_NAMES);
        lgetxattr(&path, OsStr::from_bytes(key), rustix::buffer::spare_capacity(&mut value))?;
        found.push((key.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// `chattr +i`, `chattr +a`.
fn protection(dir: &OwnedFd, name: &CString) -> io::Result<StatxAttributes> {
    let stat = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    Ok(stat.stx_attributes & (StatxAttributes::IMMUTABLE | StatxAttributes::APPEND))
}

fn same_content(a: &OwnedFd, b: &OwnedFd, name: &CString) -> io::Result<bool> {
    let open = |dir: &OwnedFd| {
        // Should it have become a pipe in between, nobody waits for it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty()).map(|fd| BufReader::with_capacity(1 << 20, File::from(fd)))
    };
    same_bytes(open(a)?, open(b)?)
}

fn same_bytes(mut a: impl io::BufRead, mut b: impl io::BufRead) -> io::Result<bool> {
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        a.consume(length);
        b.consume(length);
    }
}

/// The first name in a tree whose contents, rights or place were changed between a moment and now, whatever its times
/// say.
pub fn changed_since(root: &Path, when: SystemTime) -> io::Result<Option<PathBuf>> {
    // The kernel stamps with a clock that ticks; the last tick may be one before.
    const TICK: Duration = Duration::from_millis(20);
    let since = |when: SystemTime| when.duration_since(UNIX_EPOCH).unwrap_or_default();
    // A clock that was wrong when the system was installed may have stamped with times that are still to come.
    let meanwhile = since(when).saturating_sub(TICK)..=since(SystemTime::now());
    let is_late = |stat: &Stat| {
        let seconds = u64::try_from(stat.st_ctime).unwrap_or_default();
        meanwhile.contains(&(Duration::from_secs(seconds) + Duration::from_nanos(stat.st_ctime_nsec)))
    };
    let dir = open_dir(CWD, root.as_os_str())?;
    if is_late(&fstat(&dir)?) {
        return Ok(Some(root.to_path_buf()));
    }
    find(&dir, root, &is_late, 0)
}

fn find(
    dir: &OwnedFd,
    path: &Path,
    is_it: &dyn Fn(&Stat) -> bool,
    depth: usize,
) -> io::Result<Option<PathBuf>> {
    for name in names(dir)? {
        let below = path.join(as_os(&name));
        let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_it(&stat) {
            return Ok(Some(below));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < DEEPEST {
            let found = find(&open_dir(dir.as_fd(), as_os(&name))?, &below, is_it, depth + 1)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// The bytes that the contents take on the disk; a file with several names counts once.
pub fn measure(root: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    add_up(&open_dir(CWD, root.as_os_str())?, &mut seen, &mut bytes, 0)?;
    Ok(bytes)
}

fn add_up(dir: &OwnedFd, seen: &mut HashSet<(u64, u64)>, bytes: &mut u64, depth: usize) -> io::Result<()> {
    for name in names(dir)? {
        let stat = match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Docker is at work in there.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            *bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < DEEPEST {
            match open_dir(dir.as_fd(), as_os(&name)) {
                Ok(below) => add_up(&below, seen, bytes, depth + 1)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The path with all links resolved; unchanged if it does not exist.
pub fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The state of a directory to which data should go. `known`: names of entries by which a data directory of dockerd is
/// recognised.
pub fn look_at(path: &Path, known: &[&str]) -> io::Result<Place> {
    let dir = match open_dir(CWD, path.as_os_str()) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Place::Free),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Place::Taken),
        // A link, which open with NOFOLLOW does not take.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(Place::Taken),
        Err(error) => return Err(error),
    };
    let names = names(&dir)?;
    let is_empty = names.iter().all(|name| name.to_bytes() == b"lost+found");
    let is_known = |name: &&str| CString::new(*name).is_ok_and(|name| names.contains(&name));
    Ok(match (is_empty, mark_of(path)?) {
        (true, _) => Place::Free,
        (false, Some(mark)) if mark == own_mark()? => Place::Unfinished,
        (false, None) if known.iter().filter(|name| is_known(name)).count() > 1 => Place::Docker,
        // Or marked by another system.
        (false, _) => Place::Taken,
    })
}

/// Makes a directory that must not be there, or be empty, and marks it as being filled.
pub fn begin(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if look_at(path, &[])? == Place::Taken {
        return Err(io::Error::new(ErrorKind::DirectoryNotEmpty, "it is not empty"));
    }
    reopen(path)
}

/// Removes the mark: the contents are complete.
pub fn finish(path: &Path) -> io::Result<()> {
    match lremovexattr(path, MARK) {
        Ok(()) | Err(Errno::NODATA | Errno::NOENT | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Marks a finished directory that is not used yet as unfinished again, so that the copy is made anew.
pub fn reopen(path: &Path) -> io::Result<()> {
    Ok(lsetxattr(path, MARK, &own_mark()?, XattrFlags::empty())?)
}

fn own_mark() -> io::Result<Vec<u8>> {
    match fs::read(MACHINE_ID) {
        Ok(text) => Ok(text.trim_ascii().to_vec()),
        // Bootstrap does not run there.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(b"none".to_vec()),
        Err(error) => Err(error),
    }
}

fn mark_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0; 256];
    match lgetxattr(path, MARK, &mut value) {
        Ok(length) => Ok(Some(value.get(..length).unwrap_or_default().to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes everything in a directory with our mark. Fails without the mark.
pub fn empty(path: &Path) -> io::Result<()> {
    if mark_of(path)? != Some(own_mark()?) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it is not marked as ours"));
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes a directory that is empty or carries our mark; absent is fine.
pub fn discard(path: &Path) -> io::Result<()> {
    match look_at(path, &[])? {
        Place::Unfinished => empty(path)?,
        Place::Free => {}
        Place::Docker | Place::Taken => {
            return Err(io::Error::new(ErrorKind::DirectoryNotEmpty, "it is not empty, and not ours"));
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a directory durably, after everything in it is on the disk.
pub fn settle(from: &Path, to: &Path) -> io::Result<()> {
    sync(from)?;
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Everything in the file system of this path is on the disk when this returns.
pub fn sync(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
