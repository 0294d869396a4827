//! Directories of the user who runs the command line, opened one component at a time, so that a path that changes
//! meanwhile does not lead elsewhere. Files and directories of other users are refused: root with another user's HOME
//! (`sudo -E`) would write where that user wants. The user's own links are followed, because dotfiles often are links.

use crate::error::Fault;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, fchmod, fchown, fstat, fsync, mkdirat, open, openat,
    readlinkat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
/// Links that lead to one file.
const MOST_LINKS: usize = 8;
/// Names of new files that are tried.
const TRIES: u32 = 100;

/// One that is open, and belongs to the caller.
#[derive(Debug)]
pub(super) struct OwnDir {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
    me: u32,
}

/// A file that is one's own, or is to be.
#[derive(Debug)]
pub(super) struct OwnFile {
    /// Where it really is: a config may be a link into a directory of dotfiles.
    dir: OwnDir,
    name: OsString,
    pub(super) content: Vec<u8>,
    /// `None` when there is none yet.
    like: Option<Stat>,
}

/// What an environment variable names.
pub(super) fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl OwnDir {
    /// What HOME names.
    pub(super) fn home() -> Result<Self, Fault> {
        let home = named("HOME")
            .ok_or_else(|| Fault::host("HOME is not set, so there is no place for the ssh client's files"))?;
        Self::open("HOME", &home)
    }

    pub(super) fn open(variable: &str, path: &Path) -> Result<Self, Fault> {
        Self::open_as(variable, path, nix::unistd::geteuid().as_raw())
    }

    fn open_as(variable: &str, path: &Path, me: u32) -> Result<Self, Fault> {
        let wrong = |error: Errno| Fault::host(format!("opening {variable}, {}: {error}", path.display()));
        let fd = open(path, DIR, Mode::empty()).map_err(wrong)?;
        let owner = fstat(&fd).map_err(wrong)?.st_uid;
        if owner != me {
            return Err(Fault::refused(format!(
                "{variable} is {}, which belongs to uid {owner}, not to you (uid {me})",
                path.display()
            ))
            .help("run it as that person, or with a HOME of your own: sudo -H berth …"));
        }
        Ok(Self { fd, path: path.to_path_buf(), me })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it, made where there is none.
    pub(super) fn step(&self, name: &str) -> Result<Self, Fault> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Fault::host(format!("making {}: {error}", path.display()))),
        }
        let link = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| looking(&path, e))?;
        self.check_owner(&path, &link)?;
        self.enter(Path::new(name))
    }

    /// Whatever leads there, what is there is one's own.
    fn enter(&self, name: &Path) -> Result<Self, Fault> {
        let path = self.path.join(name);
        let fd = openat(&self.fd, name, DIR, Mode::empty()).map_err(|e| looking(&path, e))?;
        let found = fstat(&fd).map_err(|e| looking(&path, e))?;
        self.check_owner(&path, &found)?;
        Ok(Self { fd, path, me: self.me })
    }

    fn check_owner(&self, path: &Path, found: &Stat) -> Result<(), Fault> {
        if found.st_uid == self.me {
            return Ok(());
        }
        let (owner, me) = (found.st_uid, self.me);
        Err(Fault::refused(format!("{} belongs to uid {owner}, not to you (uid {me})", path.display()))
            .help("run it as the person whose file or directory that is"))
    }

    /// The file with this name in it, at most so long.
    pub(super) fn file(&self, name: &str, limit: u64) -> Result<OwnFile, Fault> {
        let asked = self.path.join(name);
        let (mut dir, mut name) = (self.enter(Path::new("."))?, OsString::from(name));
        for links in 0..MOST_LINKS {
            let found = match statat(&dir.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if links == 0 => {
                    return Ok(OwnFile { dir, name, content: Vec::new(), like: None });
                }
                found => found.map_err(|error| looking(&asked, error))?,
            };
            dir.check_owner(&asked, &found)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                return dir.read(name, limit);
            }
            let target = readlinkat(&dir.fd, &name, Vec::new()).map_err(|error| looking(&asked, error))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
            dir = dir.enter(parent.unwrap_or(Path::new(".")))?;
            name = target.file_name().map(OsString::from).ok_or_else(|| looking(&asked, Errno::INVAL))?;
        }
        Err(looking(&asked, Errno::LOOP))
    }

    fn read(self, name: OsString, limit: u64) -> Result<OwnFile, Fault> {
        let path = self.path.join(&name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(&self.fd, &name, flags, Mode::empty()).map_err(|error| looking(&path, error))?;
        let like = fstat(&fd).map_err(|error| looking(&path, error))?;
        self.check_owner(&path, &like)?;
        if FileType::from_raw_mode(like.st_mode) != FileType::RegularFile {
            return Err(Fault::refused(format!("{} is no plain file", path.display()))
                .help("move it away, and run this again"));
        }
        let mut content = Vec::new();
        File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|error| Fault::host(format!("reading {}: {error}", path.display())))?;
        if content.len() as u64 > limit {
            return Err(Fault::refused(format!("{} is too long for an ssh client's file", path.display())));
        }
        Ok(OwnFile { dir: self, name, content, like: Some(like) })
    }
}

fn looking(path: &Path, error: Errno) -> Fault {
    Fault::host(format!("looking at {}: {error}", path.display()))
}

impl OwnFile {
    /// Readers see the old content or the new, never a part; mode and group stay.
    pub(super) fn replace(&self, content: &[u8]) -> Result<(), Fault> {
        if self.like.is_some() && self.content == content {
            return Ok(());
        }
        let path = self.dir.path.join(&self.name);
        self.write(content).map_err(|error| Fault::host(format!("writing {}: {error}", path.display())))
    }

    fn write(&self, content: &[u8]) -> std::io::Result<()> {
        let (dir, (fd, name)) = (self.dir.fd.as_fd(), self.make()?);
        let mut new = File::from(fd);
        let written = new.write_all(content).and_then(|()| {
            if let Some(like) = &self.like {
                if fstat(&new)?.st_gid != like.st_gid {
                    fchown(&new, None, Some(Gid::from_raw(like.st_gid)))?;
                }
                fchmod(&new, Mode::from_raw_mode(like.st_mode & 0o777))?;
            }
            fsync(&new)?;
            renameat(dir, &name, dir, &self.name)?;
            Ok(fsync(dir)?)
        });
        if written.is_err() {
            // It may have its own name already.
            let _ = unlinkat(dir, &name, AtFlags::empty());
        }
        written
    }

    /// A new empty file beside it.
    fn make(&self) -> std::io::Result<(OwnedFd, String)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..TRIES {
            let name = format!(".berth-{}-{number}", std::process::id());
            match openat(&self.dir.fd, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => return Ok((fd, name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn a_home_of_somebody_else_is_refused_before_anything_is_made() {
        let home = tempfile::tempdir().unwrap();
        let fault = OwnDir::open_as("HOME", home.path(), me() + 1).unwrap_err();
        assert_eq!(fault.class, ErrorClass::Refused);
        let said = format!("which belongs to uid {}, not to you (uid {})", me(), me() + 1);
        assert!(
            fault.message.ends_with(&said) && fault.help.unwrap().contains("sudo -H"),
            "{}",
            fault.message
        );
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_step_to_what_is_somebody_else_s_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let own = OwnDir::open("HOME", home.path()).unwrap();
        assert_eq!(own.step("a").unwrap().step("b").unwrap().path(), home.path().join("a/b"));
        // Of another uid than the caller's: a directory, a link to one's own, a file.
        symlink("a", home.path().join("link")).unwrap();
        fs::write(home.path().join("file"), "theirs").unwrap();
        let stranger = OwnDir { me: me() + 1, ..OwnDir::open("HOME", home.path()).unwrap() };
        for name in ["a", "link"] {
            assert!(stranger.step(name).unwrap_err().message.contains("not to you"), "{name}");
        }
        assert!(stranger.file("file", 9).unwrap_err().message.contains("not to you"));
        assert_eq!(own.step("link").unwrap().file("x", 9).unwrap().content, b"", "one's own link leads on");
        if me() == 0 {
            let theirs = home.path().join("theirs");
            symlink(home.path().join("a"), &theirs).unwrap();
            std::os::unix::fs::lchown(&theirs, Some(12345), None).unwrap();
            assert!(own.step("theirs").unwrap_err().message.contains("uid 12345"));
        }
    }

    /// What was opened is written to, whatever its path leads to by then.
    #[test]
    fn a_directory_that_is_swapped_for_a_link_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let own = OwnDir::open("HOME", home.path()).unwrap();
        let file = own.step(".ssh").unwrap().file("config", 99).unwrap();
        let (ssh, moved, trap) =
            (home.path().join(".ssh"), home.path().join("moved"), home.path().join("trap"));
        fs::rename(&ssh, &moved).unwrap();
        fs::create_dir(&trap).unwrap();
        symlink(&trap, &ssh).unwrap();
        file.replace(b"mine").unwrap();
        assert_eq!(fs::read(moved.join("config")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&trap).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_plain_file_or_leads_in_a_circle_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let own = OwnDir::open("HOME", home.path()).unwrap();
        fs::create_dir(home.path().join("dir")).unwrap();
        symlink("circle", home.path().join("circle")).unwrap();
        symlink("gone", home.path().join("dangling")).unwrap();
        nix::unistd::mkfifo(&home.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["dir", "circle", "dangling", "pipe"] {
            assert!(own.file(name, 9).is_err(), "{name}");
        }
        fs::write(home.path().join("long"), "0123456789").unwrap();
        assert!(own.file("long", 9).is_err());
    }
}
