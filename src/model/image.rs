//! Facts about an image: berth's program inside prints them, and the agent reads them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What `berth inside probe` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageProbe {
    pub schema: u32,
    pub arch: String,
    /// Whom sessions would run as; `null` with a reason in `user_error`.
    pub user: Option<ProbedUser>,
    pub user_error: Option<String>,
    pub shells: Vec<PathBuf>,
    /// `2.36`; `null` when the image has none.
    pub glibc: Option<String>,
    pub musl: bool,
    /// The highest `GLIBCXX_` version that its libstdc++ offers.
    pub glibcxx: Option<String>,
    pub tar: bool,
    /// curl or wget, with which editors download their servers.
    #[serde(default)]
    pub download: bool,
    /// The version of the CANN toolkit.
    pub cann: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    pub shell: PathBuf,
    pub home_exists: bool,
    /// From owner and mode; nothing is written to find out.
    pub home_writable: bool,
    /// Bytes that are free there.
    #[serde(default)]
    pub home_free: Option<u64>,
}
