//! A berth without a card: made while every card is taken, waits for nobody, and has nothing of the driver.

use crate::machine::until;
use crate::rig::{Rig, Setup};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_berth_without_a_card_is_made_at_once_and_has_no_device() {
    let Some(rig) = Rig::start() else { return };
    rig.ok(&["request", "--user", "bob", "--cards", "8", "--name", "all"]);
    let berth = rig.request(&["--cards", "0", "--name", "edit", "--wait", "1h"]);
    assert_eq!(
        (&berth["state"], &berth["cards"], &berth["size"], &berth["memory"]),
        (&json!("live"), &json!([]), &json!(0), &json!(64 << 20)),
        "a quarter of a card's share"
    );
    assert!(berth["until"].is_string(), "a lease as every berth has: {berth}");
    let container = berth["container_id"].as_str().unwrap();
    assert_eq!(rig.devices(container), Vec::<String>::new());
    let inside = rig.ssh_ok(&berth, "ls /dev; id -G; echo [$ASCEND_RT_VISIBLE_DEVICES]; touch ~/work/kept");
    assert!(!inside.contains("davinci") && inside.contains("[]"), "{inside}");
    let list = rig.ok(&["list"]);
    let row = list.lines().find(|line| line.contains("alice/edit")).unwrap();
    assert_eq!(row.split_whitespace().nth(2), Some("-"), "{list}");
    assert!(rig.ok(&["show", "alice/edit"]).contains("cards      none\n"));
    assert!(!rig.events().iter().any(|event| event["kind"] == "ticket.waits"));
    // What ended by itself comes back when its owner asks, though every card is taken.
    // Nobody's cards are needed to bring it back.
    rig.docker(&["kill", container]);
    until("its end is seen", Duration::from_secs(30), || {
        (rig.json(&["show", "alice/edit"])["conditions"][0]["code"] == "dead").then_some(())
    });
    rig.ok(&["start", "alice/edit"]);
    rig.ok(&["stop", "alice/edit"]);
    let again = rig.json(&["start", "alice/edit"]);
    assert_eq!((&again["state"], &again["cards"], &again["id"]), (&json!("live"), &json!([]), &berth["id"]));
    let said = rig.ok(&["release", "alice/edit"]);
    assert_eq!(said, "alice/edit is released\n");
    rig.ok(&["release", "bob/all"]);
    rig.assert_nothing_left();
}

#[test]
fn an_npu_smi_that_hangs_delays_no_berth_without_a_card() {
    let Some(rig) = Rig::with(Setup {
        config: vec![("[tools]", "npu-smi-timeout = \"20s\"".into())],
        ..Setup::default()
    }) else {
        return;
    };
    rig.ok(&["sim", "fault", "--hang"]);
    let began = std::time::Instant::now();
    let berth = rig.request(&["--cards", "0"]);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(berth["state"], "live");
    rig.ok(&["sim", "clear"]);
}
