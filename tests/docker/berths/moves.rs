//! A stopped berth whose cards somebody else has by now is started on others, with all of its files.

use crate::rig::Rig;
use serde_json::{Value, json};

fn inode(rig: &Rig, container: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = rig.inspect(container)["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap().to_owned();
    std::fs::metadata(files).unwrap().ino()
}

#[test]
fn a_berth_is_started_on_other_cards_with_the_files_that_it_had() {
    let Some(rig) = Rig::start() else { return };
    let before = rig.request(&["--card-ids", "0,1", "--name", "train", "--memory", "256MiB"]);
    let made = "echo kept > ~/mine; echo stays > /tmp/made; rm /etc/motd 2>/dev/null; mkdir /tmp/dir";
    rig.ssh_ok(&before, made);
    let old = before["container_id"].as_str().unwrap().to_owned();
    let files = inode(&rig, &old);
    rig.ok(&["stop", "alice/train"]);
    rig.ok(&["request", "--user", "bob", "--card-ids", "1", "--name", "other"]);

    let after = rig.json(&["start", "alice/train"]);
    for same in ["id", "name", "port", "host_key", "image_id", "memory", "size"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!((&after["state"], &after["conditions"]), (&json!("live"), &json!([])));
    let cards: Vec<&Value> = after["cards"].as_array().unwrap().iter().collect();
    assert!(cards.len() == 2 && !cards.contains(&&json!(1)), "{cards:?}");
    let new = after["container_id"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(inode(&rig, new), files, "nothing was copied");
    assert_eq!(rig.containers().len(), 2, "the old container is gone: {:?}", rig.containers());
    let name = rig.inspect(new)["Name"].as_str().unwrap().to_owned();
    assert!(name.ends_with(&format!("alice-train-{}", before["id"])), "{name}");
    let devices = rig.devices(new);
    for card in &cards {
        assert!(devices.contains(&format!("/dev/davinci{card}")), "{devices:?}");
    }
    assert_eq!(rig.ssh_ok(&after, "cat ~/mine /tmp/made; ls -d /tmp/dir").trim(), "kept\nstays\n/tmp/dir");
    let said = rig.ssh_ok(&after, "echo $BERTH_HOST_CARDS; cat /opt/berth/info/cards.json");
    let joined = cards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert!(
        said.starts_with(&format!("{joined}\n")) && said.contains(&format!("\"host\": {}", cards[1])),
        "{said}"
    );
    assert_eq!(rig.inspect(new)["HostConfig"]["Memory"], json!(256 << 20));

    // And back again: its own cards are preferred where they are free.
    rig.ok(&["stop", "alice/train"]);
    let again = rig.json(&["start", "alice/train"]);
    assert_eq!((&again["container_id"], &again["cards"]), (&after["container_id"], &after["cards"]));
    rig.ok(&["release", "alice/train"]);
    rig.ok(&["release", "bob/other"]);
    rig.assert_nothing_left();
}

#[test]
fn a_start_that_waits_gets_whichever_cards_are_free_first() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "0", "--name", "train"]);
    rig.ok(&["stop", "alice/train"]);
    let all = rig.json(&["request", "--user", "bob", "--cards", "8", "--name", "all"]);
    let said = rig.refused(7, &["start", "alice/train"]);
    assert!(said.contains("--wait"), "{said}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.json(&["start", "alice/train", "--wait", "1m"]));
        crate::machine::until("its ticket", std::time::Duration::from_secs(20), || {
            (rig.json(&["queue"])["waiting"][0]["berth"] == "train").then_some(())
        });
        rig.ok(&["release", "bob/all"]);
        let started = waiting.join().unwrap();
        assert_eq!((&started["state"], &started["cards"]), (&json!("live"), &json!([0])));
    });
    assert_eq!(all["size"], 8);
}
