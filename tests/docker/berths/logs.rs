//! `berth logs`: what a berth's container wrote and what happened to it, for its owner and administrators alone.

use crate::machine::until;
use crate::rig::{ALICE, BOB, Rig};
use serde_json::Value;
use std::time::Duration;

fn logs(rig: &Rig, args: &[&str]) -> Vec<Value> {
    let text = rig.ok(&[&["logs", "alice/dev", "--json"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_container_wrote_and_what_happened_to_it_come_by_time() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    rig.ssh_ok(&berth, "true");
    // Root inside may write there what it likes.
    rig.exec(&berth, "printf 'own \\033[2Jword\\n' > /proc/1/fd/1; printf 'on stderr\\n' > /proc/1/fd/2");
    let has = |text: &str| logs(&rig, &[]).iter().any(|line| line["text"].as_str().unwrap().contains(text));
    until("both lines and the login", Duration::from_secs(20), || {
        (has("own \u{fffd}[2Jword") && has("on stderr") && has("login ma-user")).then_some(())
    });
    let lines = logs(&rig, &[]);
    let times: Vec<&str> = lines.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(times.len() >= 4 && times.first() < times.last(), "{lines:?}");
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds[..2], ["berth.requested", "berth.live"], "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "ssh.login").count(), 1, "once, from one source");
    assert_eq!(logs(&rig, &["--last", "1"]).len(), 1);
    let text = rig.ok(&["logs", "alice/dev"]);
    assert!(!text.contains('\u{1b}') && text.contains("event      berth.requested"), "{text}");
    assert_eq!(rig.berth_as(ALICE, &["logs", "dev"]).code, 0);
    let said = rig.refused_as(BOB, 3, &["logs", "alice/dev"]);
    assert!(said.contains("alice's berths are not yours"), "{said}");
    rig.refused_as(BOB, 2, &["logs", "dev"]);
    rig.refused(2, &["logs", "alice/dev", "--last", "2001"]);
    rig.refused(2, &["logs", "alice/../dev"]);
    rig.ok(&["release", "alice/dev"]);
    let after = logs(&rig, &[]);
    assert!(after.iter().all(|line| line["source"] == "event"), "{after:?}");
    assert!(after.iter().any(|line| line["kind"] == "berth.released"), "{after:?}");
    assert!(after.iter().any(|line| line["kind"] == "ssh.login"), "the ledger still has it: {after:?}");
}
