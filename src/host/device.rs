//! Device numbers of nodes on the host, by path. It opens no node: opening a card's node claims the card.

use rustix::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

const MAX_DEPTH: usize = 8;
const MAX_ENTRIES: usize = 10_000;

/// Major and minor of a `st_rdev`.
pub(crate) fn device_number_of(rdev: u64) -> (u32, u32) {
    (rustix::fs::major(rdev), rustix::fs::minor(rdev))
}

/// The number of a block device; links are followed. `None` for anything else that is there.
pub fn block_number(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let stat = rustix::fs::stat(path)?;
    let block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
    Ok(block.then(|| device_number_of(stat.st_rdev)))
}

/// The number of a character device; links are followed, as Docker does. `None` for anything else that is there.
pub fn device_number(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let stat = rustix::fs::stat(path)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(character.then(|| device_number_of(stat.st_rdev)))
}

/// The character devices that `docker run --device PATH` hands over: a node, or all nodes below a directory.
/// A path that is not there has none.
pub fn device_numbers(path: &Path) -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    let mut budget = MAX_ENTRIES;
    match walk(path, 0, &mut budget, &mut found) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

fn walk(path: &Path, depth: usize, budget: &mut usize, found: &mut Vec<(u32, u32)>) -> io::Result<()> {
    // Only the path itself may be a link; links below a directory are not followed.
    let stat = if depth == 0 { rustix::fs::stat(path)? } else { rustix::fs::lstat(path)? };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => found.push(device_number_of(stat.st_rdev)),
        FileType::Directory if depth < MAX_DEPTH => {
            for entry in std::fs::read_dir(path)? {
                *budget = budget.checked_sub(1).ok_or_else(|| io::Error::other("too many entries"))?;
                match walk(&entry?.path(), depth + 1, budget, found) {
                    // It went away while we looked.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The program that a name or a path leads to, behind all links.
pub(crate) fn program_at(named: &str) -> Option<PathBuf> {
    const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    if named.contains('/') {
        return std::fs::canonicalize(named).ok();
    }
    PLACES.iter().find_map(|place| std::fs::canonicalize(Path::new(place).join(named)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_directories_of_nodes() {
        assert_eq!(device_number(Path::new("/dev/null")).unwrap(), Some((1, 3)));
        assert_eq!(device_number(Path::new("/")).unwrap(), None);
        assert!(device_number(Path::new("/dev/none")).is_err());
        assert_eq!(device_numbers(Path::new("/dev/none")).unwrap(), []);
        assert!(device_numbers(Path::new("/dev")).unwrap().contains(&(1, 3)));
        assert_eq!(device_numbers(Path::new("/dev/zero")).unwrap(), [(1, 5)]);
    }
}
