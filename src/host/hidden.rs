//! Files that a process keeps open without a descriptor: mapped into its memory, queued in a socket, or registered with
//! an io_uring. It only looks.

use super::procs::{Meter, each_entry, kind_of, living, read_small, vanished};
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// How many the kernel counts in a socket's queue (Linux 5.6), and in an io_uring.
const COUNTS: [&str; 2] = ["scm_fds:", "UserFiles:"];
/// As long as [`read_small`] reads: what follows was not seen.
const LONGEST: usize = 64 << 10;

/// Whether a descriptor holds others, which are in no table. The kernel tells how many, and not which.
pub(super) fn holds_others(dir: &Path, descriptor: &OsStr) -> bool {
    // An io_uring is of no type.
    let may = |kind| matches!(kind, FileType::Socket | FileType::Unknown);
    if !kind_of(&dir.join("fd").join(descriptor)).is_ok_and(|(kind, _)| may(kind)) {
        return false;
    }
    match read_small(&dir.join("fdinfo").join(descriptor)) {
        Ok(text) => text.len() >= LONGEST || text.lines().any(counts_some),
        Err(error) => !vanished(&error),
    }
}

fn counts_some(line: &str) -> bool {
    COUNTS.iter().any(|key| line.strip_prefix(key).is_some_and(|count| count.trim() != "0"))
}

/// Which of these devices a process has in its memory. A file stays open for as long as it is mapped.
pub(super) fn mapped(
    process: &Path,
    rdevs: &[(u32, u32)],
    meter: &mut Meter,
) -> io::Result<BTreeSet<(u32, u32)>> {
    if living(process) != process {
        // The memory is shown beside the first thread alone, and that has ended.
        return Err(io::Error::other("its memory cannot be looked at"));
    }
    let mut open = BTreeSet::new();
    each_entry(&process.join("map_files"), meter, &mut |entry| {
        match kind_of(&entry.path()) {
            Ok((FileType::CharacterDevice, rdev)) if rdevs.contains(&rdev) => drop(open.insert(rdev)),
            Ok(_) => {}
            Err(error) if vanished(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::IoSlice;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    #[test]
    fn a_descriptor_on_its_way_is_in_the_socket() {
        use rustix::net::{
            RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        };
        let (left, right) = UnixStream::pair().unwrap();
        let dir = Path::new("/proc/self");
        let holds = |stream: &UnixStream| holds_others(dir, OsStr::new(&stream.as_raw_fd().to_string()));
        assert!(!holds(&left) && !holds(&right));
        let device = fs::File::open("/dev/full").unwrap();
        let sent = [std::os::fd::AsFd::as_fd(&device)];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        assert!(message.push(SendAncillaryMessage::ScmRights(&sent)));
        rustix::net::sendmsg(&left, &[IoSlice::new(b"x")], &mut message, SendFlags::empty()).unwrap();
        drop(device);
        assert!(holds(&right) && !holds(&left));
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let into = &mut [io::IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(&right, into, &mut message, RecvFlags::empty()).unwrap();
        assert!(!holds(&right));
        // A file is not asked at all.
        let file = tempfile::tempfile().unwrap();
        assert!(!holds_others(dir, OsStr::new(&file.as_raw_fd().to_string())));
    }

    #[test]
    fn counts_are_read_as_the_kernel_writes_them() {
        assert!(counts_some("scm_fds: 1") && counts_some("UserFiles:\t7"));
        assert!(
            !counts_some("scm_fds: 0") && !counts_some("UserFiles:\t0") && !counts_some("flags:\t02000002")
        );
    }

    #[test]
    fn what_is_mapped_is_open() {
        let script = "import mmap, os, sys\nfd = os.open('/dev/zero', os.O_RDWR)\n\
                      kept = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)\nos.close(fd)\nprint('ready', flush=True)\n\
                      sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        let process = Path::new("/proc").join(child.id().to_string());
        let look = |rdev| mapped(&process, &[rdev], &mut Meter::endless());
        let (zero, null) = (look((1, 5)), look((1, 3)));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!((zero.unwrap(), null.unwrap()), (BTreeSet::from([(1, 5)]), BTreeSet::new()));
        assert!(mapped(&process, &[(1, 5)], &mut Meter::endless()).is_err(), "nobody is there");
    }
}
