//! Whether root may run or trust a file: only root can have written it, or replaced it by another file.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

/// Bits that let group or others write.
const OTHERS_WRITE: u32 = 0o022;

/// A file that only root could have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trusted {
    pub size: u64,
    pub executable: bool,
}

/// Checks a program as [`check_root_only`] checks a file.
pub fn check_program(top: &Path, path: &Path) -> Result<Trusted, String> {
    let trusted = check_root_only(top, path)?;
    if trusted.executable {
        return Ok(trusted);
    }
    Err(format!("{} cannot be run: chmod u+x {}", path.display(), path.display()))
}

/// Walks down from `top` (`/` on a real machine) without following a link. `Err` says what is wrong, and where.
pub fn check_root_only(top: &Path, path: &Path) -> Result<Trusted, String> {
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    let Some((file, directories)) = names.split_last() else {
        return Err(format!("{} is no file", path.display()));
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(top, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|errno| format!("{} cannot be opened: {errno}", top.display()))?;
    let mut shown = Path::new("/").to_path_buf();
    for name in directories {
        check(&stat(&at, name, &shown)?, &shown.join(name), FileType::Directory)?;
        at = openat(&at, *name, flags | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| format!("{} cannot be opened: {errno}", shown.join(name).display()))?;
        shown.push(name);
    }
    let stat = stat(&at, file, &shown)?;
    shown.push(file);
    check(&stat, &shown, FileType::RegularFile)?;
    Ok(Trusted { size: u64::try_from(stat.st_size).unwrap_or(0), executable: stat.st_mode & 0o100 != 0 })
}

fn stat(at: &OwnedFd, name: &OsStr, above: &Path) -> Result<Stat, String> {
    statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| {
        let path = above.join(name);
        let path = path.display();
        if errno == Errno::NOENT { format!("{path} is not there") } else { format!("{path}: {errno}") }
    })
}

fn check(stat: &Stat, path: &Path, wanted: FileType) -> Result<(), String> {
    let path = path.display();
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink {
        return Err(format!("{path} is a symbolic link; name what it leads to"));
    }
    if kind != wanted {
        let what = if wanted == FileType::Directory { "directory" } else { "plain file" };
        return Err(format!("{path} is no {what}"));
    }
    if stat.st_uid != 0 {
        return Err(format!("{path} belongs to uid {}, not to root: chown root:root {path}", stat.st_uid));
    }
    if stat.st_mode & OTHERS_WRITE != 0 {
        return Err(format!("{path} can be written by others than root: chmod go-w {path}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    #[test]
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    fn only_what_root_alone_can_change_is_trusted() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED only_what_root_alone_can_change_is_trusted: chown needs root");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let top = root.path();
        fs::create_dir_all(top.join("data/packages")).unwrap();
        let file = top.join("data/packages/a.run");
        fs::write(&file, "12345").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let why = |path: &str| check_root_only(top, Path::new(path)).unwrap_err();
        for dir in ["data", "data/packages"] {
            mode(&top.join(dir), 0o755);
        }

        mode(&file, 0o644);
        let program = check_program(top, Path::new("/data/packages/a.run"));
        assert!(program.unwrap_err().contains("chmod u+x"));
        mode(&file, 0o755);
        assert_eq!(
            check_root_only(top, Path::new("/data/packages/a.run")),
            Ok(Trusted { size: 5, executable: true })
        );

        mode(&top.join("data"), 0o777);
        assert!(why("/data/packages/a.run").starts_with("/data can be written"));
        mode(&top.join("data"), 0o1777);
        assert!(why("/data/packages/a.run").starts_with("/data can be written"), "sticky or not");
        mode(&top.join("data"), 0o755);
        mode(&file, 0o775);
        assert!(why("/data/packages/a.run").contains("a.run can be written"));
        mode(&file, 0o755);
        chown(&file, Some(1000), None).unwrap();
        assert!(why("/data/packages/a.run").contains("belongs to uid 1000"));
        chown(&file, Some(0), None).unwrap();

        symlink("packages", top.join("data/link")).unwrap();
        symlink("a.run", top.join("data/packages/b.run")).unwrap();
        assert!(why("/data/link/a.run").starts_with("/data/link is a symbolic link"));
        assert!(why("/data/packages/b.run").contains("is a symbolic link"));
        assert!(why("/data/packages").contains("is no plain file"));
        assert!(why("/data/packages/c.run").contains("is not there"));
        assert!(why("/").contains("is no file"));
    }
}
