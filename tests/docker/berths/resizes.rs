//! A stopped berth that gets another number of cards: at its next start it has them, and all of its files.

use crate::machine::until;
use crate::rig::{BOB, Rig};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

fn start(rig: &Rig, cards: usize) -> Value {
    let live = rig.json(&["start", "alice/train"]);
    assert_eq!(live["cards"].as_array().unwrap().len(), cards, "{live}");
    assert_eq!(rig.ssh_ok(&live, "cat /tmp/made ~/work/file"), "stays\nmine");
    live
}

#[test]
fn a_berth_gets_more_cards_and_none_and_keeps_its_files() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    rig.ssh_ok(&berth, "echo stays > /tmp/made; echo mine > ~/work/file");
    let said = rig.refused(3, &["resize", "alice/train", "--cards", "4"]);
    assert!(said.contains("alice/train is live; a berth gets another size while it is stopped"), "{said}");
    assert!(said.contains("berth stop alice/train; berth resize alice/train --cards 4"), "{said}");
    rig.ok(&["stop", "alice/train"]);
    for wrong in ["9", "-1"] {
        let said = rig.refused(2, &["resize", "alice/train", "--cards", wrong]);
        assert!(said.contains(&format!("{wrong} cards cannot be asked for")), "{said}");
    }
    rig.refused_as(BOB, 3, &["resize", "alice/train", "--cards", "2"]);
    rig.refused(2, &["resize", "alice/nope", "--cards", "2"]);

    let said = rig.ok(&["resize", "alice/train", "--cards", "4"]);
    assert_eq!(said, "alice/train has 4 cards from its next start on\n");
    assert!(rig.cards().iter().all(|card| card["free"] == true), "it holds none until then");
    let live = start(&rig, 4);
    for same in ["id", "port", "host_key"] {
        assert_eq!(live[same], berth[same], "{same}");
    }
    let memory =
        |live: &Value| rig.inspect(live["container_id"].as_str().unwrap())["HostConfig"]["Memory"].clone();
    assert_eq!((&live["memory"], memory(&live)), (&json!(1 << 30), json!(1 << 30)), "four times 256 MiB");
    let nodes = rig.devices(live["container_id"].as_str().unwrap());
    assert_eq!(
        nodes.iter().filter(|node| node.starts_with("/dev/davinci") && !node.contains('_')).count(),
        4
    );
    assert_eq!(rig.ssh_ok(&live, "echo $ASCEND_RT_VISIBLE_DEVICES"), "0,1,2,3");

    // To none, while all of them are somebody else's.
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["request", "--user", "bob", "--cards", "8"]);
    rig.ok(&["resize", "alice/train", "--cards", "0"]);
    let live = start(&rig, 0);
    assert_eq!(rig.devices(live["container_id"].as_str().unwrap()), Vec::<String>::new());
    assert_eq!(memory(&live), json!(64 << 20));
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["resize", "alice/train", "--cards", "2"]);
    let said = rig.refused(7, &["start", "alice/train"]);
    assert!(said.contains("2 cards are asked for and none is free"), "{said}");
    rig.ok(&["release", "bob/dev"]);
    // A new name meanwhile is no hindrance.
    rig.ok(&["rename", "alice/train", "other"]);
    rig.ok(&["rename", "alice/other", "train"]);
    start(&rig, 2);
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}

#[test]
fn a_berth_asks_for_certain_cards_at_its_next_start_alone() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    assert_eq!(berth["cards"], json!([0]));
    rig.ssh_ok(&berth, "echo stays > /tmp/made; echo mine > ~/work/file");
    let said = rig.refused(3, &["resize", "alice/train", "--card-ids", "5,2"]);
    assert!(said.contains("berth resize alice/train --card-ids 5,2"), "{said}");
    rig.ok(&["stop", "alice/train"]);
    for (wrong, why) in [
        ("8", "there is no card 8; this node has 0"),
        ("-1", "there is no card -1"),
        ("3,3", "card 3 is named twice"),
    ] {
        let said = rig.refused(2, &["resize", "alice/train", "--card-ids", wrong]);
        assert!(said.contains(why), "{said}");
    }
    rig.refused_as(BOB, 3, &["resize", "alice/train", "--card-ids", "2"]);

    let said = rig.ok(&["resize", "alice/train", "--card-ids", "5,2"]);
    assert_eq!(said, "alice/train has cards 2,5 from its next start on\n");
    assert_eq!(rig.json(&["show", "alice/train"])["next_cards"], json!([2, 5]));
    let shown = rig.ok(&["show", "alice/train"]);
    assert!(shown.contains("none; its next start asks for cards 2,5"), "{shown}");
    let live = start(&rig, 2);
    assert_eq!((&live["cards"], &live["next_cards"]), (&json!([2, 5]), &Value::Null));
    assert_eq!(live["memory"], json!(512 << 20), "two times 256 MiB");

    // Somebody has one of them: others would be free, and are not what was asked for.
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["request", "--user", "bob", "--card-ids", "6"]);
    rig.ok(&["resize", "alice/train", "--card-ids", "6,7"]);
    let said = rig.refused(7, &["start", "alice/train", "--nonblock"]);
    assert!(said.contains("card 6 is held by berth bob/dev"), "{said}");
    let mut waits = rig
        .command(&["start", "alice/train", "--wait", "5m", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let queued = until("its place in the queue", Duration::from_secs(30), || {
        let waiting = rig.json(&["queue"])["waiting"].as_array().unwrap().clone();
        waiting.first().cloned()
    });
    assert_eq!(queued["wish"], json!({"ids": [6, 7]}));
    rig.ok(&["release", "bob/dev"]);
    assert!(waits.wait().unwrap().success());
    let live = rig.json(&["show", "alice/train"]);
    assert_eq!(live["cards"], json!([6, 7]));
    assert_eq!(rig.ssh_ok(&live, "cat /tmp/made ~/work/file"), "stays\nmine");

    // A number is any of them again, and the next start after that is as every other.
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["resize", "alice/train", "--card-ids", "0"]);
    rig.ok(&["resize", "alice/train", "--cards", "2"]);
    assert_eq!(rig.json(&["show", "alice/train"])["next_cards"], Value::Null);
    assert_eq!(start(&rig, 2)["cards"], json!([6, 7]), "those that it had");
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}
