//! Everything that an older berth wrote can still be read. A fixture for each version, kept for ever.

use berth::bootstrap::plan::journal::Journal;
use berth::bootstrap::plan::{Held, Holds, Plan, Step, read_plan};
use berth::host::RealHost;
use berth::ledger::{EventFilter, Holding, Ledger, NewEvent, NewSize};
use berth::model::disk_use::Use;
use berth::model::docker_seen::Neighbour;
use berth::model::{Berth, BerthState, CardId, CardWish, OwnLimit, StopReason, UserLimit};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// A ledger as a program of that schema left it.
fn old_ledger(schema: i32, dump: &str, more: &str) -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let old = Connection::open(&path).unwrap();
    // A dump fills tables in the order of their names.
    old.pragma_update(None, "foreign_keys", false).unwrap();
    old.execute_batch(dump).unwrap();
    old.execute_batch(more).unwrap();
    // A dump does not carry these two.
    old.pragma_update(None, "application_id", 0x4252_5448).unwrap();
    old.pragma_update(None, "user_version", schema).unwrap();
    drop(old);
    let ledger = Ledger::open(&path, jiff::Timestamp::now()).unwrap();
    (dir, ledger)
}

#[test]
fn a_ledger_of_schema_1_is_read() {
    let (_dir, ledger) = old_ledger(1, include_str!("../fixtures/ledger/v1.sql"), "");
    assert_eq!(ledger.instance().unwrap().len(), 16);
    let alice = ledger.user("alice").unwrap().unwrap();
    assert_eq!(alice.keys.len(), 1);
    assert_eq!(ledger.all_berths(10, Some("nobody")).unwrap(), []);
    let berths = ledger.all_berths(10, None).unwrap();
    let shown: Vec<_> = berths.iter().map(|b| (b.name.as_str(), b.state, b.cards.len(), b.port)).collect();
    assert_eq!(shown, [("t1", BerthState::Released, 3, 21000)]);
    assert!(ledger.standing_berths().unwrap().is_empty());
    assert!(ledger.events(0, 100, None).unwrap().iter().any(|event| event.kind == "berth.live"));
    assert!(ledger.image_probe(&probe_key(&berths[0].image_id)).unwrap().is_some());
}

/// Conditions are codes, with a live berth that has two.
#[test]
fn a_ledger_of_schema_2_is_read() {
    let (_dir, ledger) = old_ledger(2, include_str!("../fixtures/ledger/v2.sql"), "");
    check_live_berth(&ledger);
    assert!(ledger.rulings(jiff::Timestamp::UNIX_EPOCH).unwrap().is_empty());
}

/// … and what administrators decided about cards.
#[test]
fn a_ledger_of_schema_3_is_read() {
    let (_dir, ledger) = old_ledger(3, include_str!("../fixtures/ledger/v3.sql"), "");
    // Events had no index then.
    let ids = |owner| ledger.events(0, 100, owner).unwrap().iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!((ids(None), ids(Some("alice"))), ((1..=11).collect(), (1..=9).collect()));
    assert_eq!(ledger.events_before_last(2, &EventFilter::of_owner(Some("alice"))).unwrap(), 7);
    check_live_berth(&ledger);
    let rulings = ledger.rulings(jiff::Timestamp::UNIX_EPOCH).unwrap();
    let said: Vec<String> = rulings.iter().map(|(card, ruling)| format!("{card} {ruling}")).collect();
    assert_eq!(
        said,
        ["3 allowed by root until 2152-09-01T07:06:40Z", "5 blocked by root: a fan is being replaced"]
    );
}

/// … and events with indexes. From here on a ledger says who had which card from when to when.
#[test]
fn a_ledger_of_schema_4_is_read() {
    let (_dir, ledger) = old_ledger(4, include_str!("../fixtures/ledger/v4.sql"), "");
    let berths = ledger.all_berths(10, None).unwrap();
    let [demo] = berths.as_slice() else { panic!("{berths:?}") };
    assert_eq!(
        (demo.name.as_str(), demo.state, demo.size, demo.lease),
        ("demo", BerthState::Released, 2, Some(8 * 3600))
    );
    let held = ledger.held_since(jiff::Timestamp::UNIX_EPOCH).unwrap();
    let of_demo = Holding { owner: "alice".into(), since: demo.created_at, until: demo.ended_at.unwrap() };
    assert_eq!(held, [of_demo.clone(), of_demo]);
    assert!(ledger.tickets().unwrap().is_empty() && ledger.counted().unwrap().is_none());
}

/// … and berths that are stopped, asked back, and waited for.
#[test]
fn a_ledger_of_schema_5_is_read() {
    let (_dir, ledger) = old_ledger(5, include_str!("../fixtures/ledger/v5.sql"), "");
    let berths = ledger.standing_berths().unwrap();
    let [kept, train] = berths.as_slice() else { panic!("{berths:?}") };
    assert_eq!((kept.name.as_str(), kept.state, kept.size), ("kept", BerthState::Stopped, 2));
    assert_eq!(kept.stop.as_ref().unwrap().reason, StopReason::Lease);
    assert_eq!((train.state, train.cards.len(), train.unattended), (BerthState::Live, 4, true));
    assert_eq!(train.stops_at.unwrap().to_string(), "2026-12-01T09:15:00Z");
    let notes = ledger.standing_notes().unwrap();
    assert_eq!((notes[&train.id].renewals, notes[&train.id].keeps), (1, 0));
    let tickets = ledger.tickets().unwrap();
    let [big] = tickets.as_slice() else { panic!("{tickets:?}") };
    assert_eq!((&big.wish, big.overtaken, big.detached), (&CardWish::Count(8), 2, false));
    check_next_cards(&ledger, kept);
}

/// … and all else that belongs to leases: images of berths, limits, reservations, requests without a connection.
#[test]
fn a_ledger_of_schema_6_is_read() {
    let (_dir, ledger) = old_ledger(6, include_str!("../fixtures/ledger/v6.sql"), "");
    let berths = ledger.all_berths(10, None).unwrap();
    let shown: Vec<_> = berths.iter().map(|b| (b.name.as_str(), b.state, b.size)).collect();
    let expected =
        [("old", BerthState::Released, 1), ("dev", BerthState::Live, 1), ("train2", BerthState::Stopped, 4)];
    assert_eq!(shown, expected);
    assert_eq!(berths[1].lock.as_ref().unwrap().why, "a demonstration");
    let waiting = ledger.detached().unwrap();
    let [(ticket, request)] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((ticket.owner.as_str(), ticket.unattended), ("alice", true));
    assert_eq!((request.name.as_deref(), &request.cards), (Some("big"), &CardWish::Count(8)));
    let limit = UserLimit { cards: Some(8), lease: Some(12 * 3600), ..UserLimit::default() };
    assert_eq!(ledger.user_limit("alice").unwrap(), Some(OwnLimit::Some(limit)));
    let snapshots = ledger.snapshots(Some("alice")).unwrap();
    assert_eq!((snapshots.len(), snapshots[0].name.as_str()), (1, "mine"));
    assert_eq!(ledger.reservations(jiff::Timestamp::UNIX_EPOCH).unwrap().len(), 1);
    // Under both of its names.
    let kinds: Vec<String> =
        ledger.berth_events(&berths[2], 100).unwrap().into_iter().map(|event| event.kind).collect();
    for kind in ["berth.requested", "berth.renamed", "berth.resized"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}: {kinds:?}");
    }
    check_next_cards(&ledger, &berths[2]);
}

/// From here on a stopped berth may ask for certain cards.
fn check_next_cards(ledger: &Ledger, stopped: &Berth) {
    assert_eq!(stopped.next_cards, None);
    let new = NewSize { size: 1, cards: Some(vec![CardId(7)]), memory: None, cpus: None };
    let event = NewEvent {
        at: jiff::Timestamp::now(),
        kind: "berth.resized",
        actor: "alice".into(),
        owner: Some("alice".into()),
        berth: Some(stopped.name.clone()),
        text: "card 7".into(),
    };
    assert_eq!(ledger.resize(stopped.id, &new, &event).unwrap().next_cards, Some(vec![CardId(7)]));
}

fn check_live_berth(ledger: &Ledger) {
    let held = ledger.standing_berths().unwrap();
    let [live] = held.as_slice() else { panic!("{held:?}") };
    assert_eq!((live.name.as_str(), live.state, live.port), ("train", BerthState::Live, 21001));
    let said: Vec<String> = live.conditions.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "card 3 is not healthy (its health is Alarm)",
            "out of memory: the kernel killed processes in it (python)"
        ]
    );
    assert_eq!(ledger.oom_kills(live.id).unwrap(), 2);
    assert!(ledger.knows_uid(1001));
    // It is not only read: the berth ends as any other, and its conditions with it.
    let event = NewEvent {
        at: jiff::Timestamp::now(),
        kind: "berth.released",
        actor: "alice".into(),
        owner: Some("alice".into()),
        berth: Some("train".into()),
        text: "gone".into(),
    };
    ledger.begin_release(live.id, &event).unwrap();
    ledger.end(live.id, BerthState::Released, "released by alice", &event).unwrap();
    let ended = ledger.berth_by_id(live.id).unwrap();
    assert_eq!((ended.state, ended.conditions.as_slice()), (BerthState::Released, [].as_slice()));
}

/// What the first agents wrote, without limits, and what the next may write where an admin set some.
#[test]
fn a_session_config_of_schema_1_is_read() {
    let old = include_bytes!("../fixtures/session/v1.json");
    let config = berth::model::session::SessionConfig::parse(old).unwrap();
    assert_eq!(config.users, ["ma-user"]);
    assert!(config.limits.is_default());
    // Written again it is the same, so that the servers of then can read it too.
    let again: serde_json::Value = serde_json::to_value(&config).unwrap();
    assert_eq!(again, serde_json::from_slice::<serde_json::Value>(old).unwrap());
}

fn bootstrap_fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bootstrap").join(name)
}

/// A plan with every kind of step, and the journal of its run.
fn read_bootstrap(schema: u32, golden: &str) -> Plan {
    let plan = read_plan(&RealHost::default(), &bootstrap_fixture(&format!("plan-v{schema}.json"))).unwrap();
    let steps: Vec<&Step> = plan.steps.iter().map(|planned| &planned.step).collect();
    let said: Vec<String> = steps.iter().map(|step| step.describe()).collect();
    assert_eq!(said, golden.lines().collect::<Vec<_>>());
    assert_eq!(plan.seen.disks[0].pv.as_ref().unwrap().group.as_deref(), Some("berth_data"));

    let journal = bootstrap_fixture(&format!("journal-v{schema}.jsonl"));
    let journal = Journal::read(&RealHost::default(), &journal, "r2").unwrap();
    let over = ["mount.add:/data", "disk.wipe:NV1"];
    let is_open = |step: &&Step| !over.contains(&step.key().as_str()) && journal.knows(step);
    let open: Vec<&Step> = steps.into_iter().filter(is_open).collect();
    assert_eq!(journal.unfinished().iter().collect::<Vec<_>>(), open);
    assert_eq!((open.len(), journal.awaited_reboot()), (19, Some("boot-1")));
    assert!(journal.wiped().is_empty() && journal.fresh_volumes().is_empty());
    plan
}

/// Uses, what a disk holds and what a file is for were words then.
#[test]
fn a_plan_and_a_journal_of_schema_1_are_read() {
    let plan = read_bootstrap(1, include_str!("../fixtures/bootstrap/plan-v1.txt"));
    assert_eq!(plan.seen.disks[0].uses, [Use::Mounted { at: "/mnt".into() }]);
}

#[test]
fn a_plan_and_a_journal_of_schema_2_are_read() {
    let plan = read_bootstrap(2, include_str!("../fixtures/bootstrap/plan-v2.txt"));
    assert_eq!(plan.seen.disks[0].uses, [Use::Mounted { at: "/mnt".into() }, Use::Swap]);
    assert_eq!(plan.seen.docker.neighbours, [Neighbour::Kubelet, Neighbour::Podman, Neighbour::SnapDocker]);
    let Step::WipeDisk(wipe) = &plan.steps[0].step else { panic!() };
    let Held::Things(things) = &wipe.holds else { panic!("{:?}", wipe.holds) };
    assert_eq!((things.len(), &things[4]), (5, &Holds::Data));
    // Written again it is the same: nothing in it is kept as words.
    let file = std::fs::read(bootstrap_fixture("plan-v2.json")).unwrap();
    let again: serde_json::Value = serde_json::to_value(&plan).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(again["steps"], read["steps"]);
    assert_eq!(again["seen"]["disks"][0]["uses"], read["seen"]["disks"][0]["uses"]);
}

/// As the agent asks for it: image, users, the image's own user.
fn probe_key(image_id: &str) -> String {
    format!("{image_id} ma-user ")
}

/// A live berth of schema 1 whose container had ended: that was a sentence; it is a code as soon as it is looked at.
#[test]
fn a_live_berth_of_schema_1_has_no_sentence_for_a_condition() {
    let live = "INSERT INTO berths (owner, name, state, port, ssh_user, image, image_id, created_at, note)
         VALUES ('alice', 'live', 'live', 21001, 'ma-user', 'i', 'sha256:1', '2026-11-23T02:02:01Z',
                 'its container does not run (exited)')";
    let (_dir, ledger) = old_ledger(1, include_str!("../fixtures/ledger/v1.sql"), live);
    let live = &ledger.standing_berths().unwrap()[0];
    assert_eq!((live.note.as_deref(), live.conditions.as_slice()), (None, [].as_slice()));
    let ended = &ledger.all_berths(10, None).unwrap()[1];
    assert!(ended.note.is_some(), "why a berth ended stays");
}
