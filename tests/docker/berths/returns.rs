//! Docker ends, and its containers with it: when it is there again, berths come back by themselves, each on its own cards.

use super::conditions::{PATIENCE, told, wait_for};
use crate::machine::{until, variable};
use crate::own_engine::OwnEngine;
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::time::Duration;

fn start() -> Option<(OwnEngine, Rig)> {
    variable("BERTH_TEST_DOCKER")?;
    let engine = OwnEngine::start(&json!({}));
    let rig = Rig::with(Setup { docker: Some(engine.socket()), ..Setup::default() })?;
    Some((engine, rig))
}

fn wait_for_event(rig: &Rig, kind: &str, count: usize) {
    let seen = || rig.events().iter().filter(|event| event["kind"] == kind).count() >= count;
    until(&format!("{count} events {kind}"), PATIENCE, || seen().then_some(()));
}

fn times(berth: &Value) -> jiff::Timestamp {
    berth["until"].as_str().unwrap().parse().unwrap()
}

#[test]
fn berths_come_back_after_docker_each_on_its_own_cards() {
    let Some((mut engine, rig)) = start() else { return };
    let train = rig.request(&["--cards", "2", "--name", "train"]);
    let other = rig.json(&["request", "--user", "bob", "--card-ids", "5", "--name", "other"]);
    let stopped = rig.request(&["--card-ids", "7", "--name", "stopped"]);
    rig.ok(&["stop", "alice/stopped"]);
    rig.ssh_ok(&train, "echo stays > /tmp/made");

    engine.stop();
    engine.start_again();
    wait_for_event(&rig, "berth.back", 2);
    for before in [&train, &other] {
        let name = format!("{}/{}", before["owner"].as_str().unwrap(), before["name"].as_str().unwrap());
        let back = rig.json(&["show", &name]);
        for same in ["id", "cards", "port", "host_key", "container_id", "lease"] {
            assert_eq!(back[same], before[same], "{same}");
        }
        assert_eq!((&back["state"], &back["conditions"]), (&json!("live"), &json!([])));
        assert!(times(&back) > times(before), "what was lost of the lease is given back: {back}");
        let container = back["container_id"].as_str().unwrap();
        assert_eq!(rig.devices(container), rig.devices(before["container_id"].as_str().unwrap()));
    }
    assert_eq!(rig.ssh_ok(&train, "cat /tmp/made").trim(), "stays");
    let still = rig.json(&["show", "alice/stopped"]);
    assert_eq!((&still["state"], &still["id"]), (&json!("stopped"), &stopped["id"]), "nobody started it");
    assert!(told(&rig).contains(&"berth.returning".to_owned()), "{:?}", told(&rig));
}

#[test]
fn a_berth_comes_back_when_its_device_nodes_do_and_what_was_ended_by_hand_does_not() {
    let Some((mut engine, mut rig)) = start() else { return };
    rig.request(&["--card-ids", "3", "--name", "late"]);
    engine.stop();
    let node = rig.path("state/sim/dev/davinci3");
    let aside = rig.path("state/sim/davinci3");
    std::fs::rename(&node, &aside).unwrap();
    engine.start_again();
    until("the missing node to be named", PATIENCE, || {
        let shown = rig.ok(&["show", "alice/late"]);
        (shown.contains("is started again") && shown.contains("davinci3")).then_some(())
    });
    let cards = rig.cards();
    assert_eq!(cards[3]["free"], false, "nobody else gets its card: {cards:?}");
    // An agent that ends meanwhile goes on where it was.
    rig.kill_agent();
    std::fs::rename(&aside, &node).unwrap();
    rig.start_agent();
    wait_for_event(&rig, "berth.back", 1);
    wait_for(&rig, "alice/late", &[], PATIENCE);
    let back = rig.json(&["show", "alice/late"]);
    rig.ssh_ok(&back, "true");

    engine.docker(&["kill", back["container_id"].as_str().unwrap()]);
    wait_for(&rig, "alice/late", &["dead"], PATIENCE);
    std::thread::sleep(Duration::from_secs(3));
    wait_for(&rig, "alice/late", &["dead"], Duration::from_secs(1));
    let started = rig.json(&["start", "alice/late"]);
    assert_eq!((&started["state"], &started["conditions"]), (&json!("live"), &json!([])));
    rig.ssh_ok(&started, "true");
}
