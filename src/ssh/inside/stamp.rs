//! Tells whether a file was changed or replaced since the last look.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Tells one version of a file from the next; `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) struct Stamp(Option<[i64; 5]>);

impl Stamp {
    pub(in crate::ssh) fn of(path: &Path) -> Self {
        let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
        Self(std::fs::metadata(path).ok().map(|meta| {
            [number(meta.ino()), number(meta.size()), meta.ctime(), meta.ctime_nsec(), meta.mtime_nsec()]
        }))
    }
}
