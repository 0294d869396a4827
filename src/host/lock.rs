//! Advisory locks that end with their process: one agent for each state directory, and one bootstrap at a time.

use crate::error::Fault;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Held as long as the value lives.
#[derive(Debug)]
pub struct StateLock(#[allow(dead_code, reason = "kept open: closing it gives the lock up")] OwnedFd);

pub fn lock_state(dir: &Path) -> Result<StateLock, Fault> {
    lock(&dir.join("agent.lock"))?.ok_or_else(|| {
        Fault::host(format!("another agent uses the state directory {}", dir.display()))
            .help("one agent a state directory; give this one a config with `paths` of its own")
    })
}

/// One bootstrap at a time.
pub fn lock_bootstrap(dir: &Path) -> Result<StateLock, Fault> {
    lock(&dir.join("lock"))?.ok_or_else(|| {
        Fault::busy("another berth bootstrap is running on this machine").help("wait until it has ended")
    })
}

/// Whether a bootstrap is at work; looking takes nothing away from it.
pub fn is_bootstrap_at_work(dir: &Path) -> Result<bool, Fault> {
    let path = dir.join("lock");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let wrong = |errno| Fault::host(format!("looking at {}: {errno}", path.display()));
    let file = match open(&path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(wrong(errno)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(wrong(errno)),
    }
}

/// `None`: somebody else has it.
fn lock(path: &Path) -> Result<Option<StateLock>, Fault> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| Fault::host(format!("opening {}: {errno}", path.display())))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(StateLock(file))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Fault::host(format!("locking {}: {errno}", path.display()))),
    }
}

/// The process that has a lock of the other kind (fcntl) on a file, as package managers do.
pub fn holder_of(path: &Path) -> Option<u32> {
    use nix::libc;
    // Opened for reading alone: a lock for writing can be asked about all the same.
    let file = std::fs::File::open(path).ok()?;
    let mut lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).ok()?,
        l_whence: i16::try_from(libc::SEEK_SET).ok()?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETLK(&mut lock)).ok()?;
    let is_held = i32::from(lock.l_type) != libc::F_UNLCK;
    is_held.then(|| u32::try_from(lock.l_pid).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_state(dir.path()).unwrap();
        assert!(lock_state(dir.path()).unwrap_err().message.contains("another agent"));
        drop(first);
        lock_state(dir.path()).unwrap();
    }

    #[test]
    fn a_bootstrap_at_work_is_seen_and_not_hindered() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_bootstrap_at_work(dir.path()).unwrap());
        let lock = lock_bootstrap(dir.path()).unwrap();
        assert!(is_bootstrap_at_work(dir.path()).unwrap());
        drop(lock);
        assert!(!is_bootstrap_at_work(dir.path()).unwrap());
        lock_bootstrap(dir.path()).unwrap();
    }
}
