//! How many files the server may have open. Many connections need more than the 1024 that many containers start
//! with. Programs of sessions get the container's own limit back, because some programs break with a higher one.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// Enough for every limit of connections.
const WANTED: u64 = 1 << 16;

/// The soft limit that the server was started with, once it has another.
static GIVEN: OnceLock<u64> = OnceLock::new();

pub(in crate::ssh) fn given() -> Option<u64> {
    GIVEN.get().copied()
}

/// Raises the limit as far as it may be raised; returns what it is then.
fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // No limit is more than enough.
    let (Some(soft), hard) = (limit.current, limit.maximum.unwrap_or(WANTED)) else { return WANTED };
    let wanted = hard.min(WANTED);
    if soft >= wanted || self::limit(wanted).is_err() {
        return soft;
    }
    let _ = GIVEN.set(soft);
    wanted
}

/// Room for connections that have not logged in, at most so many. Each needs two descriptors; most are for those who
/// have.
pub(in crate::ssh) fn room_for_strangers(most: usize) -> usize {
    usize::try_from(raise() / 8).map_or(most, |room| room.min(most))
}

/// Sets the soft limit.
pub(in crate::ssh) fn limit(soft: u64) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(soft);
    Ok(setrlimit(Resource::Nofile, limit)?)
}
