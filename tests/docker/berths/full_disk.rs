//! Docker's disk runs full: the oldest stopped berth is told and released, and no other. The disk is a small one that the
//! test makes for an engine of its own.

use super::reload::{edit, hang_up};
use crate::machine::{both, until, variable};
use crate::own_engine::OwnEngine;
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::time::Duration;

/// The disk is looked at every 20 seconds, and decided about every 10.
const PATIENCE: Duration = Duration::from_secs(90);

fn start(notice: &str) -> Option<(OwnEngine, Rig)> {
    variable("BERTH_TEST_DOCKER")?;
    // About 416 MiB of it are free for berths.
    let engine = OwnEngine::on_disk(&json!({}), 512);
    let rules =
        format!("[lease]\ngrace = \"1s\"\nkeep-free = \"200MiB\"\nrelease-notice = \"{notice}\"\n\n[berth]");
    let setup =
        Setup { docker: Some(engine.socket()), profile: vec![("[berth]", rules)], ..Setup::default() };
    Some((engine, Rig::with(setup)?))
}

/// Makes a berth that has written so many MiB outside its personal storage.
fn berth(rig: &Rig, name: &str, mib: u32) -> Value {
    let berth = rig.request(&["--cards", "1", "--name", name]);
    write(rig, &berth, "first", mib);
    berth
}

fn write(rig: &Rig, berth: &Value, file: &str, mib: u32) {
    rig.ssh_ok(berth, &format!("dd if=/dev/zero of=/tmp/{file} bs=1M count={mib} 2>/dev/null && sync"));
}

fn show(rig: &Rig, name: &str) -> Value {
    rig.json(&["show", &format!("alice/{name}")])
}

fn wait_for_event(rig: &Rig, kind: &str, name: &str) -> Value {
    until(&format!("{kind} of {name}"), PATIENCE, || {
        rig.events().into_iter().rev().find(|event| event["kind"] == kind && event["berth"] == name)
    })
}

#[test]
fn the_oldest_stopped_berth_goes_and_no_other() {
    let Some((_engine, mut rig)) = start("25s") else { return };
    let old = berth(&rig, "old", 120);
    rig.ssh_ok(&old, "echo stays > ~/work/mine");
    berth(&rig, "new", 120);
    rig.ok(&["stop", "alice/old"]);
    rig.ok(&["stop", "alice/new"]);
    let live = berth(&rig, "live", 40);

    let event = wait_for_event(&rig, "berth.release-soon", "old");
    assert_eq!(event["actor"], "agent");
    let told = show(&rig, "old");
    assert_eq!(
        (&told["condition"], &told["deadline"]),
        (&json!("release-soon"), &told["stop"]["release_at"])
    );
    assert!(told["deadline"].as_str().unwrap() < told["stop"]["kept_until"].as_str().unwrap(), "{told}");
    let listed = rig.ok(&["list"]);
    assert!(
        listed.contains("the disk is full: released in ") && listed.contains("berth keep old"),
        "{listed}"
    );
    let said = both(&rig.ssh(&old, "true"));
    assert!(
        said.contains("because the disk is full: berth start old or berth keep old prevents that"),
        "{said}"
    );

    // An agent that is killed meanwhile goes on with the same time.
    rig.kill_agent();
    rig.start_agent();
    let again = show(&rig, "old");
    assert_eq!(again["stop"]["release_at"], told["stop"]["release_at"]);
    let gone = wait_for_event(&rig, "berth.released", "old");
    let at = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(&gone["at"]) >= at(&told["stop"]["release_at"]), "{gone}");
    assert_eq!(gone["text"], "alice/old is gone: Docker's disk was full");
    assert_eq!(rig.berth(&["show", "alice/old"]).code, 2);
    let containers = rig.containers();
    let id = |berth: &Value| berth["container_id"].as_str().unwrap().to_owned();
    assert!(!containers.iter().any(|one| id(&old).starts_with(one.as_str()) || one.starts_with(&id(&old))));
    assert_eq!(std::fs::read_to_string(rig.path("storage/alice/mine")).unwrap().trim(), "stays");

    let new = rig.json(&["start", "alice/new"]);
    assert_eq!(rig.ssh_ok(&new, "wc -c < /tmp/first").trim(), (120 << 20).to_string());
    assert_eq!(show(&rig, "live")["id"], live["id"]);
    let told: Vec<Value> =
        rig.events().into_iter().filter(|event| event["kind"] == "berth.release-soon").collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn room_that_comes_back_takes_the_announcement_back() {
    let Some((_engine, rig)) = start("1h") else { return };
    berth(&rig, "kept", 80);
    berth(&rig, "other", 80);
    rig.ok(&["stop", "alice/kept"]);
    rig.ok(&["stop", "alice/other"]);
    let live = berth(&rig, "live", 120);
    wait_for_event(&rig, "berth.release-soon", "kept");
    let said = rig.ok(&["keep", "alice/kept"]);
    assert!(said.contains("alice/kept stays yours"), "{said}");
    let stop = &show(&rig, "kept")["stop"];
    assert_eq!((&stop["kept"], &stop["release_at"]), (&json!(true), &json!(null)));
    // Now it is the other one's turn, until there is room.
    wait_for_event(&rig, "berth.release-soon", "other");
    rig.ssh_ok(&live, "rm /tmp/first && sync");
    let event = wait_for_event(&rig, "berth.release-withdrawn", "other");
    assert!(event["text"].as_str().unwrap().ends_with("Docker's disk has room again"), "{event}");
    let other = show(&rig, "other");
    assert_eq!((&other["state"], &other["condition"]), (&json!("stopped"), &json!(null)));

    // A profile that says nonsense changes nothing.
    edit(&rig, "node.toml", "keep-free = \"200MiB\"", "keep-free = \"99%\"");
    let refused = hang_up(&rig);
    let text = refused["text"].as_str().unwrap();
    assert_eq!(refused["kind"], "config.refused");
    assert!(text.contains("`99%` is no part of a disk; write 0% to 50%"), "{text}");
}
