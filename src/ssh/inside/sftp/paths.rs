//! Answers about paths without opening them: the real path, a home directory, what `~` stands for. Paths are bytes,
//! not text.

use super::failure::Failure;
use super::wire::LONGEST_PATH;
use nix::errno::Errno;
use rustix::fs::{CWD, readlinkat};
use std::collections::VecDeque;
use std::os::unix::ffi::OsStringExt;

/// As many symbolic links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// The path without links, `.` and `..`. As with OpenSSH its last component need not exist.
pub(super) fn real_path(path: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut real = if path.starts_with(b"/") { vec![b'/'] } else { working_directory()? };
    let mut left: VecDeque<Vec<u8>> = components(path);
    let mut links = 0;
    while let Some(component) = left.pop_front() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                go_up(&mut real);
                continue;
            }
            name => go_down(&mut real, name)?,
        }
        match readlinkat(CWD, real.as_slice(), Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                follow(&mut real, target.as_bytes(), &mut left)?;
            }
            Err(rustix::io::Errno::INVAL) => {}
            Err(rustix::io::Errno::NOENT) if left.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(real)
}

fn working_directory() -> Result<Vec<u8>, Failure> {
    Ok(std::env::current_dir()?.into_os_string().into_vec())
}

/// With the empty one at the end of a path that ends in a slash: then the component before it must exist.
fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

fn go_up(real: &mut Vec<u8>) {
    let slash = real.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    real.truncate(slash.max(1));
}

fn go_down(real: &mut Vec<u8>, name: &[u8]) -> Result<(), Failure> {
    if !real.ends_with(b"/") {
        real.push(b'/');
    }
    real.extend_from_slice(name);
    if real.len() >= LONGEST_PATH { Err(Errno::ENAMETOOLONG.into()) } else { Ok(()) }
}

/// Puts the link's target in its place.
fn follow(real: &mut Vec<u8>, target: &[u8], left: &mut VecDeque<Vec<u8>>) -> Result<(), Failure> {
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    if target.starts_with(b"/") {
        real.truncate(1);
    } else {
        go_up(real);
    }
    for component in components(target).into_iter().rev() {
        left.push_front(component);
    }
    Ok(())
}

/// The home of the session user as the server found it: the image's tables need not know them.
pub(super) fn own_home() -> Vec<u8> {
    std::env::var_os("HOME").map_or_else(|| b"/".to_vec(), OsStringExt::into_vec)
}

/// Where a path with `~` or `~user` leads, before its links are followed.
pub(super) fn expand(
    path: &[u8],
    home_of: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, Failure> {
    let Some(rest) = path.strip_prefix(b"~") else { return Ok(path.to_vec()) };
    let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (user, below) = rest.split_at_checked(slash).unwrap_or_default();
    let mut expanded = if user.is_empty() { own_home() } else { home_of(user).ok_or(Errno::ENOENT)? };
    expanded.extend_from_slice(below);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_are_real_also_where_their_last_name_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let root = root.as_os_str().as_bytes();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/file"), "").unwrap();
        symlink("a/b", dir.path().join("relative")).unwrap();
        symlink(dir.path().join("a"), dir.path().join("absolute")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let real = |path: &str| real_path(&[root, path.as_bytes()].concat());
        let is = |path: &str| Ok([root, path.as_bytes()].concat());
        assert_eq!(real("//a/./b/"), is("/a/b"));
        assert_eq!(real("/relative/.."), is("/a"));
        assert_eq!(real("/absolute/file"), is("/a/file"));
        assert_eq!(real("/absolute/new"), is("/a/new"));
        assert_eq!(real("/dangling"), is("/nowhere"));
        let missing = Err(Errno::ENOENT.into());
        assert_eq!(real("/new/newer"), missing);
        assert_eq!(real("/dangling/x"), missing);
        assert_eq!(real("/loop"), Err(Errno::ELOOP.into()));
        assert_eq!(real("/a/file/x"), Err(Errno::ENOTDIR.into()));
        assert_eq!(real_path(b"/../.."), Ok(b"/".to_vec()));
        assert_eq!(real_path(b"").unwrap(), working_directory().unwrap());
        assert_eq!(real_path(&b"/x".repeat(3000)), Err(Errno::ENOENT.into()));
    }

    #[test]
    fn a_tilde_leads_home() {
        let home_of = |user: &[u8]| (user == b"anna").then(|| b"/home/anna".to_vec());
        assert_eq!(expand(b"~anna/x", home_of), Ok(b"/home/anna/x".to_vec()));
        assert_eq!(expand(b"~anna", home_of), Ok(b"/home/anna".to_vec()));
        assert_eq!(expand(b"~ghost", home_of), Err(Errno::ENOENT.into()));
        assert_eq!(expand(b"a/~", home_of), Ok(b"a/~".to_vec()));
        assert_eq!(expand(b"~/x", home_of), Ok([own_home(), b"/x".to_vec()].concat()));
    }
}
