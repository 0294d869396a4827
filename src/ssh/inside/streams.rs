//! The standard streams of those of our programs that carry much data.

use nix::fcntl::{FcntlArg, fcntl};
use std::os::fd::BorrowedFd;

/// Room in the pipes to and from the server, so that both ends work at the same time.
const PIPE: i32 = 1 << 20;

pub(in crate::ssh) fn widen(ends: [BorrowedFd<'_>; 2]) {
    for end in ends {
        // Less room is slower, and sockets have none of this kind.
        let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE));
    }
}
