//! Adds names for the groups of a session that the image's `/etc/group` does not have. Without names, each login
//! shell of Ubuntu prints `groups: cannot find name for group ID 1000`.
//!
//! It adds lines to a plain file of the container before anybody can log in. It changes no existing line.

use crate::ssh::user::image;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// As the driver's vendor calls the group that has the cards' nodes.
const VENDOR: &str = "HwHiAiUser";

/// Adds what is missing. An image without the file, or with something else in its place, stays as it is.
pub(in crate::ssh) fn add(path: &Path, groups: &[u32]) -> io::Result<()> {
    let table = image::read_table(path)?;
    let lines = missing(&table, groups);
    if lines.is_empty() || !path.exists() {
        return Ok(());
    }
    // No link is followed: what is in the image was made by strangers.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    file.write_all(lines.as_bytes())
}

/// The lines to add; none of them takes a name or a number that is there.
fn missing(table: &str, groups: &[u32]) -> String {
    let field = |at: usize| table.lines().filter_map(move |line| line.split(':').nth(at));
    let mut lines = String::new();
    let mut vendor_is_free = field(0).all(|name| name != VENDOR);
    for gid in groups {
        let number = gid.to_string();
        if field(2).any(|known| known == number) {
            continue;
        }
        let plain = format!("npu-{gid}");
        let name = if vendor_is_free { VENDOR } else { plain.as_str() };
        if field(0).any(|known| known == name) {
            continue;
        }
        vendor_is_free = false;
        if lines.is_empty() && !table.is_empty() && !table.ends_with('\n') {
            lines.push('\n');
        }
        lines.extend([name, ":x:", &number, ":\n"]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_without_a_name_get_one() {
        assert_eq!(missing("root:x:0:\n", &[1000]), "HwHiAiUser:x:1000:\n");
        assert_eq!(missing("root:x:0:", &[1000, 0]), "\nHwHiAiUser:x:1000:\n");
        assert_eq!(missing("ma-user:x:1000:\n", &[1000]), "");
        assert_eq!(missing("HwHiAiUser:x:5:\n", &[1000]), "npu-1000:x:1000:\n");
        assert_eq!(missing("HwHiAiUser:x:5:\nnpu-1000:x:6:\n", &[1000]), "");
        assert_eq!(missing("", &[7, 8]), "HwHiAiUser:x:7:\nnpu-8:x:8:\n");
    }

    #[test]
    fn no_link_is_followed_and_no_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, none) = (dir.path().join("group"), dir.path().join("link"), dir.path().join("none"));
        std::fs::write(&file, "root:x:0:\n").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(add(&link, &[1000]).is_err());
        add(&none, &[1000]).unwrap();
        assert!(!none.exists());
        add(&file, &[1000]).unwrap();
        add(&file, &[1000]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "root:x:0:\nHwHiAiUser:x:1000:\n");
    }
}
