//! A storage root that is missing, read-only, full or not safe: the request is refused, and nothing is left of it.

use crate::machine::run;
use crate::rig::{Rig, Setup};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// A small file system of its own; gone with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Self {
        let path = at.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=64k,mode=700", "berth-test", path]);
        Self(at.to_owned())
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a container that a failed test leaves may still have it.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The request fails with exit code 5 and leaves no berth, container, directory, port or card.
fn refused(rig: &Rig, text: &str) {
    let ran = rig.berth(&["request", "--user", "alice", "--cards", "2"]);
    assert_eq!(ran.code, 5, "{text}: {ran:?}\n{}", rig.log());
    ran.assert_one_sentence();
    assert!(ran.err.contains(text) && ran.err.contains("help: "), "{text}: {ran:?}");
    rig.assert_nothing_left();
}

#[test]
fn a_storage_root_that_is_missing_or_not_a_directory() {
    let Some(rig) = Rig::start() else { return };
    let root = rig.path("storage");
    std::fs::remove_dir(&root).unwrap();
    refused(&rig, "/storage is not there");
    assert!(!root.exists(), "it is never made: a disk may be missing there");
    std::fs::write(&root, "").unwrap();
    refused(&rig, "/storage is not a directory");
    std::fs::remove_file(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&rig, "/storage is open to others than root");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
    symlink("/etc", root.join("alice")).unwrap();
    refused(&rig, "/storage/alice is not a directory");
    std::fs::remove_file(root.join("alice")).unwrap();
    assert_eq!(rig.request(&["--cards", "2"])["state"], "live", "all is well again");
}

#[test]
fn a_storage_root_that_is_read_only_or_full() {
    let Some(rig) = Rig::with(Setup::default()) else { return };
    let disk = Tmpfs::mount(&rig.path("storage"));
    disk.remount("ro");
    refused(&rig, "/storage is read-only");
    disk.remount("rw");
    let filler = rig.path("storage/filler");
    // As much as fits: the error is the point.
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    refused(&rig, "/storage is full");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(rig.request(&["--cards", "2"])["state"], "live", "all is well again");
    rig.ok(&["release", "alice/dev"]);
}
