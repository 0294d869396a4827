//! Trees and copies that differ in one thing.

use super::*;
use rustix::fs::{Timespec, Timestamps, mknodat, utimensat};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

/// A tree with everything that a home or a data root has, and its copy by cp.
fn tree_and_copy() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::create_dir_all(a.join("sub/deeper")).unwrap();
    fs::write(a.join("file"), "content").unwrap();
    fs::hard_link(a.join("file"), a.join("sub/link")).unwrap();
    fs::write(a.join("empty"), "").unwrap();
    let sparse = File::create(a.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    symlink("/nowhere/at all", a.join("symlink")).unwrap();
    fs::write(a.join(OsStr::from_bytes(b"not utf-8 \xff")), "x").unwrap();
    drop(UnixListener::bind(a.join("socket")).unwrap());
    mknodat(CWD, a.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    lsetxattr(a.join("file"), "user.test", b"value", XattrFlags::empty()).unwrap();
    fs::set_permissions(a.join("sub/deeper"), fs::Permissions::from_mode(0o1731)).unwrap();
    if is_root() {
        let device = rustix::fs::makedev(236, 3);
        mknodat(CWD, a.join("device"), FileType::CharacterDevice, Mode::RUSR, device).unwrap();
        lsetxattr(a.join("sub"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }
    fs::create_dir(&b).unwrap();
    copy(&a, &b);
    (dir, a, b)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn copy(a: &Path, b: &Path) {
    let status = Command::new("cp").arg("--archive").arg(a.join(".")).arg(b).status().unwrap();
    assert!(status.success());
}

#[track_caller]
fn differs(a: &Path, b: &Path, path: &str, what: &str) {
    let found = compare(a, b).unwrap().unwrap_or_else(|| panic!("no difference at {path}"));
    assert!(found.path == Path::new(path) && found.what.contains(what), "{found:?}");
}

#[test]
fn a_copy_by_cp_is_the_same() {
    let (_dir, a, b) = tree_and_copy();
    assert_eq!(compare(&a, &b).unwrap(), None);
    assert_eq!(fs::metadata(b.join("file")).unwrap().nlink(), 2);
}

#[test]
fn what_chattr_protects_is_not_the_same_without() {
    let (_dir, a, b) = tree_and_copy();
    for flag in ["i", "a"] {
        let chattr = |sign: &str| {
            let set = Command::new("chattr").arg(format!("{sign}{flag}")).arg(a.join("file")).output();
            set.is_ok_and(|output| output.status.success())
        };
        if !chattr("+") {
            let _ = io::Write::write_all(
                &mut io::stderr(),
                b"SKIPPED: chattr needs root and a file system that knows it\n",
            );
            return;
        }
        let found = compare(&a, &b).unwrap();
        assert!(chattr("-"));
        assert!(found.unwrap().what.contains("lsattr"));
    }
    assert_eq!(compare(&a, &b).unwrap(), None);
}

#[test]
fn what_changed_meanwhile_is_found_whatever_its_times_say() {
    let (_dir, a, _) = tree_and_copy();
    std::thread::sleep(Duration::from_millis(60));
    let when = SystemTime::now();
    assert_eq!(changed_since(&a, when).unwrap(), None);
    let path = a.join("sub/link");
    let old = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "changed").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let found = changed_since(&a, when).unwrap().unwrap();
    // Two names of one file.
    assert!(found == path || found == a.join("file"), "{found:?}");
    std::thread::sleep(Duration::from_millis(60));
    let when = SystemTime::now();
    fs::rename(a.join("empty"), a.join("sub/deeper/empty")).unwrap();
    assert_eq!(changed_since(&a, when).unwrap(), Some(a.clone()));
    assert_eq!(changed_since(&a, when + Duration::from_millis(200)).unwrap(), None);
}

#[test]
fn every_difference_is_found() {
    type Change = fn(&Path);
    fn keep_time(path: &Path, change: impl FnOnce(&Path)) {
        let meta = fs::metadata(path).unwrap();
        change(path);
        let at = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
        let times = Timestamps { last_access: at, last_modification: at };
        utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
    }
    let cases: [(&str, &str, Change); 11] = [
        ("file", "contents differ", |b| {
            keep_time(&b.join("file"), |path| fs::write(path, "CONTENT").unwrap());
        }),
        ("file", "size differs", |b| fs::write(b.join("file"), "more content").unwrap()),
        ("empty", "time of change", |b| {
            let now = Timestamps {
                last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
                last_modification: Timespec { tv_sec: 1, tv_nsec: 0 },
            };
            utimensat(CWD, b.join("empty"), &now, AtFlags::empty()).unwrap();
        }),
        ("sub/deeper", "mode", |b| {
            fs::set_permissions(b.join("sub/deeper"), fs::Permissions::from_mode(0o731)).unwrap();
        }),
        ("file", "attributes", |b| {
            lsetxattr(b.join("file"), "user.test", b"other", XattrFlags::empty()).unwrap();
        }),
        ("empty", "attributes", |b| {
            lsetxattr(b.join("empty"), "user.more", b"", XattrFlags::empty()).unwrap();
        }),
        ("pipe", "not in the copy", |b| fs::remove_file(b.join("pipe")).unwrap()),
        ("zz", "only in the copy", |b| keep_time(b, |path| fs::write(path.join("zz"), "").unwrap())),
        ("sub/link", "hard links", |b| {
            keep_time(&b.join("sub"), |sub| {
                keep_time(&sub.join("link"), |link| {
                    fs::remove_file(link).unwrap();
                    fs::copy(sub.join("../file"), link).unwrap();
                    lsetxattr(link, "user.test", b"value", XattrFlags::empty()).unwrap();
                });
            });
        }),
        ("symlink", "leads elsewhere", |b| {
            let link = b.join("symlink");
            let meta = fs::symlink_metadata(&link).unwrap();
            fs::remove_file(&link).unwrap();
            symlink("/elsewhere", &link).unwrap();
            let at = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
            let times = Timestamps { last_access: at, last_modification: at };
            utimensat(CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }),
        ("sub", "type or mode", |b| {
            fs::remove_dir_all(b.join("sub")).unwrap();
            symlink("/etc", b.join("sub")).unwrap();
        }),
    ];
    for (path, what, change) in cases {
        let (_dir, a, b) = tree_and_copy();
        change(&b);
        differs(&a, &b, path, what);
    }
}

#[test]
fn a_file_linked_once_too_often_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    for side in [&a, &b] {
        fs::create_dir(side).unwrap();
        for name in ["one", "two"] {
            fs::write(side.join(name), "same").unwrap();
        }
    }
    fs::remove_file(b.join("two")).unwrap();
    fs::hard_link(b.join("one"), b.join("two")).unwrap();
    let at = Timespec { tv_sec: 5, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    for path in [a.join("one"), a.join("two"), b.join("one")] {
        utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    }
    differs(&a, &b, "two", "hard links");
}

#[test]
fn another_device_and_another_owner_are_found() {
    if !is_root() {
        return;
    }
    let (_dir, a, b) = tree_and_copy();
    fs::remove_file(b.join("device")).unwrap();
    let device = rustix::fs::makedev(236, 4);
    mknodat(CWD, b.join("device"), FileType::CharacterDevice, Mode::RUSR, device).unwrap();
    differs(&a, &b, "device", "another device");
    let (_dir, a, b) = tree_and_copy();
    std::os::unix::fs::lchown(b.join("symlink"), Some(7), None).unwrap();
    differs(&a, &b, "symlink", "owner");
    std::os::unix::fs::lchown(&b, Some(7), None).unwrap();
    differs(&a, &b, "", "owner");
}

#[test]
fn a_file_with_two_names_takes_its_room_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one"), vec![7; 1 << 20]).unwrap();
    let once = measure(dir.path()).unwrap();
    fs::hard_link(dir.path().join("one"), dir.path().join("two")).unwrap();
    assert_eq!(measure(dir.path()).unwrap(), once);
    assert!((1 << 20..2 << 20).contains(&once), "{once}");
}

#[test]
fn only_what_is_marked_is_ever_removed() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("copy");
    assert_eq!(look_at(&place, &[]).unwrap(), Place::Free);
    begin(&place).unwrap();
    assert_eq!(look_at(&place, &[]).unwrap(), Place::Free);
    fs::create_dir(place.join("image")).unwrap();
    fs::write(place.join("image/file"), "").unwrap();
    assert_eq!(look_at(&place, &["image"]).unwrap(), Place::Unfinished);
    begin(&place).unwrap();
    // Of another system: it may be all that is left.
    lsetxattr(&place, MARK, b"another machine", XattrFlags::empty()).unwrap();
    assert_eq!(look_at(&place, &["image"]).unwrap(), Place::Taken);
    assert!(discard(&place).is_err() && empty(&place).is_err() && begin(&place).is_err());
    lsetxattr(&place, MARK, &own_mark().unwrap(), XattrFlags::empty()).unwrap();
    let to = dir.path().join("to");
    settle(&place, &to).unwrap();
    assert_eq!(look_at(&to, &["image"]).unwrap(), Place::Unfinished);
    finish(&to).unwrap();
    finish(&to).unwrap();
    assert_eq!(look_at(&to, &["image"]).unwrap(), Place::Taken);
    fs::create_dir(to.join("containers")).unwrap();
    assert_eq!(look_at(&to, &["image", "containers"]).unwrap(), Place::Docker);
    assert!(discard(&to).is_err() && empty(&to).is_err() && begin(&to).is_err());
    assert!(to.join("image/file").exists());
    let link = dir.path().join("link");
    symlink(&to, &link).unwrap();
    assert_eq!(look_at(&link, &[]).unwrap(), Place::Taken);
    assert!(discard(&link).is_err());
    begin(&place).unwrap();
    fs::write(place.join("half"), "").unwrap();
    discard(&place).unwrap();
    discard(&place).unwrap();
    assert!(!place.exists() && to.exists());
}

#[test]
fn a_tree_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let deep = (0..300).fold(a.clone(), |path, _| path.join("d"));
    fs::create_dir_all(deep).unwrap();
    fs::create_dir(&b).unwrap();
    copy(&a, &b);
    let error = compare(&a, &b).unwrap_err();
    assert!(error.to_string().contains("directories deep"), "{error}");
}
