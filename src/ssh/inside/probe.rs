//! `berth inside probe`: what an image has, for `berth image check`. Looks only: writes nothing, starts nothing.

use super::berth::home_of;
use super::shell::Shell;
use crate::model::image::{ImageProbe, ProbedUser};
use crate::model::session::SessionConfig;
use crate::ssh::user::account::Account;
use crate::ssh::user::image;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const LIBRARY_DIRS: [&str; 9] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
];
const PROGRAM_DIRS: [&str; 3] = ["/bin", "/usr/bin", "/usr/local/bin"];
const LIBRARY_LIMIT: u64 = 64 << 20;

/// Looks at the image that this process runs in.
pub fn probe(config: &SessionConfig) -> ImageProbe {
    probe_at(Path::new("/"), config)
}

fn probe_at(root: &Path, config: &SessionConfig) -> ImageProbe {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let table = |path: &str| image::read_table(&at(path)).map_err(|error| format!("reading {path}: {error}"));
    let account = table("/etc/passwd").and_then(|passwd| {
        Account::choose(config, &passwd, &table("/etc/group")?).map_err(|fault| fault.message)
    });
    let (user, user_error) = match account {
        Ok(account) => (Some(probe_user(root, &account)), None),
        Err(reason) => (None, Some(reason)),
    };
    let in_libraries = |name: &str| LIBRARY_DIRS.iter().map(|dir| at(dir).join(name)).collect::<Vec<_>>();
    let has_program = |name: &str| PROGRAM_DIRS.iter().any(|dir| image::is_program(&at(dir).join(name)));
    ImageProbe {
        schema: 1,
        arch: std::env::consts::ARCH.to_owned(),
        user,
        user_error,
        shells: Shell::present(),
        glibc: first_found(&in_libraries("libc.so.6"), glibc_version),
        musl: ["x86_64", "aarch64"].iter().any(|arch| at(&format!("/lib/ld-musl-{arch}.so.1")).exists()),
        glibcxx: first_found(&in_libraries("libstdc++.so.6"), highest_glibcxx),
        tar: has_program("tar"),
        download: has_program("curl") || has_program("wget"),
        cann: cann_version(root),
    }
}

fn probe_user(root: &Path, account: &Account) -> ProbedUser {
    let home = home_of(account);
    let path = root.join(home.strip_prefix("/").unwrap_or(&home));
    let meta = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_dir);
    let space = nix::sys::statvfs::statvfs(&path).ok().filter(|_| meta.is_some());
    ProbedUser {
        name: account.name.clone(),
        uid: account.uid,
        gid: account.gid,
        shell: Shell::of(account).path,
        home_free: space.map(|space| space.blocks_available().saturating_mul(space.fragment_size())),
        home_exists: meta.is_some(),
        home_writable: meta.is_some_and(|meta| may_write(account, meta.uid(), meta.gid(), meta.mode())),
        home,
    }
}

/// Owner, then group, then the others: the first that fits decides, as in the kernel.
fn may_write(account: &Account, owner: u32, group: u32, mode: u32) -> bool {
    const WRITE_AND_ENTER: u32 = 0o3;
    let shift = if account.uid == owner {
        6
    } else if account.gid == group || account.groups.contains(&group) {
        3
    } else {
        0
    };
    account.uid == 0 || (mode >> shift) & WRITE_AND_ENTER == WRITE_AND_ENTER
}

fn first_found(paths: &[PathBuf], find: fn(&[u8]) -> Option<String>) -> Option<String> {
    paths.iter().find_map(|path| {
        let mut content = Vec::new();
        image::open_regular(path).ok()?.take(LIBRARY_LIMIT).read_to_end(&mut content).ok()?;
        find(&content)
    })
}

/// glibc carries its own name: `GNU C Library (…) stable release version 2.36.`
fn glibc_version(library: &[u8]) -> Option<String> {
    after(library, b"release version ").next().map(leading_version).filter(|version| !version.is_empty())
}

fn highest_glibcxx(library: &[u8]) -> Option<String> {
    let numbers = |version: &String| version.split('.').map(|n| n.parse().unwrap_or(0)).collect::<Vec<u32>>();
    after(library, b"GLIBCXX_").map(leading_version).filter(|version| !version.is_empty()).max_by_key(numbers)
}

/// The bytes after each occurrence of a word.
fn after<'a>(bytes: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    bytes
        .windows(word.len())
        .enumerate()
        .filter(move |(_, window)| *window == word)
        .map(move |(at, _)| bytes.get(at + word.len()..).unwrap_or_default())
}

fn leading_version(bytes: &[u8]) -> String {
    let version: String = bytes
        .iter()
        .take(16)
        .map(|b| char::from(*b))
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    version.trim_end_matches('.').to_owned()
}

/// `version=` of the toolkit's install file, wherever this CANN keeps it.
fn cann_version(root: &Path) -> Option<String> {
    ["ascend-toolkit/latest", "cann", "latest", "nnae/latest"].iter().find_map(|dir| {
        let dir = root.join("usr/local/Ascend").join(dir);
        let mut subdirectories: Vec<PathBuf> = std::fs::read_dir(&dir)
            .ok()?
            .take(256)
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .collect();
        subdirectories.sort();
        subdirectories.push(dir);
        subdirectories.iter().find_map(|place| install_version(place))
    })
}

fn install_version(dir: &Path) -> Option<String> {
    ["ascend_toolkit_install.info", "ascend_cann_install.info", "ascend_nnae_install.info", "version.cfg"]
        .iter()
        .find_map(|name| {
            let text = image::read_regular(&dir.join(name), 64 << 10).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().find_map(|line| version_in(line.trim()))
        })
}

fn version_in(line: &str) -> Option<String> {
    let value = line.strip_prefix("version=")?.trim_matches(['"', ' ']);
    let is_sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    (!value.is_empty() && value.len() <= 64 && value.chars().all(is_sane)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn versions_are_found_in_libraries() {
        let libc = b"\0\x7fGNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright";
        assert_eq!(glibc_version(libc).as_deref(), Some("2.36"));
        assert_eq!(glibc_version(b"musl"), None);
        let cxx = b"GLIBCXX_3.4\0GLIBCXX_3.4.9\0GLIBCXX_3.4.30\0GLIBCXX_TUNABLES\0GLIBCXX_3.4.8";
        assert_eq!(highest_glibcxx(cxx).as_deref(), Some("3.4.30"));
    }

    #[test]
    fn an_image_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("etc/passwd", "ma-user:x:1000:100::/home/ma-user:/bin/bash\n");
        write("home/ma-user/.keep", "");
        write("lib64/libc.so.6", "stable release version 2.34.\n");
        write(
            "usr/local/Ascend/ascend-toolkit/latest/aarch64-linux/ascend_toolkit_install.info",
            "package_name=Ascend-cann-toolkit\nversion=8.0.RC3\n",
        );
        // A FIFO in the place of a library must not hold the probe up.
        nix::unistd::mkfifo(&dir.path().join("lib64/libstdc++.so.6"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let config = SessionConfig { users: vec!["ma-user".into()], ..SessionConfig::default() };
        let probe = probe_at(dir.path(), &config);
        let user = probe.user.unwrap();
        assert_eq!((user.name.as_str(), user.home_exists, user.home_writable), ("ma-user", true, false));
        assert_eq!(probe.glibc.as_deref(), Some("2.34"));
        assert_eq!(probe.glibcxx, None);
        assert_eq!(probe.cann.as_deref(), Some("8.0.RC3"));
        assert!(!probe.musl && !probe.tar && !probe.download);
        assert!(user.home_free.is_some());
    }

    #[test]
    fn a_missing_user_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let config = SessionConfig { image_user: Some("ghost".into()), ..SessionConfig::default() };
        let probe = probe_at(dir.path(), &config);
        assert!(probe.user.is_none() && probe.user_error.unwrap().contains("ghost"));
    }

    #[test]
    fn writing_is_judged_as_the_kernel_does() {
        let account =
            |uid| Account { name: "x".into(), uid, gid: 100, groups: vec![200], home: None, shell: None };
        assert!(may_write(&account(5), 5, 0, 0o700));
        assert!(!may_write(&account(5), 5, 100, 0o070));
        assert!(may_write(&account(5), 6, 200, 0o070));
        assert!(!may_write(&account(5), 6, 7, 0o755));
        assert!(may_write(&account(0), 6, 7, 0o000));
    }
}
