//! What is wrong with a live berth is seen soon, told to its owner, and over when it is over.

use crate::machine::{both, until};
use crate::rig::{ALICE, BOB, Rig, STRANGER};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A berth that died is noticed within this time, also on a busy machine.
const SOON: Duration = Duration::from_secs(2);
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

fn codes(rig: &Rig, berth: &str) -> Vec<Value> {
    let shown = rig.json(&["show", berth]);
    shown["conditions"].as_array().unwrap().iter().map(|condition| condition["code"].clone()).collect()
}

pub(super) fn wait_for(rig: &Rig, berth: &str, wanted: &[&str], limit: Duration) {
    until(&format!("{berth} to be {wanted:?}"), limit, || (codes(rig, berth) == wanted).then_some(()));
}

/// Events about a berth's conditions, as their kinds.
pub(super) fn told(rig: &Rig) -> Vec<String> {
    let events = rig.events().into_iter().map(|event| event["kind"].as_str().unwrap().to_owned());
    let about = |kind: &String| {
        kind.starts_with("berth.")
            && !["requested", "live", "releasing", "released", "renewed"]
                .iter()
                .any(|end| kind.ends_with(end))
    };
    events.filter(about).collect()
}

#[test]
fn a_berth_that_dies_or_stands_still_is_noticed_at_once() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let container = berth["container_id"].as_str().unwrap();
    assert_eq!(berth["conditions"], json!([]));

    rig.docker(&["pause", container]);
    wait_for(&rig, "alice/dev", &["paused"], SOON);
    rig.docker(&["unpause", container]);
    wait_for(&rig, "alice/dev", &[], SOON);

    for end in [&["kill", container][..], &["stop", "-t", "5", container]] {
        rig.docker(end);
        let began = Instant::now();
        wait_for(&rig, "alice/dev", &["dead"], SOON);
        assert!(began.elapsed() < SOON, "{end:?}: {:?}", began.elapsed());
        rig.docker(&["start", container]);
        wait_for(&rig, "alice/dev", &[], SOON);
    }

    rig.docker(&["kill", container]);
    wait_for(&rig, "alice/dev", &["dead"], SOON);
    let condition = rig.json(&["show", "alice/dev"])["conditions"][0].clone();
    assert_eq!(condition["detail"], "it ended with status 137");
    let since: jiff::Timestamp = condition["since"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(since).as_secs() < 60, "{condition}");
    assert!(rig.ok(&["list"]).contains("its container does not run (it ended with status 137)"));
    let renewed = rig.berth(&["renew", "alice/dev"]);
    assert!(renewed.code == 0 && renewed.err.contains("but its container does not run"), "{renewed:?}");
    assert!(renewed.err.contains("berth release"), "{renewed:?}");
    let life = ["paused", "recovered", "dead", "recovered", "dead", "recovered", "dead"];
    assert_eq!(told(&rig), life.map(|kind| format!("berth.{kind}")));
    // Its owner hears of it, and nobody else.
    let events = |uid: u32| rig.berth_as(uid, &["events", "--last", "1000"]);
    assert!(events(ALICE).out.contains("berth.dead"), "{:?}", events(ALICE));
    assert!(!events(BOB).out.contains("berth.dead") && events(STRANGER).code != 0);

    rig.docker(&["rm", container]);
    wait_for(&rig, "alice/dev", &["gone"], SOON);
    assert_eq!(told(&rig).last().unwrap(), "berth.gone", "a container that goes does not run again");
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
    assert_eq!(rig.json(&["list", "--all"])["berths"][0]["conditions"], json!([]));
}

#[test]
fn cards_under_a_live_berth_are_watched() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "2,3"]);
    rig.ok(&["sim", "fault", "--health", "3=alarm"]);
    // Somebody takes the other one beside berth.
    let node = rig.path("state/sim/dev/davinci2").display().to_string();
    let stray = rig.foreign("taker", &["--device", &node]);
    wait_for(&rig, "alice/dev", &["card-taken", "card-alarm"], PATIENCE);
    let alarm = rig.json(&["show", "alice/dev"])["conditions"][1].clone();
    assert_eq!((&alarm["cards"], &alarm["detail"]), (&json!([3]), &json!("its health is alarm")));
    assert!(rig.ok(&["list"]).contains(&format!("card 2 is taken by somebody else (container {stray}")));
    let own = rig.berth_as(ALICE, &["events", "--last", "1000"]);
    assert!(own.out.contains("berth.card-alarm") && own.out.contains("berth.card-taken"), "{own:?}");
    rig.ok(&["sim", "clear"]);
    rig.docker(&["rm", "-f", &stray]);
    wait_for(&rig, "alice/dev", &[], PATIENCE);
    assert_eq!(told(&rig).iter().filter(|kind| *kind == "berth.recovered").count(), 2);
}

/// As after an edit of what the engine keeps of a container: it comes back with the card of somebody else.
#[test]
fn a_container_that_comes_back_with_another_card_is_found() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "1"]);
    let container = berth["container_id"].as_str().unwrap();
    let (path, kept) = (rig.path("state/sim/dev/davinci1"), rig.path("state/sim/dev/kept"));
    rig.kill_agent();
    std::fs::rename(&path, &kept).unwrap();
    let major = rig.slot.major().to_string();
    crate::machine::run("mknod", &[path.to_str().unwrap(), "c", &major, "5"]);
    rig.docker(&["restart", "-t", "1", container]);
    std::fs::rename(&kept, &path).unwrap();
    rig.start_agent();
    wait_for(&rig, "alice/dev", &["devices-changed"], PATIENCE);
    let shown = rig.ok(&["show", "alice/dev"]);
    assert!(
        shown.contains("started with other devices") && shown.contains(&format!("{major}, 5")),
        "{shown}"
    );
    assert_eq!(told(&rig), ["berth.devices-changed"]);
    rig.docker(&["restart", "-t", "1", container]);
    wait_for(&rig, "alice/dev", &[], PATIENCE);
    rig.kill_agent();
}

/// The kernel ends what a session started, and never the server that lets its owner in again.
#[test]
fn a_berth_without_memory_keeps_its_server() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--memory", "128M"]);
    assert_eq!(rig.ssh_ok(&berth, "cat /proc/self/oom_score_adj"), "300");
    assert_eq!(rig.exec(&berth, "cat /proc/1/oom_score_adj").trim(), "0");
    let back = rig.ssh(&berth, "echo -1 > /proc/self/oom_score_adj");
    assert!(!back.status.success(), "nobody goes below the server: {}", both(&back));
    let hog = rig.ssh(&berth, "/bin/busybox tail /dev/zero");
    assert!(!hog.status.success(), "{}", both(&hog));
    wait_for(&rig, "alice/dev", &["oom"], Duration::from_secs(5));
    assert_eq!(rig.ssh_ok(&berth, "echo still here"), "still here");
    // Many that are each smaller than the server.
    let many = "for i in $(seq 30); do head -c 6000000 /dev/zero | tail -c 5900000 | sleep 1 & done; wait";
    let started = rig.ssh(&berth, &format!("({many}) > /dev/null 2>&1; true"));
    assert_eq!(rig.ssh_ok(&berth, "echo still here"), "still here", "{}", both(&started));
    assert_eq!(codes(&rig, "alice/dev"), ["oom"], "and it is not dead");
    let event = rig.events().into_iter().find(|event| event["kind"] == "berth.oom").unwrap();
    assert_eq!((&event["owner"], &event["berth"]), (&json!("alice"), &json!("dev")));
    if std::fs::File::open("/dev/kmsg").is_ok() {
        let text = event["text"].as_str().unwrap();
        assert!(
            text.ends_with("the kernel killed processes in it (busybox)") || text.ends_with("(tail)"),
            "{text}"
        );
    }
}

#[test]
fn an_administrator_decides_about_a_card() {
    let Some(rig) = Rig::start() else { return };
    rig.ok(&["sim", "fault", "--health", "3=alarm"]);
    let refused = rig.refused(3, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(refused.contains("its health is alarm"), "{refused}");
    for ran in [
        rig.berth_as(ALICE, &["card", "allow", "3", "--until", "2days"]),
        rig.berth_as(ALICE, &["card", "clear", "3"]),
    ] {
        assert!(ran.code == 3 && ran.err.contains("is for administrators"), "{ran:?}");
    }
    rig.refused(2, &["card", "block", "8", "--why", "x"]);
    rig.refused(3, &["card", "clear", "3"]);

    let ruling = rig.json(&["card", "allow", "3", "--until", "2days", "--why", "only ECC"]);
    assert_eq!((&ruling["verdict"], &ruling["by"]), (&json!("allow"), &json!("root")));
    rig.ok(&["card", "block", "5", "--why", "its fan is being replaced"]);
    let cards = rig.cards();
    assert_eq!((&cards[3]["unusable"], &cards[3]["ruling"]), (&Value::Null, &ruling));
    assert_eq!(cards[5]["unusable"], "blocked by root: its fan is being replaced");
    let table = rig.ok(&["cards"]);
    assert!(table.contains("allowed by root until") && table.contains("fan is being replaced"), "{table}");
    let refused = rig.refused(3, &["request", "--user", "alice", "--card-ids", "5"]);
    assert!(refused.contains("blocked by root: its fan is being replaced"), "{refused}");
    assert_eq!(rig.request(&["--card-ids", "3"])["state"], "live");

    // One whose time is over ends by itself, and somebody is told.
    rig.ok(&["card", "block", "6", "--why", "a moment", "--until", "1s"]);
    until("the end of the block", PATIENCE, || {
        let events = rig.events();
        let told =
            events.iter().find(|event| event["kind"] == "card.cleared" && event["actor"] == "agent")?;
        let text = told["text"].as_str().unwrap();
        assert!(text.starts_with("card 6 is no longer blocked by root until"), "{text}");
        Some(())
    });
    assert_eq!(rig.cards()[6]["unusable"], Value::Null);

    // The end of it is a condition under a live berth.
    assert_eq!(codes(&rig, "alice/dev"), Vec::<Value>::new());
    rig.ok(&["card", "clear", "3"]);
    wait_for(&rig, "alice/dev", &["card-alarm"], PATIENCE);
    rig.ok(&["card", "clear", "5"]);
    assert_eq!(rig.cards()[5]["unusable"], Value::Null);
    let kinds: Vec<Value> = rig.events().into_iter().map(|event| event["kind"].clone()).collect();
    for kind in ["card.allowed", "card.blocked", "card.cleared"] {
        assert!(kinds.contains(&json!(kind)), "{kind}: {kinds:?}");
    }
}
