//! The agent is killed at every named place between two effects. The next agent leaves nothing half done, and loses
//! nothing of a berth that is kept.

use super::conditions::PATIENCE;
use crate::machine::{until, variable};
use crate::own_engine::OwnEngine;
use crate::rig::{Rig, Setup};
use berth::host::crash::POINTS;
use serde_json::{Value, json};
use std::process::Command;

fn points(operation: &str) -> Vec<&'static str> {
    let of: Vec<&str> =
        POINTS.into_iter().filter(|point| point.split('.').next() == Some(operation)).collect();
    assert!(!of.is_empty(), "{operation}");
    of
}

/// Every operation with points is in one of the tests below.
#[test]
fn every_operation_is_tried() {
    for point in POINTS {
        let operation = point.split('.').next().unwrap();
        let tried = [
            "request",
            "release",
            "stop",
            "start",
            "move",
            "by-hand",
            "return",
            "rename",
            "snapshot",
            "unsnapshot",
        ];
        assert!(tried.contains(&operation), "{point}");
    }
}

fn agent_that_dies(rig: &Rig, point: &str) -> Command {
    let mut command = rig.agent_command();
    command.env("BERTH_CRASH_AT", point);
    command
}

/// Does it with an agent that is killed at this place, and starts the next agent.
fn die_at(rig: &mut Rig, point: &str, words: &[&str]) {
    rig.stop_agent();
    let command = agent_that_dies(rig, point);
    rig.start_agent_as(command);
    let ran = rig.berth(words);
    assert_ne!(ran.code, 0, "{point} is never reached by {words:?}: {ran:?}");
    until(&format!("the agent's end at {point}"), PATIENCE, || rig.agent_ended().then_some(()));
    rig.kill_agent();
    rig.start_agent();
}

fn state(rig: &Rig, berth: &str) -> Value {
    rig.json(&["show", berth])["state"].clone()
}

fn wait_for_state(rig: &Rig, point: &str, berth: &str, wanted: &str) {
    until(&format!("{point}: {berth} to be {wanted}"), PATIENCE, || {
        (state(rig, berth) == wanted).then_some(())
    });
}

#[test]
fn a_request_that_is_cut_is_undone_and_a_release_is_finished() {
    let Some(mut rig) = Rig::start() else { return };
    rig.ok(&["image", "check", "base"]);
    for point in points("request") {
        die_at(&mut rig, point, &["request", "--user", "alice", "--cards", "2"]);
        until(&format!("{point}: its end"), PATIENCE, || {
            (rig.berths().is_empty() && rig.containers().is_empty()).then_some(())
        });
        assert!(rig.cards().iter().all(|card| card["free"] == true), "{point}");
    }
    for point in points("release") {
        rig.request(&["--cards", "1"]);
        die_at(&mut rig, point, &["release", "alice/dev"]);
        until(&format!("{point}: its end"), PATIENCE, || {
            (rig.berths().is_empty() && rig.containers().is_empty()).then_some(())
        });
    }
    rig.assert_nothing_left();
}

#[test]
fn a_stop_that_is_cut_is_finished_and_a_start_loses_nothing() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "0,1", "--name", "train"]);
    rig.ssh_ok(&berth, "echo stays > /tmp/made");
    let check = |rig: &Rig, point: &str| {
        let live = rig.json(&["start", "alice/train"]);
        assert_eq!((&live["state"], &live["port"]), (&json!("live"), &berth["port"]), "{point}");
        assert_eq!(rig.ssh_ok(&live, "cat /tmp/made").trim(), "stays", "{point}");
        assert_eq!(rig.containers(), [live["container_id"].as_str().unwrap()], "{point}");
    };
    for point in points("stop") {
        die_at(&mut rig, point, &["stop", "alice/train"]);
        wait_for_state(&rig, point, "alice/train", "stopped");
        assert!(rig.cards().iter().all(|card| card["free"] == true), "{point}");
        check(&rig, point);
    }
    for point in points("start") {
        rig.ok(&["stop", "alice/train"]);
        die_at(&mut rig, point, &["start", "alice/train"]);
        wait_for_state(&rig, point, "alice/train", "stopped");
        check(&rig, point);
    }
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}

#[test]
fn a_start_by_hand_that_is_cut_while_it_is_taken_up_ends_as_a_stop() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "0,1", "--name", "train"]);
    for point in points("by-hand") {
        rig.ok(&["stop", "alice/train"]);
        rig.stop_agent();
        // The agent has the port of a stopped berth while it runs.
        rig.docker(&["start", berth["container_id"].as_str().unwrap()]);
        let command = agent_that_dies(&rig, point);
        rig.start_agent_as(command);
        until(&format!("the agent's end at {point}"), PATIENCE, || rig.agent_ended().then_some(()));
        rig.kill_agent();
        rig.start_agent();
        wait_for_state(&rig, point, "alice/train", "stopped");
        assert!(rig.cards().iter().all(|card| card["free"] == true), "{point}");
        let live = rig.json(&["start", "alice/train"]);
        assert_eq!(
            (&live["state"], &live["container_id"]),
            (&json!("live"), &berth["container_id"]),
            "{point}"
        );
        rig.ssh_ok(&live, "true");
    }
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}

#[test]
fn a_berth_that_was_cut_while_it_moved_has_its_files_and_one_container() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "0", "--name", "train"]);
    rig.ssh_ok(&berth, "echo stays > /tmp/made");
    let mut has = berth;
    for point in points("move") {
        rig.ok(&["stop", "alice/train"]);
        let card = has["cards"][0].to_string();
        let other = rig.json(&["request", "--user", "bob", "--card-ids", &card, "--name", "other"]);
        die_at(&mut rig, point, &["start", "alice/train"]);
        wait_for_state(&rig, point, "alice/train", "stopped");
        has = rig.json(&["start", "alice/train"]);
        assert_eq!(has["state"], "live", "{point}");
        assert_ne!(has["cards"], other["cards"], "{point}");
        assert_eq!(rig.ssh_ok(&has, "cat /tmp/made").trim(), "stays", "{point}");
        let mut containers = rig.containers();
        containers.retain(|id| *id != other["container_id"]);
        assert_eq!(containers, [has["container_id"].as_str().unwrap()], "{point}");
        rig.ok(&["release", "bob/other"]);
    }
    // A release in the middle of it takes both containers.
    rig.ok(&["stop", "alice/train"]);
    let card = has["cards"][0].to_string();
    rig.json(&["request", "--user", "bob", "--card-ids", &card, "--name", "other"]);
    rig.stop_agent();
    let command = agent_that_dies(&rig, "move.exchanged");
    rig.start_agent_as(command);
    assert_ne!(rig.berth(&["start", "alice/train"]).code, 0);
    rig.kill_agent();
    rig.start_agent();
    rig.ok(&["release", "alice/train"]);
    rig.ok(&["release", "bob/other"]);
    rig.assert_nothing_left();
}

#[test]
fn a_berth_that_was_cut_on_its_way_back_comes_back() {
    if variable("BERTH_TEST_DOCKER").is_none() {
        return;
    }
    let mut engine = OwnEngine::start(&json!({}));
    let Some(mut rig) = Rig::with(Setup { docker: Some(engine.socket()), ..Setup::default() }) else {
        return;
    };
    let berth = rig.request(&["--card-ids", "2", "--name", "train"]);
    for point in points("return") {
        engine.stop();
        rig.kill_agent();
        let command = agent_that_dies(&rig, point);
        rig.start_agent_as(command);
        engine.start_again();
        until(&format!("the agent's end at {point}"), PATIENCE, || rig.agent_ended().then_some(()));
        rig.kill_agent();
        rig.start_agent();
        until(&format!("{point}: it is back"), PATIENCE, || {
            let shown = rig.json(&["show", "alice/train"]);
            (shown["state"] == "live" && shown["conditions"] == json!([])).then_some(())
        });
        assert!(rig.ssh(&berth, "true").status.success(), "{point}");
    }
}

#[test]
fn a_rename_that_is_cut_is_finished() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let container = berth["container_id"].as_str().unwrap().to_owned();
    for (point, (from, to)) in points("rename").into_iter().zip([("train", "two"), ("two", "three")]) {
        die_at(&mut rig, point, &["rename", &format!("alice/{from}"), to]);
        let name = || rig.inspect(&container)["Name"].as_str().unwrap().to_owned();
        until(&format!("{point}: its container's name"), PATIENCE, || {
            name().contains(&format!("-alice-{to}-")).then_some(())
        });
        let shown = rig.json(&["show", &format!("alice/{to}")]);
        assert_eq!((&shown["state"], &shown["conditions"]), (&json!("live"), &json!([])), "{point}");
        let said = rig.ssh_ok(&shown, "cat /opt/berth/info/cards.json");
        assert!(said.contains(&format!("alice/{to}")), "{point}: {said}");
    }
    rig.ok(&["release", "alice/three"]);
    rig.assert_nothing_left();
}

#[test]
fn an_image_of_a_berth_that_is_cut_is_whole_or_gone() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--cards", "0", "--name", "train"]);
    let images = |rig: &Rig| {
        let listed = rig.json(&["image", "list"]);
        let repository = format!("reference=berth-snapshot-{}", rig.instance);
        let tags = rig.docker(&["images", "-q", "--filter", &repository]);
        (listed["images"].as_array().unwrap().len() - 1, tags.lines().count())
    };
    for point in points("snapshot") {
        die_at(&mut rig, point, &["snapshot", "alice/train", "cut"]);
        until(&format!("{point}: nothing of it"), PATIENCE, || (images(&rig) == (0, 0)).then_some(()));
        assert_eq!(state(&rig, "alice/train"), "live", "{point}");
        // Until what was cut is cleared up, its name is taken.
        until(&format!("{point}: its name is free"), PATIENCE, || {
            (rig.berth(&["snapshot", "alice/train", "cut"]).code == 0).then_some(())
        });
        rig.ok(&["image", "remove", "alice/cut"]);
    }
    for point in points("unsnapshot") {
        rig.ok(&["snapshot", "alice/train", "cut"]);
        die_at(&mut rig, point, &["image", "remove", "alice/cut"]);
        until(&format!("{point}: nothing of it"), PATIENCE, || (images(&rig) == (0, 0)).then_some(()));
    }
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}
