//! Which cards a request gets, and what a refusal says: who holds a card, until when, or what is wrong with it.

use crate::machine::until;
use crate::rig::{ALICE, Ran, Rig, Setup};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

#[test]
fn cards_are_chosen_near_each_other_and_never_twice() {
    let Some(rig) = Rig::start() else { return };
    let cards = |name: &str, count: &str| rig.request(&["--cards", count, "--name", name])["cards"].clone();
    assert_eq!(cards("a", "1"), json!([0]));
    assert_eq!(cards("b", "4"), json!([4, 5, 6, 7]), "the half that is whole");
    assert_eq!(cards("c", "2"), json!([1, 2]));
    let said = rig.refused(7, &["request", "--user", "bob", "--cards", "2"]);
    assert!(
        said.contains(
            "2 cards are asked for and only card 3 is free: card 0 is held by berth alice/a until 20"
        )
    );
    assert!(said.contains("help: `--wait 30m` waits for cards"), "{said}");
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "3,5"]);
    assert!(
        said.starts_with("berth: card 5 is held by berth alice/b until 20") && said.contains("(in 8h)"),
        "{said}"
    );
    assert_eq!(rig.json(&["request", "--user", "bob", "--cards", "1"])["cards"], json!([3]));
    let said = rig.refused(7, &["request", "--user", "bob", "--cards", "1", "--name", "more"]);
    assert!(said.contains("1 card is asked for and none is free"), "{said}");
    rig.ok(&["release", "alice/c"]);
    assert_eq!(rig.request(&["--card-ids", "2", "--name", "d"])["cards"], json!([2]));
}

#[test]
fn a_sick_or_missing_card_is_not_given_out() {
    let Some(rig) = Rig::with(Setup {
        config: vec![("[tools]", "npu-smi-timeout = \"2s\"\nnpu-smi-max-age = \"0s\"".into())],
        ..Setup::default()
    }) else {
        return;
    };
    rig.ok(&["sim", "fault", "--health", "3=alarm", "--health", "4=warning", "--missing", "6"]);
    let said = rig.refused(3, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(said.contains("berth: card 3 cannot be used: its health is alarm\n"), "{said}");
    let said = rig.refused(3, &["request", "--user", "alice", "--card-ids", "5,6"]);
    assert!(said.starts_with("berth: card 6 cannot be used: npu-smi does not list it\n"), "{said}");
    let said = rig.refused(7, &["request", "--user", "alice", "--cards", "7"]);
    assert!(
        said.contains("only cards 0,1,2,4,5,7 are free") && said.contains("card 3 cannot be used"),
        "{said}"
    );
    let card = |id: usize| rig.cards()[id].clone();
    assert_eq!(
        (card(3)["health"].clone(), card(3)["unusable"].clone()),
        (json!("alarm"), json!("its health is alarm"))
    );
    assert_eq!(card(6)["health"], Value::Null);
    let free: Vec<Value> = rig.cards().iter().map(|card| card["free"].clone()).collect();
    assert_eq!(
        json!(free),
        json!([true, true, true, false, true, true, false, true]),
        "as its help's example reads it"
    );
    assert_eq!(
        rig.request(&["--cards", "6"])["cards"],
        json!([0, 1, 2, 4, 5, 7]),
        "a warning does not stop work"
    );

    rig.ok(&["release", "alice/dev"]);
    rig.ok(&["sim", "clear"]);
    std::fs::remove_file(rig.path("state/sim/dev/davinci1")).unwrap();
    let said = rig.refused(3, &["request", "--user", "alice", "--card-ids", "1"]);
    assert!(said.contains("card 1 cannot be used: its device node davinci1 is not there"), "{said}");
    assert!(rig.ok(&["cards"]).contains("not given out: its device node"));
}

#[test]
fn a_tool_that_cannot_look_is_no_reason_to_give_cards_out() {
    let Some(rig) = Rig::with(Setup {
        config: vec![("[tools]", "npu-smi-timeout = \"1s\"\nnpu-smi-max-age = \"0s\"".into())],
        ..Setup::default()
    }) else {
        return;
    };
    for (fault, text) in [("--hang", "within 1s"), ("--no-driver", "-8005"), ("--device-used", "-8020")] {
        rig.ok(&["sim", "fault", fault]);
        let said = rig.refused(5, &["request", "--user", "alice", "--cards", "1"]);
        assert!(said.contains("berth: the cards cannot be given out: "), "{fault}: {said}");
        assert!(said.contains("help: "), "{fault}: {said}");
        let cards = rig.berth(&["cards"]);
        assert_eq!(cards.code, 5, "{cards:?}");
        assert!(cards.err.starts_with("berth: the cards could not be looked at"), "{cards:?}");
        assert_eq!(cards.out.matches("not given out 1)").count(), 8, "one sentence is said once: {cards:?}");
        assert!(
            !cards.out.contains("free"),
            "{fault}: a card that was not looked at is not free: {}",
            cards.out
        );
        let json = rig.berth(&["cards", "--json"]);
        assert_eq!(json.code, 5, "{json:?}");
        let json: Value = serde_json::from_str(&json.out).unwrap();
        assert!(json["cards"].as_array().unwrap().iter().all(|card| card["free"] == false), "{json}");
        let error = json["error"].clone();
        assert!(format!("{error}{said}").contains(text), "{fault}: {error} {said}");
        rig.ok(&["sim", "clear"]);
    }
    rig.ok(&["sim", "fault", "--no-queries"]);
    assert_eq!(rig.request(&["--cards", "1"])["state"], "live", "what is optional is not needed");
}

/// A request that waits, told apart from others by its berth's name.
fn waiting(rig: &Rig, name: &str, cards: &[&str]) -> Child {
    let args = [&["request", "--user", "bob", "--name", name, "--wait", "60s", "--json"], cards].concat();
    let log = std::fs::File::create(rig.path(&format!("wait-{name}"))).unwrap();
    let child = rig.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    until("somebody waits", Duration::from_secs(20), || {
        let said = std::fs::read_to_string(rig.path(&format!("wait-{name}"))).unwrap();
        said.contains("waiting for cards").then_some(())
    });
    child
}

#[test]
fn who_waits_gets_the_card_when_it_comes_free() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--cards", "8", "--name", "all"]);
    let child = waiting(&rig, "patient", &["--card-ids", "4"]);
    let mut impatient = waiting(&rig, "impatient", &["--card-ids", "5"]);
    // Whoever hangs up while waiting gets nothing later.
    impatient.kill().unwrap();
    impatient.wait().unwrap();
    let begun = Instant::now();
    rig.ok(&["release", "alice/all"]);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}\n{}", rig.log());
    assert!(begun.elapsed() < Duration::from_secs(30), "it was told, and did not only look now and then");
    let berth: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&berth["owner"], &berth["cards"]), (&json!("bob"), &json!([4])));
    assert_eq!(rig.berths().len(), 1);
    // Somebody else gets that card at once: nothing is reserved for a dead client.
    assert_eq!(rig.request(&["--card-ids", "5", "--name", "next"])["cards"], json!([5]));
    let all = rig.json(&["list", "--all"]);
    assert!(all["berths"].as_array().unwrap().iter().all(|berth| berth["name"] != "impatient"), "{all}");
}

#[test]
fn who_waits_often_does_not_hold_others_up() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "0", "--name", "held"]);
    let mut waits: Vec<Child> =
        ["w1", "w2", "w3", "w4"].iter().map(|name| waiting(&rig, name, &["--cards", "8"])).collect();
    let said = rig.refused(7, &["request", "--user", "bob", "--cards", "8", "--name", "w5", "--wait", "60s"]);
    assert!(said.contains("4 requests of bob wait already"), "{said}");
    // Not a promise about time: each of the four looks again all the while, and this one is served beside them.
    assert_eq!(rig.request(&["--cards", "1", "--name", "served"])["state"], "live");
    for child in &mut waits {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    until("a place to wait", Duration::from_secs(20), || {
        let ran = rig.berth(&["request", "--user", "bob", "--cards", "8", "--name", "w6", "--wait", "1s"]);
        ran.err.contains("nobody gave enough of them back").then_some(())
    });
}

#[test]
fn a_wait_has_an_end() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "0", "--name", "held"]);
    let begun = Instant::now();
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "0", "--wait", "1s"]);
    assert!(said.contains("help: nobody gave enough of them back") && !said.contains("--wait"), "{said}");
    assert!(begun.elapsed() >= Duration::from_secs(1) && said.contains("alice/held"), "{said}");
}

#[test]
fn whoever_hangs_up_while_a_berth_is_made_has_none() {
    let Some(rig) = Rig::start() else { return };
    let args = ["request", "--user", "alice", "--cards", "2"];
    let log = std::fs::File::create(rig.path("asked")).unwrap();
    let mut child = rig.command(&args).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until("the work on it", Duration::from_secs(20), || {
        std::fs::read_to_string(rig.path("asked")).unwrap().contains("creating container").then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("nothing is left of it", Duration::from_secs(20), || rig.berths().is_empty().then_some(()));
    rig.assert_nothing_left();
    let ended = rig.json(&["list", "--all"])["berths"][0].clone();
    assert_eq!(ended["state"], "undone");
    assert_eq!(ended["note"], "whoever asked has hung up, so it was undone");
}

#[test]
fn many_at_once_never_share_a_card() {
    let Some(rig) = Rig::start() else { return };
    // Eight cards, twelve people.
    let children: Vec<Child> = (0..12)
        .map(|number| {
            let name = format!("w{number}");
            let args = ["request", "--user", "alice", "--cards", "1", "--name", &name];
            rig.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ran: Vec<Ran> =
        children.into_iter().map(|child| Ran::of(&child.wait_with_output().unwrap())).collect();
    let codes = |code: i32| ran.iter().filter(|ran| ran.code == code).count();
    assert_eq!((codes(0), codes(7)), (8, 4), "{ran:#?}\n{}", rig.log());
    let berths = rig.berths();
    let mut cards: Vec<i64> = berths.iter().map(|berth| berth["cards"][0].as_i64().unwrap()).collect();
    let mut ports: Vec<i64> = berths.iter().map(|berth| berth["port"].as_i64().unwrap()).collect();
    cards.sort_unstable();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((cards, ports.len()), ((0..8).collect(), 8));
    for berth in &berths {
        let card = format!("/dev/davinci{}", berth["cards"][0]);
        let devices = rig.devices(berth["container_id"].as_str().unwrap());
        let davinci: Vec<&String> = devices
            .iter()
            .filter(|name| name.starts_with("/dev/davinci") && !name.ends_with("manager"))
            .collect();
        assert_eq!(davinci, [&card]);
    }
}

#[test]
fn a_second_berth_without_a_name_is_numbered() {
    let Some(rig) = Rig::start() else { return };
    let names: Vec<Value> = (0..3).map(|_| rig.request(&["--cards", "1"])["name"].clone()).collect();
    assert_eq!(names, ["dev", "dev-2", "dev-3"]);
    let own = rig.berth_as(ALICE, &["list"]);
    assert_eq!(own.out.matches("alice/dev").count(), 3, "{own:?}");
}
