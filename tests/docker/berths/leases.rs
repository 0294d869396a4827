//! Leases are kept once somebody waits: who is asked back, who is told, who comes next.

use crate::machine::until;
use crate::rig::{Ran, Rig, Setup};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Rules in seconds instead of hours.
fn quick(more: &str) -> Setup {
    let rules = format!(
        "[lease]\ngrace = \"2s\"\nprotected = \"0s\"\nfirst-warning = \"2h\"\nstop-time = \"5s\"\n{more}\n[berth]"
    );
    Setup { profile: vec![("[berth]", rules)], ..Setup::default() }
}

fn asks(rig: &Rig, user: &str, name: &str, more: &[&str]) -> Child {
    let args = [&["request", "--user", user, "--name", name, "--json", "--wait", "90s"], more].concat();
    let log = std::fs::File::create(rig.path(&format!("asks-{name}"))).unwrap();
    let child = rig.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    until("a ticket", Duration::from_secs(30), || {
        queue(rig).iter().any(|place| place["berth"] == name).then_some(())
    });
    child
}

fn queue(rig: &Rig) -> Vec<Value> {
    rig.json(&["queue"])["waiting"].as_array().unwrap().clone()
}

fn kinds(rig: &Rig, berth: &str) -> Vec<String> {
    let of = |event: &Value| (event["berth"] == berth).then(|| event["kind"].as_str().unwrap().to_owned());
    rig.events().iter().filter_map(of).collect()
}

#[test]
fn a_lease_that_is_over_ends_when_somebody_waits_and_not_before() {
    let Some(rig) = Rig::with(quick("")) else { return };
    let berth = rig.request(&["--cards", "8", "--name", "long", "--lease", "1s"]);
    rig.ssh_ok(&berth, "echo kept > ~/mine");
    until("the end of the lease", Duration::from_secs(30), || {
        rig.ok(&["list"]).contains("over, ").then_some(())
    });
    assert_eq!(rig.json(&["show", "alice/long"])["stops_at"], Value::Null, "nobody waits");
    let child = asks(&rig, "bob", "next", &["--cards", "2"]);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}\n{}", rig.log());
    let stopped = rig.json(&["show", "alice/long"]);
    assert_eq!((&stopped["state"], &stopped["stop"]["reason"]), (&json!("stopped"), &json!("lease")));
    let told = kinds(&rig, "long");
    let at =
        |kind: &str| told.iter().position(|told| told == kind).unwrap_or_else(|| panic!("{kind}: {told:?}"));
    assert!(at("berth.asked-back") < at("berth.stopping") && at("berth.stopping") < at("berth.stopped"));
    // It waits for its turn like everybody else, and is as it was.
    let log = std::fs::File::create(rig.path("back")).unwrap();
    let args = ["start", "alice/long", "--wait", "60s", "--json"];
    let back = rig.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    until("a ticket", Duration::from_secs(30), || (queue(&rig).len() == 1).then_some(()));
    rig.ok(&["release", "bob/next"]);
    let ran = Ran::of(&back.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}\n{}", rig.log());
    assert_eq!(rig.ssh_ok(&rig.json(&["show", "alice/long"]), "cat ~/mine").trim(), "kept");
    assert!(queue(&rig).is_empty());
}

#[test]
fn who_has_waited_long_is_overtaken_by_nobody() {
    let Some(rig) = Rig::with(quick("longest-wait = \"0s\"")) else { return };
    rig.request(&["--cards", "4", "--name", "half"]);
    let mut whole = asks(&rig, "bob", "whole", &["--cards", "8"]);
    let [place] = &queue(&rig)[..] else { panic!("one waits") };
    assert_eq!((&place["owner"], &place["place"], &place["first"]), (&json!("bob"), &json!(1), &json!(true)));
    assert!(place["latest"].is_string(), "{place}");
    assert!(rig.ok(&["queue"]).contains("1, next"));
    let said = rig.refused(7, &["request", "--user", "alice", "--name", "small", "--cards", "2"]);
    assert!(said.contains("free and kept for bob, who waits for 8 cards"), "{said}");
    // A lease that is renewed under somebody's eyes is renewed once, and not for long.
    rig.ok(&["renew", "alice/half"]);
    let said = rig.refused(3, &["renew", "alice/half"]);
    assert!(
        said.contains("somebody waits for the cards of alice/half, and its lease was renewed already"),
        "{said}"
    );
    // Whoever waits no more keeps nothing.
    whole.kill().unwrap();
    whole.wait().unwrap();
    until("an empty queue", Duration::from_secs(20), || queue(&rig).is_empty().then_some(()));
    assert_eq!(rig.request(&["--cards", "2", "--name", "small"])["state"], "live");
    assert!(kinds(&rig, "whole").ends_with(&["ticket.waits".into(), "ticket.gone".into()]));
}
