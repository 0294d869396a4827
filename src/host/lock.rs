//! One agent a state directory: an advisory lock that ends with its process.

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
}
