//! A berth that is stopped and started: what it gives back, what it keeps, and what becomes of it when something fails.

use crate::machine::{both, until};
use crate::rig::Rig;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_stopped_berth_gives_its_cards_back_and_comes_again_as_it_was() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "2", "--name", "train"]);
    rig.ssh_ok(&berth, "echo kept > ~/mine; echo stays > /tmp/made");
    let said = rig.ok(&["stop", "alice/train"]);
    assert!(said.contains("alice/train is stopped; its cards are free"), "{said}");
    let stopped = rig.json(&["show", "alice/train"]);
    assert_eq!(
        (
            &stopped["state"],
            &stopped["cards"],
            &stopped["size"],
            &stopped["until"],
            &stopped["stop"]["reason"]
        ),
        (&json!("stopped"), &json!([]), &json!(2), &json!(null), &json!("asked"))
    );
    assert!(rig.cards().iter().all(|card| card["free"] == true));
    assert!(rig.ok(&["show", "alice/train"]).contains("cards      none; it had 2"));
    // Whoever comes to its port hears why it is not there, if they have a key of its owner's: no client warns. Its name is taken.
    until("an answer on its port", Duration::from_secs(20), || {
        let said = both(&rig.ssh(&berth, "true"));
        (said.contains("alice/train was stopped at ") && said.contains("start it: berth start train"))
            .then_some(())
    });
    let key = rig.key("bob");
    let stranger = rig.ssh_with(&berth, &key, "true");
    assert!(
        !stranger.status.success() && both(&stranger).contains("Permission denied (publickey)"),
        "{stranger:?}"
    );
    assert!(!both(&stranger).contains("alice/train"), "{stranger:?}");
    let said = rig.refused(3, &["request", "--user", "alice", "--name", "train", "--cards", "1"]);
    assert!(said.contains("alice has a berth train already"), "{said}");
    let said = rig.refused(3, &["renew", "alice/train"]);
    assert!(said.contains("alice/train is stopped and has no lease to renew"), "{said}");
    assert!(rig.ok(&["stop", "alice/train"]).contains("is stopped"), "once more is the same");

    let again = rig.json(&["start", "alice/train", "--lease", "2h"]);
    for same in ["id", "cards", "port", "host_key", "container_id"] {
        assert_eq!(again[same], berth[same], "{same}");
    }
    assert_eq!(
        (&again["state"], &again["lease"], &again["stop"]),
        (&json!("live"), &json!(7200), &json!(null))
    );
    assert_eq!(rig.ssh_ok(&again, "cat ~/mine /tmp/made").trim(), "kept\nstays");
    assert!(!rig.log().contains("still answers on a port"));
    assert_eq!(
        rig.devices(again["container_id"].as_str().unwrap()),
        rig.devices(berth["container_id"].as_str().unwrap())
    );
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}

#[test]
fn a_container_that_is_started_by_hand_is_taken_up_where_nobody_else_has_its_cards() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "2,3", "--name", "train"]);
    rig.ssh_ok(&berth, "echo stays > /tmp/made");
    let container = berth["container_id"].as_str().unwrap();
    let start_by_hand = |rig: &mut Rig| {
        // The agent has the port of a stopped berth while it runs.
        rig.stop_agent();
        rig.docker(&["start", container]);
        rig.start_agent();
    };
    rig.ok(&["stop", "alice/train"]);
    start_by_hand(&mut rig);
    let live = until("it to be live", Duration::from_secs(30), || {
        Some(rig.json(&["show", "alice/train"])).filter(|berth| berth["state"] == "live")
    });
    for same in ["id", "cards", "port", "host_key", "container_id"] {
        assert_eq!(live[same], berth[same], "{same}");
    }
    assert!(live["until"].is_string(), "{live}");
    assert_eq!(rig.ssh_ok(&live, "cat /tmp/made").trim(), "stays");

    // Its cards were given to somebody else: it is told of, and goes on without being the berth.
    rig.ok(&["stop", "alice/train"]);
    let other = rig.json(&["request", "--user", "bob", "--card-ids", "3", "--name", "other"]);
    start_by_hand(&mut rig);
    let told = |rig: &Rig| {
        let events = rig.events().into_iter().filter(|event| event["kind"] == "berth.started-by-hand");
        events.map(|event| event["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the event", Duration::from_secs(30), || (!told(&rig).is_empty()).then_some(()));
    let said = &told(&rig)[0];
    assert!(
        said.contains("alice/train's container was started by hand, and is not taken up: card 3"),
        "{said}"
    );
    assert_eq!(rig.json(&["show", "alice/train"])["state"], "stopped");
    assert_eq!(rig.inspect(container)["State"]["Running"], true);
    until("bob to be told", Duration::from_mins(1), || {
        let other = rig.json(&["show", "bob/other"]);
        other["conditions"].as_array().unwrap().iter().any(|one| one["code"] == "card-taken").then_some(())
    });
    assert_eq!(rig.ssh_with(&other, &rig.key("bob"), "true").status.code(), Some(0));
    assert_eq!(told(&rig).len(), 1, "once");
    rig.ok(&["release", "alice/train"]);
    rig.ok(&["release", "bob/other"]);
    rig.assert_nothing_left();
}
