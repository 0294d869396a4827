//! Everything that an older berth wrote can still be read. A fixture for each version, kept for ever.

use berth::host::RealHost;
use berth::ledger::Ledger;
use berth::model::BerthState;
use berth::model::disk_use::Use;
use berth::plan::journal::Journal;
use berth::plan::{Step, read_plan};
use rusqlite::Connection;
use std::path::Path;

#[test]
fn a_ledger_of_schema_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let old = Connection::open(&path).unwrap();
    // A dump fills tables in the order of their names.
    old.pragma_update(None, "foreign_keys", false).unwrap();
    old.execute_batch(include_str!("../fixtures/ledger/v1.sql")).unwrap();
    // A dump does not carry these two.
    old.pragma_update(None, "application_id", 0x4252_5448).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);

    let ledger = Ledger::open(&path, jiff::Timestamp::now()).unwrap();
    assert_eq!(ledger.instance().unwrap().len(), 16);
    let alice = ledger.user("alice").unwrap().unwrap();
    assert_eq!(alice.keys.len(), 1);
    assert_eq!(ledger.all_berths(10, Some("nobody")).unwrap(), []);
    let berths = ledger.all_berths(10, None).unwrap();
    let shown: Vec<_> = berths.iter().map(|b| (b.name.as_str(), b.state, b.cards.len(), b.port)).collect();
    assert_eq!(shown, [("t1", BerthState::Released, 3, 21000)]);
    assert!(ledger.held_berths().unwrap().is_empty());
    assert!(ledger.events(0, 100, None).unwrap().iter().any(|event| event.kind == "berth.live"));
    assert!(ledger.image_probe(&probe_key(&berths[0].image_id)).unwrap().is_some());
}

/// Events had no index then.
#[test]
fn a_ledger_of_schema_3_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let old = Connection::open(&path).unwrap();
    old.pragma_update(None, "foreign_keys", false).unwrap();
    old.execute_batch(include_str!("../fixtures/ledger/v3.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x4252_5448).unwrap();
    old.pragma_update(None, "user_version", 3).unwrap();
    drop(old);

    let ledger = Ledger::open(&path, jiff::Timestamp::now()).unwrap();
    let live = &ledger.held_berths().unwrap()[0];
    assert_eq!((live.name.as_str(), live.conditions.len()), ("t2", 1));
    assert_eq!(ledger.rulings("2026-11-25T00:00:00Z".parse().unwrap()).unwrap().len(), 1);
    let ids = |owner| ledger.events(0, 100, owner).unwrap().iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(None), (1..=9).collect::<Vec<_>>());
    assert_eq!(ids(Some("alice")), [1, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ledger.events_before_last(2, Some("alice")).unwrap(), 7);
    assert_eq!(ledger.told_times("alice", "t2").unwrap().len(), 1);
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

/// A plan with every kind of step, and the journal of its run.
#[test]
fn a_plan_and_a_journal_of_schema_1_are_read() {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bootstrap").join(name);
    let plan = read_plan(&RealHost::default(), &file("plan-v1.json")).unwrap();
    let steps: Vec<&Step> = plan.steps.iter().map(|planned| &planned.step).collect();
    let said: Vec<String> = steps.iter().map(|step| step.describe()).collect();
    let golden = include_str!("../fixtures/bootstrap/plan-v1.txt");
    assert_eq!(said, golden.lines().collect::<Vec<_>>());
    // Uses were words then.
    assert_eq!(plan.seen.disks[0].uses, [Use::Mounted { at: "/mnt".into() }]);
    assert_eq!(plan.seen.disks[0].pv.as_ref().unwrap().group.as_deref(), Some("berth_data"));

    let journal = Journal::read(&RealHost::default(), &file("journal-v1.jsonl"), "r2").unwrap();
    let over = ["mount.add:/data", "disk.wipe:NV1"];
    let open: Vec<&Step> = steps.into_iter().filter(|step| !over.contains(&step.key().as_str())).collect();
    assert_eq!(journal.unfinished().iter().collect::<Vec<_>>(), open);
    assert_eq!(journal.awaited_reboot(), Some("boot-1"));
    assert!(journal.wiped().is_empty() && journal.fresh_volumes().is_empty());
}

/// As the agent asks for it: image, users, the image's own user.
fn probe_key(image_id: &str) -> String {
    format!("{image_id} ma-user ")
}

/// A live berth of schema 1 whose container had ended: that was a sentence; it is a code as soon as it is looked at.
#[test]
fn a_live_berth_of_schema_1_has_no_sentence_for_a_condition() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let old = Connection::open(&path).unwrap();
    old.pragma_update(None, "foreign_keys", false).unwrap();
    old.execute_batch(include_str!("../fixtures/ledger/v1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO berths (owner, name, state, port, ssh_user, image, image_id, created_at, note)
         VALUES ('alice', 'live', 'live', 21001, 'ma-user', 'i', 'sha256:1', '2026-11-23T02:02:01Z',
                 'its container does not run (exited)')",
    )
    .unwrap();
    old.pragma_update(None, "application_id", 0x4252_5448).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let ledger = Ledger::open(&path, jiff::Timestamp::now()).unwrap();
    let live = &ledger.held_berths().unwrap()[0];
    assert_eq!((live.note.as_deref(), live.conditions.as_slice()), (None, [].as_slice()));
    let ended = &ledger.all_berths(10, None).unwrap()[1];
    assert!(ended.note.is_some(), "why a berth ended stays");
}
