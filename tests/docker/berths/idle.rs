//! A berth that does nothing is asked back once somebody waits; one that works is left alone. Who used how much is shown.

use crate::machine::until;
use crate::rig::{ALICE, Ran, Rig, STRANGER, Setup};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

/// Rules in seconds instead of hours.
fn quick() -> Setup {
    let rules =
        "[lease]\ngrace = \"2s\"\nprotected = \"0s\"\nstop-time = \"5s\"\n[idle]\nwindow = \"24s\"\n[berth]";
    Setup { profile: vec![("[berth]", rules.into())], ..Setup::default() }
}

fn idle_of(rig: &Rig, berth: &Value) -> Option<Value> {
    Some(rig.json(&["list"])["idle"][berth["id"].to_string()].clone()).filter(|idle| !idle.is_null())
}

#[test]
fn a_berth_that_does_nothing_makes_room_and_one_that_works_does_not() {
    let Some(rig) = Rig::with(quick()) else { return };
    let works = rig.request(&["--cards", "4", "--name", "works"]);
    let pid = rig.inspect(works["container_id"].as_str().unwrap())["State"]["Pid"].to_string();
    for card in works["cards"].as_array().unwrap() {
        rig.ok(&["sim", "fault", "--holder", &format!("{card}:{pid}:python")]);
    }
    let sleeps = rig.request(&["--cards", "4", "--name", "sleeps"]);
    // Somebody who types is at work, as long as it goes on.
    let typed =
        rig.ssh_ok(&sleeps, "for i in $(seq 30); do head -c 3000 /dev/zero | tr '\\0' x; sleep 1; done");
    assert_eq!((typed.len(), idle_of(&rig, &sleeps)), (90_000, None));
    let idle = until("an idle berth", PATIENCE, || idle_of(&rig, &sleeps));
    assert_eq!(idle["code"], "idle");
    let evidence = &idle["evidence"];
    assert_eq!((&evidence["aicore_percent"], &evidence["expected"]), (&json!(0), &json!(12)));
    assert!(
        evidence["samples"].as_u64().unwrap() >= 9 && evidence["hbm_mib"].as_u64().unwrap() > 0,
        "{evidence}"
    );
    assert!(rig.ok(&["list"]).contains("idle, last work "));
    let shown = rig.ok(&["show", "alice/sleeps"]);
    assert!(shown.contains("AICore at most 0 %") && shown.contains(" of 12 samples"), "{shown}");
    assert_eq!(idle_of(&rig, &works), None);
    assert_eq!(rig.json(&["show", "alice/sleeps"])["stops_at"], Value::Null, "nobody waits");

    let log = std::fs::File::create(rig.path("asks")).unwrap();
    let asks = rig
        .command(&["request", "--user", "bob", "--name", "next", "--cards", "4", "--json", "--wait", "90s"])
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let ran = Ran::of(&asks.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}\n{}", rig.log());
    let stopped = rig.json(&["show", "alice/sleeps"]);
    assert_eq!((&stopped["state"], &stopped["stop"]["reason"]), (&json!("stopped"), &json!("idle")));
    assert_eq!(rig.json(&["show", "alice/works"])["state"], "live");
    let asked: Vec<Value> =
        rig.events().into_iter().filter(|event| event["kind"] == "berth.asked-back").collect();
    assert!(!asked.is_empty() && asked.iter().all(|event| event["berth"] == "sleeps"), "{asked:?}");
    assert!(asked[0]["text"].as_str().unwrap().contains("it does nothing, and somebody waits for cards"));
}

#[test]
fn who_used_how_much_is_shown_to_everybody_who_is_registered() {
    let Some(mut rig) = Rig::with(quick()) else { return };
    let works = rig.request(&["--cards", "2", "--name", "works"]);
    let pid = rig.inspect(works["container_id"].as_str().unwrap())["State"]["Pid"].to_string();
    for card in works["cards"].as_array().unwrap() {
        rig.ok(&["sim", "fault", "--holder", &format!("{card}:{pid}:python")]);
    }
    let used = |rig: &Rig| rig.json(&["usage"])["rows"][0]["used"].as_u64().unwrap_or(0);
    until("seconds of use", PATIENCE, || (used(&rig) >= 6).then_some(()));
    let row = rig.json(&["usage"])["rows"][0].clone();
    assert_eq!((&row["key"], &row["idle_wanted"]), (&json!("alice"), &json!(0)));
    assert!(row["held"].as_u64().unwrap() >= row["used"].as_u64().unwrap(), "{row}");
    // What was counted outlives the agent that counted it.
    rig.stop_agent();
    rig.start_agent();
    let before = row["used"].as_u64().unwrap();
    assert!(used(&rig) >= before);
    let by_card = rig.ok(&["usage", "--by", "card", "--csv", "--since", "1h"]);
    let cards: Vec<&str> = by_card.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(cards, ["card", &works["cards"][0].to_string(), &works["cards"][1].to_string()]);
    let ran = rig.berth_as(ALICE, &["usage", "--user", "alice"]);
    assert!(ran.code == 0 && ran.out.contains("alice"), "{ran:?}");
    assert_eq!(rig.json(&["usage", "--user", "bob"])["rows"], json!([]));
    let said = rig.refused(2, &["usage", "--since", "2years"]);
    assert!(said.contains("366 days back at most"), "{said}");
    assert_eq!(rig.berth(&["usage", "--by", "colour"]).code, 2);
    rig.refused_as(STRANGER, 3, &["usage"]);
}
