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
