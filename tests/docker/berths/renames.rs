//! A berth that gets another name: what follows at once, what keeps the old one, and what a crash in between leaves.

use crate::machine::until;
use crate::rig::{ALICE, BOB, Rig};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_berth_gets_another_name_while_it_runs() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    rig.request(&["--cards", "1", "--name", "other"]);
    rig.ok(&["request", "--user", "bob", "--cards", "1", "--name", "train"]);
    let container = berth["container_id"].as_str().unwrap();
    let started = rig.inspect(container)["State"]["StartedAt"].clone();

    let said = rig.refused(3, &["rename", "alice/dev", "other"]);
    assert!(said.contains("alice has a berth other already"), "{said}");
    for wrong in ["", "../x", "A", "-x", "a b", &"n".repeat(33)] {
        let said = rig.refused(2, &["rename", "alice/dev", wrong]);
        assert!(said.contains("cannot be used; use 1 to 32"), "{said}");
    }
    let said = rig.refused_as(BOB, 3, &["rename", "alice/dev", "mine"]);
    assert!(said.contains("alice's berths are not yours"), "{said}");
    rig.refused(2, &["rename", "alice/nope", "new"]);

    // Another owner's berth of that name is no hindrance.
    let ran = rig.berth_as(ALICE, &["rename", "dev", "train"]);
    assert!(ran.code == 0 && ran.out == "dev is now alice/train\n", "{ran:?}");
    let renamed = rig.json(&["show", "alice/train"]);
    for same in ["id", "port", "host_key", "container_id", "state", "until", "cards"] {
        assert_eq!(renamed[same], berth[same], "{same}");
    }
    rig.refused(2, &["show", "alice/dev"]);
    let inspected = rig.inspect(container);
    assert!(inspected["Name"].as_str().unwrap().contains("-alice-train-"), "{}", inspected["Name"]);
    assert_eq!(inspected["State"]["StartedAt"], started, "it was not restarted");
    let inside =
        rig.ssh_ok(&renamed, "hostname; grep -c alice/train /opt/berth/info/cards.json; echo $BERTH_NAME");
    assert_eq!(inside, "dev\n1\ndev", "the hostname stays, and the variable until the next start");
    assert!(rig.ok(&["ssh-config", "alice/train"]).contains("berth-alice-train"));
    let logs = rig.ok(&["logs", "alice/train"]);
    for kind in ["berth.requested", "berth.renamed"] {
        assert!(logs.contains(kind), "{logs}");
    }
    // The name is free for another one.
    rig.request(&["--cards", "1", "--name", "dev"]);
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["rename", "alice/train", "again"]);
    let back = rig.json(&["start", "alice/again"]);
    assert_eq!((&back["state"], &back["container_id"]), (&json!("live"), &berth["container_id"]));
    assert_eq!(rig.ssh_ok(&back, "echo $BERTH_NAME"), "again");
    for name in ["alice/again", "alice/dev", "alice/other", "bob/train"] {
        rig.ok(&["release", name]);
    }
    rig.assert_nothing_left();
}

/// The ledger has the new name, and the agent died before anything followed.
#[test]
fn a_rename_that_was_cut_off_is_completed() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let container = berth["container_id"].as_str().unwrap().to_owned();
    let name =
        |rig: &Rig| rig.inspect(&container)["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let old = name(&rig);
    rig.ok(&["rename", "alice/dev", "train"]);
    let new = name(&rig);
    assert_ne!(old, new);
    rig.kill_agent();
    rig.docker(&["rename", &new, &old]);
    let cards = rig.path(&format!("state/berths/{}/info/cards.json", berth["id"]));
    std::fs::write(&cards, std::fs::read_to_string(&cards).unwrap().replace("alice/train", "alice/dev"))
        .unwrap();
    rig.start_agent();
    until("the container's name", Duration::from_secs(20), || (name(&rig) == new).then_some(()));
    assert!(std::fs::read_to_string(&cards).unwrap().contains("alice/train"));
    assert!(!rig.events().iter().any(|event| event["kind"] == "container.unknown"), "{:?}", rig.events());
    let shown = rig.json(&["show", "alice/train"]);
    assert_eq!((&shown["state"], &shown["conditions"]), (&json!("live"), &json!([])));
    // Logins after it are told once, under the new name.
    rig.ssh_ok(&shown, "true");
    let logins = |name: &str| {
        rig.events().iter().filter(|event| event["kind"] == "ssh.login" && event["berth"] == name).count()
    };
    until("the login", Duration::from_secs(20), || (logins("train") == 1).then_some(()));
    assert_eq!(logins("dev"), 0);
    rig.ok(&["release", "alice/train"]);
    rig.assert_nothing_left();
}
