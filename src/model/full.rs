//! A file system that is full, and which of berth's directories is on it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Personal storage.
    Storage,
    /// The ledger, keys and files of berths.
    State,
}

/// One of berth's directories on a file system without room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullPlace {
    pub kept: Kept,
    pub path: PathBuf,
    /// Where that file system is mounted.
    pub file_system: PathBuf,
}

impl FullPlace {
    /// What to say when there is room again.
    pub fn over(&self) -> String {
        format!(
            "there is room again on file system {}, where {} is",
            self.file_system.display(),
            self.path.display()
        )
    }

    /// What whoever looks after the node can do.
    pub fn help(&self) -> String {
        let path = self.path.display();
        match self.kept {
            Kept::Storage => format!(
                "free space on it; `du -xsh {path}/* | sort -h` shows who has most, and berth never removes anyone's files"
            ),
            Kept::State => {
                let mount = self.file_system.display();
                format!("free space on it; `du -xhd1 {mount} | sort -h` shows what is large")
            }
        }
    }
}

impl fmt::Display for FullPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, mount) = (self.path.display(), self.file_system.display());
        match self.kept {
            Kept::Storage => write!(
                f,
                "storage root {path} is full (file system {mount}): nobody can write more there, and whoever has no storage \
                 yet gets no berth"
            ),
            Kept::State => write!(
                f,
                "file system {mount} is full, where the ledger is ({path}): no berth can be made; those there are go on, \
                 and can be released"
            ),
        }
    }
}
