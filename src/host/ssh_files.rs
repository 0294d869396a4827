//! The ssh client's files of the person who runs the command line: one marked block of `~/.ssh/config`, and a
//! known-hosts file of our own. Everything else in them is theirs and stays as it is, byte for byte.

use crate::error::Fault;
use serde::Serialize;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

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
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Fault::host("HOME is not set, so there is no ~/.ssh"))?;
    install_in(&Path::new(&home).join(".ssh"), blocks, known_hosts)
}

fn install_in(dir: &Path, blocks: &str, known_hosts: &str) -> Result<Installed, Fault> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Fault::host(format!("making {}: {error}", dir.display())));
        }
        _ => check_own(dir)?,
    }
    let (config, known) = (dir.join("config"), dir.join(KNOWN_HOSTS));
    // Both are looked at before either is written.
    let old = Theirs::read(&config)?;
    let old_known = Theirs::read(&known)?;
    let new = splice(&old.content, blocks).map_err(|why| {
        Fault::refused(format!("{} {why}", config.display())).help("mend it by hand, then try again")
    })?;
    old_known.replace(known_hosts.as_bytes())?;
    old.replace(&new)?;
    Ok(Installed { config, known_hosts: known })
}

/// A file that is the caller's own.
struct Theirs {
    /// Where it really is: a config may be a link into a directory of dotfiles.
    path: PathBuf,
    content: Vec<u8>,
    /// `None` when there is none yet.
    like: Option<fs::Metadata>,
}

impl Theirs {
    fn read(path: &Path) -> Result<Self, Fault> {
        let wrong = |error: std::io::Error| Fault::host(format!("reading {}: {error}", path.display()));
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path: path.to_path_buf(), content: Vec::new(), like: None });
            }
            Err(error) => return Err(wrong(error)),
            Ok(_) => check_own(path)?,
        }
        let real = fs::canonicalize(path).map_err(wrong)?;
        let file = super::files::open_regular(&real)?;
        let like = file.metadata().map_err(wrong)?;
        let mut content = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut content).map_err(wrong)?;
        if content.len() as u64 > LIMIT {
            return Err(Fault::refused(format!("{} is too long for an ssh client's file", path.display())));
        }
        Ok(Self { path: real, content, like: Some(like) })
    }

    /// Readers see the old content or the new, never a part; mode and owner stay.
    fn replace(&self, content: &[u8]) -> Result<(), Fault> {
        if self.like.is_some() && self.content == content {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let dir = self.path.parent().ok_or(ErrorKind::InvalidInput)?;
            let mut new = tempfile::Builder::new()
                .prefix(".berth-")
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(dir)?;
            new.write_all(content)?;
            if let Some(like) = &self.like {
                if new.as_file().metadata()?.gid() != like.gid() {
                    fchown(new.as_file(), None, Some(like.gid()))?;
                }
                new.as_file().set_permissions(Permissions::from_mode(like.mode() & 0o777))?;
            }
            new.as_file().sync_all()?;
            new.persist(&self.path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| Fault::host(format!("writing {}: {error}", self.path.display())))
    }
}

/// Neither the path nor what it leads to may be somebody else's.
fn check_own(path: &Path) -> Result<(), Fault> {
    let wrong = |error: std::io::Error| Fault::host(format!("looking at {}: {error}", path.display()));
    let me = nix::unistd::geteuid().as_raw();
    let link = fs::symlink_metadata(path).map_err(wrong)?;
    let target = fs::metadata(path).map_err(wrong)?;
    match [link.uid(), target.uid()].into_iter().find(|owner| *owner != me) {
        None => Ok(()),
        Some(other) => {
            Err(Fault::refused(format!("{} belongs to uid {other}, not to you (uid {me})", path.display()))
                .help("run it as the person whose ~/.ssh that is"))
        }
    }
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
    use std::os::unix::fs::symlink;

    const BLOCKS: &str = "Host berth-a-b\n  Port 1";

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
        install_in(&dir, BLOCKS, "a key\n").unwrap();
        let config = dir.join("config");
        assert_eq!((mode(&dir), mode(&config), mode(&dir.join(KNOWN_HOSTS))), (0o700, 0o600, 0o600));
        fs::set_permissions(&config, Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&config).unwrap();
        install_in(&dir, BLOCKS, "a key\n").unwrap();
        assert_eq!(fs::metadata(&config).unwrap().ino(), before.ino(), "not written without need");
        install_in(&dir, "Host new", "another key\n").unwrap();
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
        install_in(&dir, BLOCKS, "").unwrap();
        assert!(fs::symlink_metadata(dir.join("config")).unwrap().is_symlink());
        assert!(fs::read_to_string(&dotfile).unwrap().ends_with("Host mine\n"));
    }

    #[test]
    fn what_is_no_plain_file_is_refused_and_nothing_is_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(".ssh");
        fs::create_dir_all(dir.join("config")).unwrap();
        assert!(install_in(&dir, BLOCKS, "key").is_err());
        fs::remove_dir(dir.join("config")).unwrap();
        symlink("/nowhere/at/all", dir.join("config")).unwrap();
        assert!(install_in(&dir, BLOCKS, "key").is_err());
        fs::remove_file(dir.join("config")).unwrap();
        fs::write(dir.join("config"), "# >>> berth\n").unwrap();
        assert!(install_in(&dir, BLOCKS, "key").is_err());
        assert!(!dir.join(KNOWN_HOSTS).exists());
    }
}
