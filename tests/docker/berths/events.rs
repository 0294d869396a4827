//! What happens is told while it happens, to those whom it concerns.

use crate::machine::until;
use crate::rig::{ALICE, Rig};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// `berth events --follow`, from now on.
struct Follower {
    child: Child,
    lines: Receiver<Value>,
}

impl Follower {
    fn start(rig: &Rig) -> Self {
        let mut child = rig
            .command(&["events", "--follow", "--last", "1", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let follower = Self { child, lines };
        // The newest of the old ones says that it follows.
        follower.next();
        follower
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("an event")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_told_as_they_happen() {
    let Some(mut rig) = Rig::start() else { return };
    let follower = Follower::start(&rig);
    rig.request(&["--cards", "1", "--name", "watched"]);
    let kinds =
        |count: usize| -> Vec<Value> { (0..count).map(|_| follower.next()["kind"].clone()).collect() };
    assert_eq!(kinds(2), [json!("berth.requested"), json!("berth.live")]);
    // Somebody takes a card beside berth: the engine says so, nobody asked.
    let stray =
        rig.foreign("stray", &["--device", &rig.path("state/sim/dev/davinci6").display().to_string()]);
    let taken = follower.next();
    assert_eq!(taken["kind"], json!("card.taken"), "{taken}");
    assert!(taken["text"].as_str().unwrap().starts_with("card 6 is held by container"), "{taken}");
    rig.docker(&["rm", "-f", &stray]);
    assert_eq!(kinds(1), [json!("card.given-back")]);
    rig.ok(&["release", "alice/watched"]);
    assert_eq!(kinds(2), [json!("berth.releasing"), json!("berth.released")]);
    rig.kill_agent();
}

#[test]
fn events_are_chosen_by_time_user_berth_and_kind() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    rig.json(&["request", "--user", "bob", "--cards", "1", "--name", "other"]);
    rig.ssh_ok(&berth, "true");
    crate::machine::until("the login", PATIENCE, || {
        rig.ok(&["events", "--kind", "ssh.login"]).contains("ssh.login").then_some(())
    });
    let kinds = |args: &[&str]| -> Vec<String> {
        let lines = rig.ok(&[&["events", "--json"], args].concat());
        let kind =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned();
        lines.lines().map(kind).collect()
    };
    let of_train = kinds(&["--berth", "alice/train", "--decisions"]);
    assert_eq!(of_train, ["berth.requested", "berth.live"]);
    assert!(kinds(&["--berth", "train"]).contains(&"ssh.login".to_owned()));
    assert_eq!(kinds(&["--user", "bob", "--kind", "berth", "--last", "1"]), ["berth.live"]);
    assert!(kinds(&["--since", "1h", "--kind", "user.added"]).len() >= 2);
    assert_eq!(kinds(&["--since", "2100-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(kinds(&["--kind", "berth.li"]), [""; 0], "a kind is not any beginning of a word");
    let said = rig.refused_as(crate::rig::ALICE, 3, &["events", "--user", "bob"]);
    assert!(said.contains("the events about bob are for bob and administrators"), "{said}");
    for wrong in [["--berth", "a/b/c"], ["--kind", "a b"]] {
        rig.refused(2, &["events", wrong[0], wrong[1]]);
    }
    assert_eq!(rig.berth(&["events", "--since", "yesterday"]).code, 2);
}

/// All that happened so far happened years ago, as far as the ledger knows.
fn make_old(rig: &Rig) {
    let ledger = rusqlite::Connection::open(rig.path("state/ledger.db")).unwrap();
    let old = "DROP TRIGGER events_are_never_changed;
        UPDATE events SET at = '2020-02-03T04:05:06Z';
        CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'events are only added'); END;";
    ledger.execute_batch(old).unwrap();
}

#[test]
fn old_events_are_counted_by_month_where_the_config_says_so() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--cards", "1"]);
    rig.ok(&["release", "alice/dev"]);
    let said = rig.berth(&["events", "--summary"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("events are kept one by one, for ever"), "{}", said.err);
    rig.stop_agent();
    make_old(&rig);
    let config = std::fs::read_to_string(rig.path("berth.toml")).unwrap();
    std::fs::write(rig.path("berth.toml"), format!("{config}[events]\nkeep = \"90days\"\n")).unwrap();
    rig.start_agent();
    // The newest event always stays; this one is of today.
    rig.ok(&["user", "limit", "bob", "--none"]);
    let old: Vec<Value> =
        rig.events().into_iter().filter(|event| event["at"].as_str().unwrap().starts_with("2020")).collect();
    assert!(old.len() >= 6, "{old:?}");
    let summary = until("old events to be counted", Duration::from_secs(90), || {
        let summary = rig.json(&["events", "--summary"]);
        (!summary["sums"].as_array().unwrap().is_empty()).then_some(summary)
    });
    assert_eq!(summary["keep"], 90 * 24 * 3600);
    let sums = summary["sums"].as_array().unwrap();
    assert!(sums.iter().all(|sum| sum["month"] == "2020-02"), "{sums:?}");
    let counted: u64 = sums.iter().map(|sum| sum["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, old.len() as u64, "each once");
    let requested =
        json!({"month": "2020-02", "owner": "alice", "actor": "root", "kind": "berth.requested", "count": 1});
    assert!(sums.contains(&requested), "{sums:?}");
    let left = rig.events();
    assert!(left.iter().all(|event| !event["at"].as_str().unwrap().starts_with("2020")), "{left:?}");
    assert!(left.iter().any(|event| event["kind"] == "events.counted"), "{left:?}");
    let table = rig.ok(&["events", "--summary", "--kind", "berth.released"]);
    assert!(
        table.contains("2020-02") && table.contains("berth.released") && !table.contains("berth.live"),
        "{table}"
    );
    // A user sees what is about them, and asks for nobody else's.
    let own = rig.berth_as(ALICE, &["events", "--summary", "--json"]);
    let own: Value = serde_json::from_str(&own.out).unwrap();
    let owners: Vec<&Value> = own["sums"].as_array().unwrap().iter().map(|sum| &sum["owner"]).collect();
    assert!(!owners.is_empty() && owners.iter().all(|owner| **owner == json!("alice")), "{own}");
    rig.refused_as(ALICE, 3, &["events", "--summary", "--user", "bob"]);
    // It goes on as before: ids are counted on, and berths are made.
    rig.request(&["--cards", "1"]);
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
}
