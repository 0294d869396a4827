//! `berth check` on a node with an agent, berths and others.

use crate::rig::Rig;
use serde_json::Value;

/// One check's result.
fn check(rig: &Rig, id: &str) -> Value {
    let ran = rig.berth(&["check", "--json", "--only", id]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    report["checks"][0].clone()
}

fn verdict(rig: &Rig, id: &str) -> String {
    check(rig, id)["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_check_tells_berths_from_others() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "2"]);
    assert_eq!(check(&rig, "holders.foreign")["seen"], "nobody; 1 cards are in berths");
    let node = format!("{}:/dev/davinci5", rig.text("state/sim/dev/davinci5"));
    let name = rig.foreign("intruder", &["--device", &node]);
    let found = check(&rig, "holders.foreign");
    assert_eq!(found["verdict"], "warn");
    let seen = found["seen"].as_str().unwrap();
    assert!(seen.starts_with(&format!("card 5: container {name} (")) && !seen.contains("card 2"), "{seen}");

    // What a copy of a berth's image says of itself is not believed: its name is another.
    let labels = rig.inspect(berth["container_id"].as_str().unwrap())["Config"]["Labels"].clone();
    let labels: Vec<String> = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
        .collect();
    let node = format!("{}:/dev/davinci6", rig.text("state/sim/dev/davinci6"));
    let mut options = vec!["--device", &node];
    options.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    let copy = rig.foreign("copy", &options);
    let seen = check(&rig, "holders.foreign")["seen"].as_str().unwrap().to_owned();
    assert!(seen.contains(&format!("card 6: container {copy} (")), "{seen}");
}

#[test]
fn the_simulated_node_s_faults_are_found() {
    let Some(rig) = Rig::start() else { return };
    for id in [
        "npu.count",
        "npu.lost",
        "npu.health",
        "npu.nodes",
        "driver.version",
        "driver.firmware-pair",
        "docker.version",
    ] {
        assert_eq!(verdict(&rig, id), "ok", "{id}");
    }
    assert_eq!(verdict(&rig, "hccn.link"), "skipped");
    rig.ok(&["sim", "fault", "--health", "3=alarm", "--missing", "7"]);
    let health = check(&rig, "npu.health");
    assert_eq!(
        (&health["verdict"], &health["seen"]),
        (&"fail".into(), &"card 3 alarm (error 80E01801: simulated)".into())
    );
    assert_eq!(check(&rig, "npu.lost")["seen"], "lost: card 7");
    rig.ok(&["sim", "clear"]);
    rig.ok(&["sim", "fault", "--device-used"]);
    let held = check(&rig, "npu.count");
    assert!(held["seen"].as_str().unwrap().starts_with("a container has cards (-8020)"), "{held}");
    rig.ok(&["sim", "clear"]);
    rig.ok(&["sim", "fault", "--no-driver"]);
    assert!(check(&rig, "npu.count")["seen"].as_str().unwrap().starts_with("no driver answers (-8005)"));
    assert_eq!(rig.berth(&["check", "--only", "npu"]).code, 4);
    rig.ok(&["sim", "clear"]);
}

#[test]
fn somebody_without_rights_is_told_what_they_could_not_see() {
    let Some(rig) = Rig::start() else { return };
    let ran = rig.berth_as(65_534, &["check", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let verdict_of = |id: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    for id in ["docker.version", "holders.foreign"] {
        assert_eq!(verdict_of(id), "could-not-look", "{id}");
    }
    assert_eq!((verdict_of("npu.count").as_str(), ran.code), ("ok", 4));
}
