//! The ssh files of the user who runs the command line. berth writes one marked block of `~/.ssh/config`, and a
//! known-hosts file of its own. Everything else in them stays as it is, byte for byte.

use super::own_dir::OwnDir;
use crate::error::Fault;
use serde::Serialize;
use std::path::PathBuf;

/// In `~/.ssh`.
pub const KNOWN_HOSTS: &str = "berth_known_hosts";

const BEGIN: &str =
    "# >>> berth >>> kept up to date by berth ssh-config --install; what you change here is lost";
const END: &str = "# <<< berth <<<";
/// Lines that start so are ours, whatever follows: another version may say more.
const BEGIN_MARK: &str = "# >>> berth";
const END_MARK: &str = "# <<< berth";
/// What stands below a block of ours is for all hosts again, as it was above it.
const ALL_HOSTS: &str = "Match all";
const LIMIT: u64 = 1 << 20;

/// What was written.
#[derive(Debug, Serialize)]
pub struct Installed {
    pub config: PathBuf,
    pub known_hosts: PathBuf,
}

/// Brings both files up to date.
pub fn install(blocks: &str, known_hosts: &str) -> Result<Installed, Fault> {
    install_in(&OwnDir::home()?, blocks, known_hosts)
}

fn install_in(home: &OwnDir, blocks: &str, known_hosts: &str) -> Result<Installed, Fault> {
    let dir = home.step(".ssh")?;
    let (config, known) = (dir.path().join("config"), dir.path().join(KNOWN_HOSTS));
    // Both are looked at before either is written.
    let old = dir.file("config", LIMIT)?;
    let old_known = dir.file(KNOWN_HOSTS, LIMIT)?;
    let new = splice(&old.content, blocks).map_err(|why| {
        Fault::refused(format!("{} {why}", config.display())).help("mend it by hand, then try again")
    })?;
    old_known.replace(known_hosts.as_bytes())?;
    old.replace(&new)?;
    Ok(Installed { config, known_hosts: known })
}

/// The file with our block in it: where it was, or at the top, because ssh takes the first value that it finds.
fn splice(old: &[u8], blocks: &str) -> Result<Vec<u8>, &'static str> {
    let block = format!("{BEGIN}\n{blocks}\n{ALL_HOSTS}\n{END}\n");
    let (mut begin, mut end) = (None, None);
    let mut at = 0;
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(BEGIN_MARK.as_bytes()) && begin.replace(at).is_some() {
            return Err("has the beginning of berth's block twice");
        }
        at += line.len();
        if line.starts_with(END_MARK.as_bytes()) && end.replace(at).is_some() {
            return Err("has the end of berth's block twice");
        }
    }
    let (before, after) = match (begin, end) {
        (None, None) => (&[][..], old),
        (Some(begin), Some(end)) if begin < end => {
            (old.get(..begin).unwrap_or_default(), old.get(end..).unwrap_or_default())
        }
        (Some(_), None) => return Err("has the beginning of berth's block, but not its end"),
        (None, Some(_)) => return Err("has the end of berth's block, but not its beginning"),
        (Some(_), Some(_)) => return Err("has the end of berth's block before its beginning"),
    };
    Ok([before, block.as_bytes(), after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    const BLOCKS: &str = "Host berth-a-b\n  Port 1";

    /// In the home that has this directory.
    fn install_at(dir: &Path, blocks: &str, known_hosts: &str) -> Result<Installed, Fault> {
        install_in(&OwnDir::open("HOME", dir.parent().unwrap()).unwrap(), blocks, known_hosts)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        for old in [
            "",
            "Host *\n  ForwardAgent yes\n",
            "Host x\r\n  Port 2\r\n",
            "no newline at the end",
            "\n\n\t# ä \u{0}\n",
        ] {
            let first = splice(old.as_bytes(), BLOCKS).unwrap();
            assert!(first.starts_with(BEGIN.as_bytes()) && first.ends_with(old.as_bytes()), "{old:?}");
            assert_eq!(splice(&first, BLOCKS).unwrap(), first, "again changes nothing");
            let other = splice(&first, "Host other").unwrap();
            assert_eq!(splice(&other, BLOCKS).unwrap(), first);
        }
        let moved = [b"Host mine\n".to_vec(), splice(b"Host *\n", BLOCKS).unwrap()].concat();
        let new = splice(&moved, "Host new").unwrap();
        assert!(new.starts_with(b"Host mine\n# >>> berth") && new.ends_with(b"\n# <<< berth <<<\nHost *\n"));
    }

    #[test]
    fn half_a_block_is_not_guessed_at() {
        for (old, why) in [
            ("# >>> berth >>>\nHost x\n", "but not its end"),
            ("Host x\n# <<< berth <<<\n", "but not its beginning"),
            ("# <<< berth <<<\n# >>> berth >>>\n", "before its beginning"),
            ("# >>> berth\n# >>> berth\n# <<< berth\n", "beginning of berth's block twice"),
            ("# >>> berth\n# <<< berth\n# <<< berth\n", "end of berth's block twice"),
        ] {
            assert!(splice(old.as_bytes(), BLOCKS).unwrap_err().contains(why), "{old:?}");
        }
    }

    #[test]
    fn files_are_made_private_and_keep_their_mode() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(".ssh");
        install_at(&dir, BLOCKS, "a key\n").unwrap();
        let config = dir.join("config");
        assert_eq!((mode(&dir), mode(&config), mode(&dir.join(KNOWN_HOSTS))), (0o700, 0o600, 0o600));
        fs::set_permissions(&config, Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&config).unwrap();
        install_at(&dir, BLOCKS, "a key\n").unwrap();
        assert_eq!(fs::metadata(&config).unwrap().ino(), before.ino(), "not written without need");
        install_at(&dir, "Host new", "another key\n").unwrap();
        assert_eq!(mode(&config), 0o640);
        assert!(fs::read_to_string(&config).unwrap().contains("Host new\nMatch all\n"));
        assert_eq!(fs::read_to_string(dir.join(KNOWN_HOSTS)).unwrap(), "another key\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn a_link_of_one_s_own_is_followed_and_stays_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (dir, dotfile) = (root.path().join(".ssh"), root.path().join("dotfile"));
        fs::create_dir(&dir).unwrap();
        fs::write(&dotfile, "Host mine\n").unwrap();
        symlink(&dotfile, dir.join("config")).unwrap();
        install_at(&dir, BLOCKS, "").unwrap();
        assert!(fs::symlink_metadata(dir.join("config")).unwrap().is_symlink());
        assert!(fs::read_to_string(&dotfile).unwrap().ends_with("Host mine\n"));
        // The whole directory may be one of dotfiles too.
        fs::rename(&dir, root.path().join("dotfiles")).unwrap();
        symlink("dotfiles", &dir).unwrap();
        install_at(&dir, "Host other", "").unwrap();
        assert!(fs::symlink_metadata(&dir).unwrap().is_symlink());
        assert!(fs::read_to_string(&dotfile).unwrap().contains("Host other\n"));
    }

    #[test]
    fn what_is_no_plain_file_is_refused_and_nothing_is_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(".ssh");
        fs::create_dir_all(dir.join("config")).unwrap();
        assert!(install_at(&dir, BLOCKS, "key").is_err());
        fs::remove_dir(dir.join("config")).unwrap();
        symlink("/nowhere/at/all", dir.join("config")).unwrap();
        assert!(install_at(&dir, BLOCKS, "key").is_err());
        fs::remove_file(dir.join("config")).unwrap();
        fs::write(dir.join("config"), "# >>> berth\n").unwrap();
        assert!(install_at(&dir, BLOCKS, "key").is_err());
        assert!(!dir.join(KNOWN_HOSTS).exists());
    }
}
