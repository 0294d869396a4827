//! A storage root that is missing, read-only, full or not safe: the request is refused, and nothing is left of it.

use crate::machine::{run, until};
use crate::rig::{ALICE, BOB, Rig, Setup};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

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

/// As much as fits: the error is the point.
fn fill(disk: &Path) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [1 << 20, 4096, 1] {
        let piece = vec![0; size];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    }
    filler
}

fn wait_for_event(rig: &Rig, kind: &str, text: &str) {
    let told = |event: &serde_json::Value| {
        event["kind"] == kind && event["text"].as_str().is_some_and(|told| told.contains(text))
    };
    until(&format!("the event {kind}"), PATIENCE, || rig.events().iter().any(told).then_some(()));
}

#[test]
fn on_a_full_storage_root_who_has_something_there_goes_on() {
    let Some(rig) = Rig::with(Setup::default()) else { return };
    let disk = Tmpfs::mount(&rig.path("storage"));
    let before = rig.request(&["--cards", "1", "--name", "before"]);
    let filler = fill(&disk.0);
    wait_for_event(&rig, "disk.full", "/storage is full (file system ");
    let list = rig.berth_as(ALICE, &["list"]);
    assert!(list.code == 0 && list.err.contains("/storage is full (file system "), "{list:?}");
    assert!(rig.berth(&["cards"]).err.contains("/storage is full"));
    assert_eq!(rig.json(&["list"])["full"][0]["kept"], "storage");
    // Her berth goes on, she gets another one to clear up in, and bob hears why he gets none.
    rig.ssh_ok(&before, "true");
    rig.ok(&["renew", "alice/before"]);
    let made = rig.berth_as(ALICE, &["request", "--cards", "1", "--name", "more"]);
    assert!(made.code == 0 && made.err.contains("/storage is full"), "{made:?}");
    rig.ssh_ok(&rig.json(&["show", "alice/more"]), "true");
    let refused = rig.refused_as(BOB, 5, &["request", "--cards", "1"]);
    assert!(
        refused.contains("whoever has no storage yet gets no berth") && refused.contains("du -xsh"),
        "{refused}"
    );
    assert!(!disk.0.join("bob").exists());
    rig.ok(&["release", "alice/before"]);
    std::fs::remove_file(filler).unwrap();
    wait_for_event(&rig, "disk.room", "there is room again");
    assert_eq!(rig.json(&["list"])["full"], serde_json::json!([]));
    assert_eq!(rig.berth_as(BOB, &["request", "--cards", "1"]).code, 0);
}

/// The ledger's file system: nothing new is begun, and what is there can be ended, also by an agent that starts then.
#[test]
fn where_the_ledger_has_no_room_berths_can_be_renewed_and_released() {
    let Some(mut rig) = Rig::with(Setup::default()) else { return };
    rig.stop_agent();
    let (state, old) = (rig.path("state"), rig.path("state.old"));
    std::fs::rename(&state, &old).unwrap();
    std::fs::create_dir(&state).unwrap();
    let disk = Tmpfs::mount(&state);
    disk.remount("size=32m,mode=711");
    run("cp", &["-a", &format!("{}/.", old.display()), state.to_str().unwrap()]);
    rig.start_agent();
    let names = ["one", "two", "three"];
    let berths = names.map(|name| rig.request(&["--cards", "1", "--name", name]));
    let filler = fill(&state);
    wait_for_event(&rig, "disk.full", "no berth can be made");
    let refused = rig.refused_as(BOB, 5, &["request", "--cards", "1"]);
    assert!(
        refused.contains("is full, where the ledger is") && refused.contains("help: free space"),
        "{refused}"
    );
    rig.ssh_ok(&berths[0], "true");
    rig.ok(&["renew", "alice/one"]);
    rig.ok(&["release", "alice/one"]);
    // An agent that ends and starts there has what was kept for it, whether it ended by itself or was killed.
    rig.stop_agent();
    rig.start_agent();
    rig.ok(&["renew", "alice/two"]);
    rig.ok(&["release", "alice/two"]);
    rig.kill_agent();
    rig.start_agent();
    let said = || rig.berth(&["list"]).err.contains("is full, where the ledger is").then_some(());
    until("a word about it", PATIENCE, said);
    rig.ok(&["release", "alice/three"]);
    assert_eq!(rig.json(&["list"])["berths"], serde_json::json!([]));
    // What the released berths had is room too, but less than is needed for sure; then all is well again.
    std::fs::remove_file(filler).unwrap();
    wait_for_event(&rig, "disk.room", "there is room again");
    assert_eq!(rig.request(&["--cards", "1"])["state"], "live");
    rig.ok(&["release", "alice/dev"]);
    rig.kill_agent();
}
