//! Who has a device open: a scan of /proc. It only looks; processes may come and go while it does.

use super::{Host, read_text};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

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

/// One entry for each process and device, in the order of pids.
pub fn open_devices(proc_root: &Path, rdevs: &[(u32, u32)]) -> OpenDevices {
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
        match devices_of(&dir, rdevs) {
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

fn devices_of(dir: &Path, rdevs: &[(u32, u32)]) -> io::Result<BTreeSet<(u32, u32)>> {
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
        let is_char = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::CharacterDevice;
        if is_char && rdevs.contains(&rdev) {
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
