//! Images that people make of their berths: what is in them, whose they are, and what a crash leaves.

use crate::machine::until;
use crate::rig::{ALICE, BOB, Rig, Setup};
use serde_json::{Value, json};
use std::time::Duration;

fn images(rig: &Rig) -> Vec<String> {
    let listed = rig.json(&["image", "list"]);
    listed["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().into()).collect()
}

/// What the engine has of this agent's.
fn tags(rig: &Rig) -> Vec<String> {
    let repository = format!("berth-snapshot-{}", rig.instance);
    let listed = rig.docker(&[
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        "--filter",
        &format!("reference={repository}"),
    ]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn an_image_of_a_berth_is_the_way_back() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "2,3", "--name", "train"]);
    rig.ssh_ok(&berth, "echo good > ~/state; echo mine > ~/work/file");
    let made = rig.json(&["snapshot", "alice/train", "before"]);
    assert_eq!(
        (&made["name"], &made["owner"], &made["default"]),
        (&json!("alice/before"), &json!("alice"), &json!(false))
    );
    let shown = rig.json(&["show", "alice/train"]);
    assert_eq!((&shown["state"], &shown["conditions"]), (&json!("live"), &json!([])), "it goes on");
    rig.ssh_ok(&berth, "echo bad > ~/state");

    // Nothing of the berth's labels and cards means anything in it.
    let config =
        rig.docker(&["image", "inspect", "--format", "{{json .Config}}", made["image_id"].as_str().unwrap()]);
    let config: Value = serde_json::from_str(&config).unwrap();
    let labels = config["Labels"].as_object().unwrap();
    assert!(
        labels.iter().filter(|(key, _)| key.starts_with("berth.")).all(|(_, value)| value == ""),
        "{labels:?}"
    );
    let env: Vec<&str> =
        config["Env"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(env.contains(&"ASCEND_VISIBLE_DEVICES=") && env.contains(&"BERTH_NAME="), "{env:?}");

    let back = rig.request(&["--cards", "1", "--name", "back", "--image", "before"]);
    assert_eq!((&back["image"], &back["ssh_user"]), (&json!("alice/before"), &berth["ssh_user"]));
    assert_eq!(
        rig.ssh_ok(&back, "cat ~/state ~/work/file; echo $BERTH_NAME; id -u"),
        "good\nmine\nback\n1000"
    );
    // Neither keys nor personal storage are in it.
    let id = made["image_id"].as_str().unwrap();
    let find = ["run", "--rm", "--network", "none", "--entrypoint", "/bin/busybox", id, "find"];
    assert_eq!(rig.docker(&[&find[..], &["/opt/berth", "-type", "f", "-size", "+0"]].concat()), "");
    assert_eq!(rig.docker(&[&find[..], &["/home/ma-user/work"]].concat()), "/home/ma-user/work");
    let inspected = rig.inspect(back["container_id"].as_str().unwrap());
    assert_eq!(inspected["Config"]["Labels"]["berth.name"], "back");
    // A snapshot of a berth that was made of one is as good.
    rig.ok(&["stop", "alice/back"]);
    rig.ok(&["snapshot", "alice/back", "second"]);
    rig.ok(&["start", "alice/back"]);
    let second = rig.request(&["--cards", "0", "--name", "again", "--image", "alice/second"]);
    assert_eq!(rig.ssh_ok(&second, "cat ~/state; id -u"), "good\n1000");

    // Its owner and administrators see what it offers; for others it is not there.
    let check = rig.json(&["image", "check", "alice/before"]);
    assert_eq!((&check["image"], &check["image_id"]), (&json!("alice/before"), &made["image_id"]));
    assert!(
        check["findings"].as_array().unwrap().iter().any(|finding| finding["id"] == "image.user"),
        "{check}"
    );
    for (own, name) in [(ALICE, "before"), (ALICE, "alice/before")] {
        let ran = rig.berth_as(own, &["image", "check", name, "--json"]);
        assert_eq!(
            serde_json::from_str::<Value>(&ran.out).unwrap()["findings"],
            check["findings"],
            "{ran:?}"
        );
    }
    let others = rig.refused_as(BOB, 2, &["image", "check", "alice/before"]);
    let nothing = rig.refused_as(BOB, 2, &["image", "check", "alice/beforf"]);
    assert_eq!(others.replace("before", "NAME"), nothing.replace("beforf", "NAME"));
    rig.refused_as(BOB, 2, &["image", "check", "before"]);
    rig.refused(2, &["image", "check", "alice/../x"]);

    let said = rig.refused(3, &["image", "remove", "alice/before"]);
    assert!(said.contains("berth alice/back is made of image alice/before"), "{said}");
    for name in ["alice/back", "alice/again", "alice/train"] {
        rig.ok(&["release", name]);
    }
    let ran = rig.berth_as(ALICE, &["image", "remove", "before"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    rig.ok(&["image", "remove", "alice/second"]);
    assert_eq!((images(&rig), tags(&rig)), (vec!["base".into()], vec![]));
    rig.assert_nothing_left();
}

#[test]
fn an_image_of_ones_own_is_nobody_elses() {
    let Some(rig) = Rig::with(Setup {
        profile: vec![("[berth]", "[berth]\nmax-snapshots = 2".into())],
        ..Setup::default()
    }) else {
        return;
    };
    let berth = rig.request(&["--cards", "0"]);
    rig.ok(&["snapshot", "alice/dev", "one"]);
    let list = |uid: u32| rig.berth_as(uid, &["image", "list"]).out;
    assert!(list(ALICE).contains("alice/one") && !list(BOB).contains("alice/one"));
    // What is somebody else's and what is not there get the same answer.
    let ask = |image: &str| rig.refused_as(BOB, 2, &["request", "--cards", "0", "--image", image]);
    assert!(ask("alice/one").starts_with("berth: there is no image \"alice/one\"\n"));
    assert!(ask("alice/none").starts_with("berth: there is no image \"alice/none\"\n"));
    ask("one");
    ask("../one");
    let remove = |image: &str| rig.refused_as(BOB, 2, &["image", "remove", image]);
    assert_eq!(remove("alice/one").replace("one", "none"), remove("alice/none"));
    rig.refused_as(BOB, 3, &["snapshot", "alice/dev", "mine"]);
    // An administrator may make a berth of it for somebody.
    rig.ok(&["request", "--user", "bob", "--cards", "0", "--image", "alice/one"]);
    rig.ok(&["release", "bob/dev"]);

    let said = rig.refused(3, &["snapshot", "alice/dev", "base"]);
    assert!(said.contains("image base is in the node's catalogue"), "{said}");
    let said = rig.refused(3, &["snapshot", "alice/dev", "one"]);
    assert!(said.contains("alice has an image one already"), "{said}");
    rig.ok(&["snapshot", "alice/dev", "two"]);
    let said = rig.refused(3, &["snapshot", "alice/dev", "three"]);
    assert!(said.contains("alice has 2 of 2 images: one, two"), "{said}");
    for wrong in ["", "a/b", "../x", "A", "a b"] {
        rig.refused(2, &["snapshot", "alice/dev", wrong]);
    }
    rig.refused(2, &["snapshot", "alice/nope", "three"]);
    // A later image of the catalogue of that name is the catalogue's.
    let reference = rig.reference("base");
    rig.ok(&["image", "add", "one", &reference]);
    let other = rig.request(&["--cards", "0", "--name", "other", "--image", "one"]);
    assert_eq!(other["image"], "one");
    assert_eq!(other["image_id"], berth["image_id"]);
    for name in ["alice/dev", "alice/other"] {
        rig.ok(&["release", name]);
    }
    for name in ["alice/one", "alice/two"] {
        rig.ok(&["image", "remove", name]);
    }
    assert_eq!(tags(&rig), Vec::<String>::new());
}

/// The agent is killed while Docker copies, at several moments: either it is made, or nothing of it is left.
#[test]
fn an_image_that_was_cut_off_leaves_nothing() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    rig.ssh_ok(&berth, "dd if=/dev/urandom of=big bs=1M count=48 2>&1");
    for after in [50, 150, 400, 800] {
        let mut asked = rig.command(&["snapshot", "alice/dev", "cut"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        rig.kill_agent();
        asked.wait().unwrap();
        rig.start_agent();
        let listed = || (images(&rig).contains(&"alice/cut".to_owned()), tags(&rig).len());
        until("a snapshot that is whole or gone", Duration::from_secs(30), || {
            matches!(listed(), (true, 1) | (false, 0)).then_some(())
        });
        eprintln!("killed after {after} ms: {:?}", listed());
        let shown = rig.json(&["show", "alice/dev"]);
        assert_eq!(shown["state"], "live");
        if listed().0 {
            rig.ok(&["image", "remove", "alice/cut"]);
        }
        // Docker may have gone on copying behind the agent's end.
        until("nothing of it", Duration::from_secs(90), || (listed() == (false, 0)).then_some(()));
    }
    // An image under such a name that the ledger does not know is nobody's.
    rig.kill_agent();
    let stray = format!("berth-snapshot-{}:4711", rig.instance);
    rig.docker(&["tag", &rig.reference("base"), &stray]);
    rig.start_agent();
    until("the stray image", Duration::from_secs(30), || tags(&rig).is_empty().then_some(()));
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
}
