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

#[test]
fn an_unattended_berth_may_write_a_checkpoint_and_then_ends_with_its_lease() {
    let Some(rig) = Rig::with(quick("")) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "night", "--lease", "20s", "--unattended"]);
    assert_eq!((&berth["unattended"], &berth["condition"]), (&json!(true), &json!(null)));
    let work = "trap '' HUP; trap 'echo saved > ~/checkpoint; exit' TERM; while :; do sleep 0.1; done";
    rig.ssh_ok(&berth, &format!("sh -c \"{work}\" >/dev/null 2>&1 </dev/null & echo started"));
    until("the checkpoint", Duration::from_secs(40), || {
        rig.ssh(&berth, "test -s ~/checkpoint").status.success().then_some(())
    });
    assert_eq!(rig.json(&["show", "alice/night"])["state"], "live", "it is written before the end");
    until("its end", Duration::from_mins(1), || {
        (rig.json(&["show", "alice/night"])["state"] == "stopped").then_some(())
    });
    let stopped = rig.json(&["show", "alice/night"]);
    assert_eq!(stopped["stop"]["reason"], "unattended");
    assert!(
        stopped["deadline"].is_string() && stopped["deadline"] == stopped["stop"]["kept_until"],
        "{stopped}"
    );
    let told = kinds(&rig, "night");
    let at =
        |kind: &str| told.iter().position(|told| told == kind).unwrap_or_else(|| panic!("{kind}: {told:?}"));
    assert!(at("berth.asked-back") < at("berth.stopping"), "{told:?}");
    let again = rig.json(&["start", "alice/night"]);
    assert_eq!(again["unattended"], false, "it is said anew at each start");
    let saved = rig.ssh_ok(&again, "cat ~/checkpoint");
    assert_eq!(saved.trim(), "saved");
}

#[test]
fn a_locked_berth_is_not_asked_back_and_everybody_sees_why() {
    let Some(rig) = Rig::with(quick("")) else { return };
    rig.request(&["--cards", "8", "--name", "paper", "--lease", "1s"]);
    let said = rig.ok(&["lock", "alice/paper", "--for", "2days", "--why", "the paper is due"]);
    assert!(said.contains("alice/paper is locked; this ends in "), "{said}");
    let listed = rig.ok(&["list"]);
    assert!(listed.contains("locked, this ends in ") && listed.contains(": the paper is due"), "{listed}");
    let waits = asks(&rig, "bob", "next", &["--cards", "2"]);
    std::thread::sleep(Duration::from_secs(4));
    let locked = rig.json(&["show", "alice/paper"]);
    assert_eq!((&locked["stops_at"], &locked["condition"]), (&json!(null), &json!("locked")));
    rig.ok(&["unlock", "alice/paper"]);
    let ran = Ran::of(&waits.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_request_waits_without_a_connection_and_is_passed_on_where_nobody_comes() {
    let Some(mut rig) = Rig::with(quick("confirm = \"5s\"")) else { return };
    rig.request(&["--cards", "8", "--name", "all"]);
    let ask = |rig: &Rig, name: &str| {
        rig.json(&["request", "--user", "bob", "--name", name, "--cards", "2", "--detach"])["id"].to_string()
    };
    let ticket = ask(&rig, "later");
    assert_eq!(queue(&rig)[0]["detached"], true);
    let said = rig.refused_as(crate::rig::ALICE, 3, &["cancel", &ticket]);
    assert!(said.contains(&format!("ticket {ticket} is bob's")), "{said}");
    let said = rig.refused(2, &["cancel", "9999"]);
    assert!(said.contains("there is no ticket 9999"), "{said}");
    let second = ask(&rig, "second");
    let said = rig.refused(7, &["request", "--user", "bob", "--name", "third", "--cards", "2", "--detach"]);
    assert!(said.contains("2 requests of bob wait already"), "{said}");
    rig.ok(&["cancel", &second]);
    // An agent that ends forgets nothing.
    rig.kill_agent();
    rig.start_agent();
    assert_eq!((queue(&rig).len(), queue(&rig)[0]["id"].to_string()), (1, ticket));
    // Nor one that ends while it makes the berth.
    rig.stop_agent();
    let mut dies = rig.agent_command();
    dies.env("BERTH_CRASH_AT", "request.started");
    rig.start_agent_as(dies);
    rig.ok(&["release", "alice/all"]);
    until("the agent's end", Duration::from_secs(40), || rig.agent_ended().then_some(()));
    rig.kill_agent();
    rig.start_agent();
    let state = |rig: &Rig, state: &str| {
        until(&format!("bob/later to be {state}"), Duration::from_mins(1), || {
            let berths = rig.berths();
            berths.iter().find(|berth| berth["name"] == "later" && berth["state"] == state).cloned()
        })
    };
    let live = state(&rig, "live");
    until("its owner to be told", Duration::from_secs(20), || {
        kinds(&rig, "later").contains(&"berth.came".to_owned()).then_some(())
    });
    assert_eq!((&live["owner"], live["cards"].as_array().unwrap().len()), (&json!("bob"), 2));
    let stopped = state(&rig, "stopped");
    assert_eq!(stopped["stop"]["reason"], "unused");

    // Whoever logs in in time keeps it.
    rig.ok(&["release", "bob/later"]);
    ask(&rig, "later");
    let live = state(&rig, "live");
    assert!(rig.ssh_with(&live, &rig.key("bob"), "true").status.success());
    std::thread::sleep(Duration::from_secs(17));
    assert_eq!(state(&rig, "live")["id"], live["id"]);
}

#[test]
fn a_wait_goes_on_with_the_next_agent() {
    let Some(mut rig) = Rig::with(quick("")) else { return };
    rig.request(&["--cards", "8", "--name", "all"]);
    let waits = asks(&rig, "bob", "next", &["--cards", "8"]);
    let mut gone = asks(&rig, "alice", "gone", &["--cards", "1"]);
    let ticket = |rig: &Rig, name: &str| {
        queue(rig).iter().find(|place| place["berth"] == name).map(|place| place["id"].clone())
    };
    let (first, second) = (ticket(&rig, "next").unwrap(), ticket(&rig, "gone").unwrap());
    rig.kill_agent();
    rig.start_agent();
    rig.stop_agent();
    // Whoever does not come back loses the place: it takes a minute, which the clock of a unit test passes.
    gone.kill().unwrap();
    gone.wait().unwrap();
    // Nor does a wait end with an agent that ends while it makes the berth.
    let mut dies = rig.agent_command();
    dies.env("BERTH_CRASH_AT", "request.started");
    rig.start_agent_as(dies);
    assert_eq!((ticket(&rig, "next"), ticket(&rig, "gone")), (Some(first), Some(second)));
    rig.ok(&["release", "alice/all"]);
    until("the agent's end", Duration::from_secs(40), || rig.agent_ended().then_some(()));
    rig.kill_agent();
    rig.start_agent();
    let ran = Ran::of(&waits.wait_with_output().unwrap());
    let said = std::fs::read_to_string(rig.path("asks-next")).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}\n{said}\n{}", rig.log());
    assert!(said.contains("the agent is away; waiting goes on when it is back"), "{said}");
    let next = rig.json(&["show", "bob/next"]);
    assert_eq!((&next["state"], next["cards"].as_array().unwrap().len()), (&json!("live"), 8));
    assert_eq!(kinds(&rig, "next").iter().filter(|kind| *kind == "ticket.waits").count(), 1);

    // The same for a start, and for the end of an agent that is told to end.
    rig.ok(&["stop", "bob/next"]);
    rig.ok(&["cancel", &ticket(&rig, "gone").unwrap().to_string()]);
    rig.request(&["--cards", "8", "--name", "all"]);
    let log = std::fs::File::create(rig.path("starts")).unwrap();
    let args = ["start", "bob/next", "--wait", "60s", "--json"];
    let starts = rig.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    until("a ticket", Duration::from_secs(30), || ticket(&rig, "next"));
    rig.stop_agent();
    let mut dies = rig.agent_command();
    dies.env("BERTH_CRASH_AT", "start.started");
    rig.start_agent_as(dies);
    rig.ok(&["release", "alice/all"]);
    until("the agent's end", Duration::from_secs(40), || rig.agent_ended().then_some(()));
    rig.kill_agent();
    rig.start_agent();
    let ran = Ran::of(&starts.wait_with_output().unwrap());
    let said = std::fs::read_to_string(rig.path("starts")).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}\n{said}\n{}", rig.log());
    assert_eq!(rig.json(&["show", "bob/next"])["state"], "live");
}

#[test]
fn a_wait_that_is_cancelled_ends() {
    let Some(rig) = Rig::with(quick("")) else { return };
    rig.request(&["--cards", "8", "--name", "all"]);
    let waits = asks(&rig, "bob", "next", &["--cards", "2"]);
    rig.ok(&["cancel", &queue(&rig)[0]["id"].to_string()]);
    let ran = Ran::of(&waits.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{ran:?}");
    let said = std::fs::read_to_string(rig.path("asks-next")).unwrap();
    assert!(said.contains("was cancelled"), "{said}");
    assert!(queue(&rig).is_empty());
}

fn reserve<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["reserve", "add"][..], args].concat()
}

#[test]
fn cards_that_are_reserved_are_for_one_user() {
    let Some(rig) = Rig::with(quick("")) else { return };
    rig.request(&["--cards", "2", "--name", "there", "--lease", "1s"]);
    let added = rig.json(&reserve(&["bob", "--cards", "7", "--for", "1h", "--why", "a class"]));
    assert_eq!((&added["owner"], &added["cards"], &added["by"]), (&json!("bob"), &json!(7), &json!("root")));
    let said = rig.refused(7, &["request", "--user", "alice", "--name", "more", "--cards", "1"]);
    assert!(said.contains("kept for bob, for whom cards are reserved from"), "{said}");
    // A berth whose lease is over makes room, and no other would be asked.
    until("its end", Duration::from_mins(1), || {
        (rig.json(&["show", "alice/there"])["state"] == "stopped").then_some(())
    });
    let class = rig.json(&["request", "--user", "bob", "--cards", "7", "--name", "class"]);
    assert_eq!(class["state"], "live");
    assert_eq!(rig.request(&["--cards", "1", "--name", "more"])["state"], "live", "what is not reserved");

    for (code, wrong) in [
        (2, &["carol", "--cards", "1", "--for", "1h"][..]),
        (2, &["bob", "--cards", "9", "--for", "1h"]),
        (2, &["bob", "--cards", "0", "--for", "1h"]),
        (2, &["bob", "--cards", "1", "--for", "0s"]),
        (2, &["bob", "--cards", "1", "--for", "1h", "--from", "2020-01-01 10:00"]),
        (3, &["bob", "--cards", "2", "--for", "1h"]),
    ] {
        rig.refused(code, &reserve(wrong));
    }
    rig.refused_as(crate::rig::ALICE, 3, &reserve(&["alice", "--cards", "1", "--for", "1h"]));
    assert!(rig.ok(&["reserve", "list"]).contains("a class"));
    rig.ok(&["reserve", "end", &added["id"].to_string()]);
    rig.refused(2, &["reserve", "end", "99"]);
    assert_eq!(rig.json(&["reserve", "list"])["reservations"], json!([]));
}
