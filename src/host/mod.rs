//! The effect boundary: only this module starts programs and touches paths of the host.
//!
//! Other modules work on [`Host`], so that a fixture directory or a `FakeHost` can stand in for a machine.
//! Effects that need more than paths and programs (device nodes, processes, personal storage) are small
//! concrete modules beside the trait, not methods of it.
#![allow(clippy::disallowed_methods, reason = "this module is the one door to the machine")]

pub mod accounts;
pub mod apart;
mod apart_rules;
pub mod block;
pub mod block_holders;
pub mod cgroups;
pub mod clock;
mod cmd;
pub mod crash;
mod device;
pub mod dirs;
pub mod editors;
pub mod elf;
pub mod exchange;
#[cfg(test)]
mod fake;
pub mod files;
pub mod firewall;
pub mod getent;
pub mod handover;
mod hidden;
pub mod kernel_log;
pub mod lock;
pub mod mountinfo;
pub mod namespaces;
pub mod nodes;
mod own_dir;
pub mod procs;
pub mod readback;
mod real;
pub mod room;
pub mod sockets;
pub mod ssh_client;
pub mod ssh_files;
pub mod storage;
pub mod sysctl;
pub mod terminal;
pub mod tree;
pub mod trust;
mod unpack;

pub use cmd::{Cmd, Output, RunError, Tool};
pub use device::{device_number, device_numbers};
pub(crate) use device::{device_number_of, program_at};
#[cfg(test)]
pub use fake::FakeHost;
pub use real::RealHost;

use std::io;
use std::path::{Path, PathBuf};

/// What the program may do to the machine. Six methods: an effect that needs a seventh belongs into a module beside it.
pub trait Host: Send + Sync {
    /// Runs a program to its end, or kills it (and its process group) at its timeout.
    fn run(&self, cmd: &Cmd) -> Result<Output, RunError>;
    /// Reads a whole small file (at most 16 MiB).
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Lists the full paths in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    fn exists(&self, path: &Path) -> bool;
    /// Writes a file so that readers see the old or the new content, never a part; durable on return.
    fn write_atomic(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()>;
    /// Removes one file or a directory tree; absent is not an error.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Reads a file as text; bytes that are not UTF-8 are replaced, never a reason to stop looking.
pub fn read_text(host: &dyn Host, path: &Path) -> io::Result<String> {
    host.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The same, where the file has to be there. The error names it.
pub fn need_text(host: &dyn Host, path: &Path) -> Result<String, String> {
    read_text(host, path).map_err(|error| unreadable(path, &error))
}

/// The same; `None`: there is no such file.
pub fn find_text(host: &dyn Host, path: &Path) -> Result<Option<String>, String> {
    match read_text(host, path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}
