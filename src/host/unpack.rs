//! Unpacks a gzipped tar into a new directory of ours. The archive may be hostile.
//!
//! It must never write outside that directory, make anything but plain files, directories and links that stay inside,
//! give away a setuid bit, or fill the disk.

use crate::error::Fault;
use flate2::read::MultiGzDecoder;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use tar::{Entry, EntryType};

/// Several times what VS Code's server has.
const MOST_BYTES: u64 = 4 << 30;
const MOST_ENTRIES: usize = 200_000;
const LONGEST_PATH: usize = 1024;

/// Unpacks; what is there after an error is for the caller to remove.
pub(super) fn unpack(archive: &Path, into: &Path) -> Result<(), Fault> {
    let file = super::files::open_regular(archive)?;
    // All that comes out counts, headers and what is skipped as well.
    let stream = MultiGzDecoder::new(BufReader::new(file)).take(MOST_BYTES);
    unpack_from(stream, into)
}

fn unpack_from(stream: io::Take<impl Read>, into: &Path) -> Result<(), Fault> {
    let mut archive = tar::Archive::new(stream);
    let mut links = Vec::new();
    let result = (|| {
        for (number, entry) in archive.entries()?.enumerate() {
            if number >= MOST_ENTRIES {
                return Err(refused(format!("it has more than {MOST_ENTRIES} entries")));
            }
            unpack_entry(entry?, into, &mut links)?;
        }
        Ok(())
    })();
    if archive.into_inner().limit() == 0 {
        return Err(Fault::refused(format!("it unpacks to more than {} GiB", MOST_BYTES >> 30)));
    }
    // Links come last, so that nothing was written through one.
    result.and_then(|()| links.iter().try_for_each(|(path, target)| link(into, path, target))).map_err(
        |error| match error.kind() {
            io::ErrorKind::InvalidInput => Fault::refused(error.to_string()),
            _ => Fault::host(format!("unpacking: {error}")),
        },
    )
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn unpack_entry(
    mut entry: Entry<'_, impl Read>,
    into: &Path,
    links: &mut Vec<(PathBuf, PathBuf)>,
) -> io::Result<()> {
    let path = plain_path(&entry.path_bytes())?;
    let shown = path.display();
    match entry.header().entry_type() {
        EntryType::XGlobalHeader => Ok(()),
        EntryType::Directory => make_dirs(into, &path),
        EntryType::Regular | EntryType::Continuous => {
            make_dirs(into, path.parent().unwrap_or(Path::new("")))?;
            let is_program = entry.header().mode()? & 0o111 != 0;
            write(&into.join(&path), &mut entry, if is_program { 0o755 } else { 0o644 })
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = PathBuf::from(OsStr::from_bytes(&target));
            if !stays_inside(&path, &target) {
                return Err(refused(format!("its link {shown} leads out of it")));
            }
            links.push((path, target));
            Ok(())
        }
        other => Err(refused(format!("{shown} in it is neither a file nor a directory ({other:?})"))),
    }
}

/// A relative path without `..`; empty for the root itself.
fn plain_path(bytes: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(bytes));
    if bytes.len() > LONGEST_PATH || bytes.contains(&0) {
        return Err(refused("a name in it is too long or has a zero".into()));
    }
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            _ => return Err(refused(format!("a name in it leads out of it: {}", path.display()))),
        }
    }
    Ok(plain)
}

/// Any number of `..` first, no more than there are directories above the link, then plain names. Directories above a
/// link are real, so these `..` are what they look like; what other links come after them stay inside themselves.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let above = link.components().count().saturating_sub(1);
    let up = target.components().take_while(|part| matches!(part, Component::ParentDir)).count();
    let rest_is_plain =
        target.components().skip(up).all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    up <= above && rest_is_plain && !target.as_os_str().is_empty()
}

fn make_dirs(into: &Path, path: &Path) -> io::Result<()> {
    let mut dir = into.to_path_buf();
    for component in path.components() {
        dir.push(component);
        match DirBuilder::new().mode(0o755).create(&dir) {
            // Whatever the umask took away.
            Ok(()) => fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write(path: &Path, content: &mut impl Read, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            io::ErrorKind::AlreadyExists => refused(format!("{} is in it twice", path.display())),
            _ => error,
        },
    )?;
    io::copy(content, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

fn link(into: &Path, path: &Path, target: &Path) -> io::Result<()> {
    make_real_dirs(into, path)?;
    symlink(target, into.join(path))
}

/// The directories above a link must be directories even now that other links are there.
fn make_real_dirs(into: &Path, path: &Path) -> io::Result<()> {
    let mut dir = into.to_path_buf();
    for component in path.parent().unwrap_or(Path::new("")).components() {
        dir.push(component);
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(refused(format!("{} in it is below a link", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o755).create(&dir)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All of a tree is on the disk when this returns.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    use tar::{Builder, Header};

    /// What an archive of these entries unpacks to.
    fn unpacked(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> (tempfile::TempDir, Result<(), Fault>) {
        let mut builder = Builder::new(Vec::new());
        build(&mut builder);
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("in")).unwrap();
        let bytes = builder.into_inner().unwrap();
        let result = unpack_from(bytes.as_slice().take(MOST_BYTES), &outer.path().join("in"));
        (outer, result)
    }

    fn add(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, mode: u32) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        // As bytes: the crate's own checks are not what is tested.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        let content: &[u8] = if kind == EntryType::Regular { b"text" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    #[test]
    fn files_directories_and_inner_links_are_unpacked() {
        let (dir, result) = unpacked(|tar| {
            add(tar, EntryType::Directory, "./top/", "", 0o700);
            add(tar, EntryType::Symlink, "top/bin/link", "../lib/file", 0o777);
            add(tar, EntryType::Regular, "top/lib/file", "", 0o4755);
            add(tar, EntryType::Regular, "top/deep/er/plain", "", 0o2600);
        });
        result.unwrap();
        let top = dir.path().join("in/top");
        assert_eq!(fs::read(top.join("bin/link")).unwrap(), b"text");
        let mode = |path: &str| fs::metadata(top.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode("lib/file"), mode("deep/er/plain")), (0o755, 0o755, 0o644));
    }

    #[test]
    fn what_leads_out_is_refused() {
        for (kind, path, link) in [
            (EntryType::Regular, "../out", ""),
            (EntryType::Regular, "a/../../out", ""),
            (EntryType::Regular, "/tmp/berth-out", ""),
            (EntryType::Directory, "../out", ""),
            (EntryType::Symlink, "a/link", "../../out"),
            (EntryType::Symlink, "a/link", "/etc"),
            (EntryType::Symlink, "a/b/link", "c/../../../../out"),
            (EntryType::Symlink, "link", ""),
            (EntryType::Link, "hard", "a"),
            (EntryType::Char, "dev", ""),
            (EntryType::Fifo, "fifo", ""),
            (EntryType::GNUSparse, "sparse", ""),
        ] {
            let (dir, result) = unpacked(|tar| add(tar, kind, path, link, 0o644));
            assert!(result.is_err(), "{kind:?} {path} {link}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{path}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (dir, result) = unpacked(|tar| {
            add(tar, EntryType::Symlink, "a", "b", 0o777);
            add(tar, EntryType::Regular, "a/file", "", 0o644);
        });
        assert!(result.is_err(), "a is a directory and a link");
        assert!(!dir.path().join("in/b").exists());
        let (_, result) = unpacked(|tar| {
            add(tar, EntryType::Symlink, "a", ".", 0o777);
            add(tar, EntryType::Symlink, "a/link", "..", 0o777);
        });
        assert!(result.is_err(), "a link below a link");
        let (_, result) = unpacked(|tar| {
            add(tar, EntryType::Regular, "a", "", 0o644);
            add(tar, EntryType::Regular, "a", "", 0o644);
        });
        assert!(result.unwrap_err().message.contains("twice"));
    }

    #[test]
    fn what_is_no_archive_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        fs::write(&path, "not gzip").unwrap();
        assert!(unpack(&path, dir.path()).is_err());
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&[7; 4096]).unwrap();
        fs::write(&path, gz.finish().unwrap()).unwrap();
        assert!(unpack(&path, dir.path()).is_err());
        let zeros = io::repeat(0).take(0);
        assert!(unpack_from(zeros, dir.path()).unwrap_err().message.contains("more than 4 GiB"));
    }
}
