//! The ledger on a real SQLite file.
#![allow(clippy::disallowed_methods, reason = "the tests damage files on purpose")]

use super::*;
use crate::model::{Berth, BerthState, CardId, Stop, StopReason};
use std::fs;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn event(kind: &'static str) -> NewEvent {
    NewEvent {
        at: at(0),
        kind,
        actor: "root".into(),
        owner: Some("alice".into()),
        berth: None,
        text: "t".into(),
    }
}

pub(super) fn new_berth(name: &str, cards: &[u32], port: u16) -> NewBerth {
    NewBerth {
        owner: "alice".into(),
        name: name.into(),
        cards: cards.iter().copied().map(CardId).collect(),
        port,
        ssh_user: "ma-user".into(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        memory: None,
        cpus: Some(1.5),
        lease: Some(3600),
        unattended: false,
        ticket: None,
        overtaken: Vec::new(),
    }
}

pub(super) fn open() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger.db"), at(0)).unwrap();
    ledger.add_user("alice", Some(1001), &[], &event("user.added")).unwrap();
    (dir, ledger)
}

#[test]
fn only_a_live_berth_s_lease_is_renewed() {
    let (_dir, ledger) = open();
    let berth = ledger.claim(&new_berth("a", &[0], 20000), &event("x")).unwrap();
    assert!(ledger.renew(berth.id, at(9), false, &event("x")).is_err(), "it is being made");
    ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
    assert_eq!(ledger.renew(berth.id, at(9000), false, &event("renewed")).unwrap().until, Some(at(9000)));
    ledger.begin_release(berth.id, &event("x")).unwrap();
    ledger.end(berth.id, BerthState::Released, "done", &event("x")).unwrap();
    let before = ledger.events(0, 100, None).unwrap().len();
    assert!(ledger.renew(berth.id, at(9), false, &event("x")).is_err());
    let after = ledger.berth_by_id(berth.id).unwrap();
    assert_eq!((after.until, ledger.events(0, 100, None).unwrap().len()), (Some(at(9000)), before));
}

#[test]
fn a_card_a_port_and_a_name_have_one_live_berth() {
    let (_dir, ledger) = open();
    let first = ledger.claim(&new_berth("a", &[0, 1], 20000), &event("x")).unwrap();
    assert_eq!((first.state, first.cards.len()), (BerthState::Creating, 2));
    let claim = |name, cards: &[u32], port| ledger.claim(&new_berth(name, cards, port), &event("x"));
    assert!(matches!(claim("b", &[1, 2], 20001), Err(ClaimError::CardTaken(_))));
    assert!(matches!(claim("b", &[2], 20000), Err(ClaimError::PortTaken(20000))));
    assert!(matches!(claim("a", &[2], 20001), Err(ClaimError::NameTaken { .. })));
    assert_eq!(ledger.standing_berths().unwrap().len(), 1, "a refused claim leaves nothing");
    ledger.commit_live(first.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
    ledger.begin_release(first.id, &event("x")).unwrap();
    assert!(matches!(claim("b", &[1], 20001), Err(ClaimError::CardTaken(_))));
    ledger.end(first.id, BerthState::Released, "done", &event("x")).unwrap();
    let second = claim("a", &[1, 2], 20000).unwrap();
    assert_eq!(second.cards, [CardId(1), CardId(2)]);
    assert_eq!(ledger.last_cards("alice").unwrap(), [CardId(0), CardId(1)]);
}

#[test]
fn an_ended_berth_stays_ended_and_its_history_readable() {
    let (_dir, ledger) = open();
    let berth = ledger.claim(&new_berth("a", &[3], 20000), &event("x")).unwrap();
    ledger.end(berth.id, BerthState::Undone, "image exited", &event("x")).unwrap();
    assert!(ledger.begin_release(berth.id, &event("x")).is_err());
    let kept = ledger.berth_by_id(berth.id).unwrap();
    assert_eq!((kept.state, kept.note.as_deref()), (BerthState::Undone, Some("image exited")));
    assert_eq!((kept.cards, kept.cpus, kept.until), (vec![CardId(3)], Some(1.5), Some(at(3600))));
}

#[test]
fn ids_that_something_on_the_node_carries_are_not_given_out_again() {
    let (_dir, ledger) = open();
    ledger.skip_berth_ids(41).unwrap();
    ledger.skip_berth_ids(7).unwrap();
    assert_eq!(ledger.claim(&new_berth("a", &[0], 20000), &event("x")).unwrap().id, 42);
}

#[test]
fn events_are_only_added_and_seen_by_their_owner() {
    let (dir, ledger) = open();
    let mut seen = ledger.subscribe();
    ledger.record(&NewEvent { owner: None, ..event("agent.started") }).unwrap();
    assert!(seen.has_changed().unwrap());
    assert_eq!(*seen.borrow_and_update(), 2);
    assert_eq!(ledger.events(0, 10, None).unwrap().len(), 2);
    assert_eq!(ledger.events(0, 10, Some("alice")).unwrap().len(), 1);
    assert_eq!(ledger.events_before_last(1, &EventFilter::of_owner(None)).unwrap(), 1);
    assert_eq!(ledger.events_before_last(9, &EventFilter::of_owner(None)).unwrap(), 0);
    assert_eq!(
        ledger.events_before_last(0, &EventFilter::of_owner(None)).unwrap(),
        2,
        "no events are those after the newest"
    );
    assert_eq!(ledger.events_before_last(1, &EventFilter::of_owner(Some("alice"))).unwrap(), 0);
    assert_eq!(ledger.events_before_last(1, &EventFilter::of_owner(Some("nobody"))).unwrap(), 0);
    assert_eq!(ledger.events_before_last(0, &EventFilter::of_owner(Some("nobody"))).unwrap(), 2);
    let other = Connection::open(dir.path().join("ledger.db")).unwrap();
    assert!(other.execute("UPDATE events SET text = 'x'", []).is_err());
    assert!(other.execute("DELETE FROM events", []).is_err());
}

#[test]
fn whoever_reads_the_past_holds_up_no_decision() {
    let (_dir, ledger) = open();
    let deciding = ledger.connection();
    assert_eq!(ledger.events(0, 10, Some("alice")).unwrap().len(), 1);
    assert_eq!(ledger.events_before_last(1, &EventFilter::of_owner(None)).unwrap(), 0);
    drop(deciding);
    let reading = ledger.past.lock().unwrap();
    assert!(reading.execute("INSERT INTO meta VALUES ('x', 'y')", []).is_err(), "it only reads");
    ledger.claim(&new_berth("a", &[0], 20000), &event("x")).unwrap();
    assert_eq!(ledger.user_by_uid(1001).unwrap().unwrap().name, "alice");
    drop(reading);
    assert_eq!(ledger.events(1, 10, Some("alice")).unwrap().len(), 1, "it sees what was committed");
}

#[test]
fn keys_are_kept_by_fingerprint_and_go_with_their_user() {
    let (_dir, ledger) = open();
    let key = Key { fingerprint: "SHA256:x".into(), line: "ssh-ed25519 AAAA a".into() };
    ledger.add_keys("alice", std::slice::from_ref(&key), &event("x")).unwrap();
    ledger.add_keys("alice", std::slice::from_ref(&key), &event("x")).unwrap();
    assert_eq!(ledger.user("alice").unwrap().unwrap().keys, [key]);
    assert!(ledger.add_user("bob", Some(1001), &[], &event("x")).is_err(), "one user a uid");
    assert!(!ledger.remove_key("alice", "SHA256:y", &event("x")).unwrap());
    ledger.remove_user("alice", &event("x")).unwrap();
    assert_eq!(ledger.user_by_uid(1001).unwrap(), None);
    let back = ledger.add_user("alice", None, &[], &event("x")).unwrap();
    assert!(back.keys.is_empty());
}

#[test]
fn everything_is_there_after_reopening() {
    let (dir, ledger) = open();
    let instance = ledger.instance().unwrap();
    let berth = ledger.claim(&new_berth("a", &[0], 20000), &event("x")).unwrap();
    drop(ledger);
    let ledger = Ledger::open(&dir.path().join("ledger.db"), at(9)).unwrap();
    assert_eq!(ledger.instance().unwrap(), instance);
    assert_eq!(ledger.standing_berths().unwrap(), [berth]);
}

#[test]
fn a_ledger_that_cannot_be_trusted_is_never_replaced() {
    let (dir, ledger) = open();
    drop(ledger);
    let path = dir.path().join("ledger.db");
    let good = fs::read(&path).unwrap();

    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let newer = Ledger::open(&path, at(0)).unwrap_err();
    assert!(newer.message.contains("has schema 99, this berth knows 7"), "{newer}");

    for (bytes, word) in [(&b""[..], "empty"), (&[b'x'; 8192][..], "corrupt"), (&good[..6000], "")] {
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_file(dir.path().join("ledger.db-wal"));
        let fault = Ledger::open(&path, at(0)).unwrap_err();
        assert!(fault.message.contains(word) && fault.help.is_some(), "{fault}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "left as it was");
    }

    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(Ledger::open(&path, at(0)).unwrap_err().message.contains("not a ledger"), "foreign database");
}

#[test]
fn a_ledger_that_was_lost_is_not_made_anew_over_its_remains() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    fs::write(dir.path().join("ledger.db-wal"), "x").unwrap();
    let fault = Ledger::open(&path, at(0)).unwrap_err();
    assert!(fault.message.contains("ledger.db-wal is there"), "{fault}");
    assert!(!path.exists());
}

#[test]
fn conditions_are_codes_with_their_values_and_end_with_the_berth() {
    use crate::model::{Condition, ConditionCode};
    let (_dir, ledger) = open();
    let berth = ledger.claim(&new_berth("a", &[0, 1], 20000), &event("x")).unwrap();
    let condition = |code, cards: &[u32], detail: Option<&str>| Condition {
        code,
        since: at(7),
        cards: cards.iter().copied().map(CardId).collect(),
        detail: detail.map(str::to_owned),
    };
    let alarm = condition(ConditionCode::CardAlarm, &[0], Some("it says \"alarm\", 'twice'"));
    let dead = condition(ConditionCode::Dead, &[], None);
    for begun in [&alarm, &dead] {
        ledger.begin_condition(berth.id, begun, &event("x")).unwrap();
    }
    assert_eq!(
        ledger.berth_by_id(berth.id).unwrap().conditions,
        [dead.clone(), alarm.clone()],
        "the worst first"
    );
    let wider = condition(ConditionCode::CardAlarm, &[0, 1], None);
    ledger.begin_condition(berth.id, &wider, &event("x")).unwrap();
    let before = ledger.events(0, 100, None).unwrap().len();
    ledger.end_condition(berth.id, ConditionCode::Dead, None).unwrap();
    assert_eq!(ledger.events(0, 100, None).unwrap().len(), before, "told by another event");
    assert_eq!(ledger.standing_berths().unwrap()[0].conditions, [wider]);
    ledger.note_oom_kills(berth.id, 3).unwrap();
    assert_eq!(ledger.oom_kills(berth.id).unwrap(), 3);
    ledger.begin_release(berth.id, &event("x")).unwrap();
    ledger.end(berth.id, BerthState::Released, "done", &event("x")).unwrap();
    assert_eq!(ledger.berth_by_id(berth.id).unwrap().conditions, []);
}

#[test]
fn a_ruling_about_a_card_is_in_force_until_its_end() {
    use crate::model::{CardVerdict, Ruling};
    let (_dir, ledger) = open();
    let ruling = |verdict, until| Ruling {
        verdict,
        why: Some("a fan is being replaced".into()),
        until,
        by: "root".into(),
        since: at(0),
    };
    let (card, allow) = (CardId(3), ruling(CardVerdict::Allow, Some(at(60))));
    ledger.rule(card, &allow, &event("x")).unwrap();
    assert_eq!(ledger.rulings(at(59)).unwrap(), [(card, allow)].into());
    assert!(ledger.rulings(at(60)).unwrap().is_empty());
    let block = ruling(CardVerdict::Block, None);
    ledger.rule(card, &block, &event("x")).unwrap();
    assert_eq!(ledger.rulings(at(99)).unwrap(), [(card, block)].into(), "in the place of the first");
    ledger.clear_ruling(card, &event("x")).unwrap();
    assert!(ledger.rulings(at(0)).unwrap().is_empty());
    // Its end is told once, and not of one that came in its place.
    let short = ruling(CardVerdict::Block, Some(at(60)));
    ledger.rule(card, &short, &event("x")).unwrap();
    let told = || ledger.events(0, 100, None).unwrap().len();
    let before = told();
    assert_eq!(ledger.rulings_over(at(59)).unwrap(), []);
    assert!(!ledger.end_ruling(card, at(59), &event("card.cleared")).unwrap());
    assert_eq!(ledger.rulings_over(at(60)).unwrap(), [(card, short)]);
    assert!(ledger.end_ruling(card, at(60), &event("card.cleared")).unwrap());
    assert!(!ledger.end_ruling(card, at(60), &event("card.cleared")).unwrap());
    assert_eq!((ledger.rulings_over(at(99)).unwrap(), told()), (vec![], before + 1));
}

/// A descriptor of a card goes from berth to berth for as long as one is there to hand it to the next.
#[test]
fn a_card_that_was_handed_on_is_looked_for_in_every_later_berth() {
    let (_dir, ledger) = open();
    let hours = |hours: i64| NewEvent { at: at(hours * 3600), ..event("x") };
    let begin = |name: &str, card: u32, port: u16, from: i64| {
        ledger.claim(&new_berth(name, &[card], port), &hours(from)).unwrap()
    };
    let end = |berth: &crate::model::Berth, at: i64| {
        ledger.begin_release(berth.id, &hours(at)).unwrap();
        ledger.end(berth.id, BerthState::Released, "done", &hours(at)).unwrap();
    };
    let long_ago = begin("z", 7, 20_007, 0);
    end(&long_ago, 1);
    let first = begin("a", 3, 20_000, 10);
    let second = begin("b", 4, 20_001, 12);
    end(&first, 14);
    let third = begin("c", 5, 20_002, 20);
    assert_eq!(ledger.cards_given_back(&second).unwrap(), [CardId(3)]);
    assert_eq!(ledger.cards_given_back(&third).unwrap(), [CardId(3)], "by way of b");
    end(&second, 30);
    assert_eq!(ledger.cards_given_back(&third).unwrap(), [CardId(3), CardId(4)]);
}

#[test]
fn what_a_berth_told_is_found_by_order_and_not_by_clock() {
    let (_dir, ledger) = open();
    let tell = |kind: &'static str, actor: &str, at: &str| {
        let about = NewEvent {
            at: at.parse().unwrap(),
            actor: actor.into(),
            owner: Some("alice".into()),
            berth: Some("dev".into()),
            ..event(kind)
        };
        ledger.record(&about).unwrap();
    };
    tell("ssh.login", "berth:dev", "2025-01-01T00:00:00Z");
    tell("berth.requested", "alice", "2025-01-02T00:00:00Z");
    let berth = ledger.claim(&new_berth("dev", &[], 20000), &event("x")).unwrap();
    assert_eq!(ledger.told_times(&berth).unwrap(), [], "an earlier berth of that name");
    tell("ssh.login", "berth:dev", "2099-01-01T00:00:00Z");
    tell("ssh.end", "berth:dev", "2025-01-03T00:00:00Z");
    let told: Vec<String> = ledger.told_times(&berth).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["2025-01-03T00:00:00Z", "2099-01-01T00:00:00Z"]);
}

#[test]
fn a_renamed_berth_keeps_its_events_and_frees_its_name() {
    let (_dir, ledger) = open();
    let about = |kind: &'static str, name: &str, second: i64| NewEvent {
        at: at(second),
        actor: format!("berth:{name}"),
        berth: Some(name.into()),
        ..event(kind)
    };
    let berth = ledger.claim(&new_berth("dev", &[], 20000), &about("berth.requested", "dev", 1)).unwrap();
    assert!(ledger.rename(&berth, "train", &about("x", "train", 1)).is_err(), "it is being made");
    let berth = ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &about("berth.live", "dev", 2)).unwrap();
    ledger.record(&about("ssh.login", "dev", 3)).unwrap();
    ledger.claim(&new_berth("other", &[], 20001), &about("berth.requested", "other", 3)).unwrap();
    let before = ledger.events(0, 100, None).unwrap().len();
    let taken = ledger.rename(&berth, "other", &about("berth.renamed", "other", 4));
    assert!(matches!(taken, Err(ClaimError::NameTaken { .. })), "{taken:?}");
    assert_eq!(ledger.events(0, 100, None).unwrap().len(), before, "a refused one changes nothing");
    let ticket = NewTicket {
        owner: "alice".into(),
        berth: Some("dev".into()),
        wish: crate::model::CardWish::Count(1),
        lease: std::time::Duration::from_mins(1),
        unattended: false,
        request: None,
    };
    ledger.add_ticket(&ticket, &event("x")).unwrap();
    let renamed = ledger.rename(&berth, "train", &about("berth.renamed", "train", 4)).unwrap();
    assert_eq!((renamed.id, renamed.name.as_str()), (berth.id, "train"));
    assert_eq!(ledger.tickets().unwrap()[0].berth.as_deref(), Some("train"));
    assert!(ledger.standing_berth("alice", "dev").unwrap().is_none());
    // The events of the next berth with the name that it gave up are not its own.
    ledger.claim(&new_berth("dev", &[], 20002), &about("berth.requested", "dev", 9)).unwrap();
    let kinds = |berth: &Berth| -> Vec<String> {
        ledger.berth_events(berth, 100).unwrap().into_iter().map(|event| event.kind).collect()
    };
    assert_eq!(kinds(&renamed), ["berth.renamed", "ssh.login", "berth.live", "berth.requested"]);
    let again = ledger.rename(&renamed, "old", &about("berth.renamed", "old", 10)).unwrap();
    assert_eq!(kinds(&again).len(), 5);
}

#[test]
fn whose_account_is_a_users_is_known_at_once() {
    let (dir, ledger) = open();
    assert!(ledger.knows_uid(1001) && !ledger.knows_uid(1002));
    ledger.set_uid("alice", Some(1002), &event("x")).unwrap();
    assert!(!ledger.knows_uid(1001) && ledger.knows_uid(1002));
    ledger.add_user("bob", Some(1001), &[], &event("x")).unwrap();
    ledger.remove_user("alice", &event("x")).unwrap();
    assert!(ledger.knows_uid(1001) && !ledger.knows_uid(1002));
    drop(ledger);
    let again = Ledger::open(&dir.path().join("ledger.db"), at(0)).unwrap();
    assert!(again.knows_uid(1001) && !again.knows_uid(1002));
}

#[test]
fn the_past_of_ports_does_not_grow_with_the_berths() {
    let (_dir, ledger) = open();
    ledger.add_user("bob", Some(1002), &[], &event("x")).unwrap();
    let mut last = 0;
    let mut use_port = |owner: &str, name: &str, port: u16, key: &str| {
        let new = NewBerth { owner: owner.into(), ..new_berth(name, &[0], port) };
        let berth = ledger.claim(&new, &event("x")).unwrap();
        ledger.commit_live(berth.id, key, &event("x")).unwrap();
        ledger.begin_release(berth.id, &event("x")).unwrap();
        ledger.end(berth.id, BerthState::Released, "done", &event("x")).unwrap();
        last = berth.id;
    };
    for number in 0..10 {
        use_port("bob", &format!("n{number}"), 20000, "B");
        use_port("alice", &format!("n{number}"), 20000, "A");
        use_port("alice", "dev", 20000, "A");
        use_port("bob", "dev", 20001, "B");
    }
    let mut found = ledger.port_uses("alice", "dev", "A").unwrap();
    found.sort_by_key(|used| used.last);
    let found: Vec<_> =
        found.iter().map(|used| (used.port, used.owner.as_str(), used.name.as_str(), used.last)).collect();
    assert_eq!(
        found,
        [
            (20000, "bob", "n9", last - 3),
            (20000, "alice", "n9", last - 2),
            (20000, "alice", "dev", last - 1),
            (20001, "bob", "dev", last),
        ]
    );
}

#[test]
fn the_cards_of_the_next_start_are_asked_for_until_it_is_live() {
    let (_dir, ledger) = open();
    let berth = ledger.claim(&new_berth("a", &[0, 1], 20000), &event("x")).unwrap();
    let new = |cards: Option<&[u32]>, size| NewSize {
        size,
        cards: cards.map(|cards| cards.iter().copied().map(CardId).collect()),
        memory: None,
        cpus: None,
    };
    assert!(ledger.resize(berth.id, &new(None, 4), &event("x")).is_err(), "it is not stopped");
    ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
    ledger.begin_stop(berth.id, StopReason::Asked, &event("x")).unwrap();
    ledger.stopped(berth.id, at(99), &event("x")).unwrap();
    let resized = ledger.resize(berth.id, &new(Some(&[5]), 1), &event("x")).unwrap();
    assert_eq!((resized.size, resized.next_cards), (1, Some(vec![CardId(5)])));
    let start = || ledger.begin_start(berth.id, &[CardId(5)], None, false, (None, &[]), &event("x")).unwrap();
    assert_eq!(start().next_cards, Some(vec![CardId(5)]));
    // A start that failed is tried again on the same cards.
    ledger.begin_stop(berth.id, StopReason::Failed, &event("x")).unwrap();
    let stopped = ledger.stopped(berth.id, at(99), &event("x")).unwrap();
    assert_eq!(stopped.next_cards, Some(vec![CardId(5)]));
    start();
    assert_eq!(ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap().next_cards, None);
    ledger.begin_stop(berth.id, StopReason::Asked, &event("x")).unwrap();
    ledger.stopped(berth.id, at(99), &event("x")).unwrap();
    ledger.resize(berth.id, &new(Some(&[5]), 1), &event("x")).unwrap();
    assert_eq!(ledger.resize(berth.id, &new(None, 1), &event("x")).unwrap().next_cards, None, "any one");
}

#[test]
fn a_stopped_berth_has_a_name_and_a_port_and_no_cards() {
    let (_dir, ledger) = open();
    let berth = ledger.claim(&new_berth("a", &[0, 1], 20000), &event("x")).unwrap();
    let wrong = ledger.stopped(berth.id, at(99), &event("x")).unwrap_err();
    assert_eq!(wrong.message, "alice/a is creating and cannot become stopped");
    assert_eq!(wrong.class, crate::error::ErrorClass::Refused);
    ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
    ledger.begin_stop(berth.id, StopReason::Lease, &event("x")).unwrap();
    let claim = |name, cards: &[u32], port| ledger.claim(&new_berth(name, cards, port), &event("x"));
    assert!(matches!(claim("b", &[1], 20001), Err(ClaimError::CardTaken(_))), "until it has stopped");
    let stopped = ledger.stopped(berth.id, at(99), &event("x")).unwrap();
    let stop = Stop {
        reason: StopReason::Lease,
        at: at(0),
        kept_until: Some(at(99)),
        release_at: None,
        kept: false,
    };
    assert_eq!((stopped.cards.len(), stopped.size, stopped.until, stopped.stop), (0, 2, None, Some(stop)));
    assert!(matches!(claim("b", &[1], 20000), Err(ClaimError::PortTaken(20000))));
    assert!(matches!(claim("a", &[1], 20001), Err(ClaimError::NameTaken { .. })));
    let other = claim("b", &[1], 20001).unwrap();
    let start = |cards: &[u32]| {
        let cards: Vec<CardId> = cards.iter().copied().map(CardId).collect();
        ledger.begin_start(berth.id, &cards, Some(60), false, (None, &[]), &event("x"))
    };
    assert!(matches!(start(&[0, 1]), Err(ClaimError::CardTaken(_))));
    assert_eq!(ledger.berth_by_id(berth.id).unwrap().state, BerthState::Stopped, "nothing of it is left");
    assert_eq!(ledger.cards_of(berth.id).unwrap(), [CardId(0), CardId(1)]);
    assert_eq!(start(&[0, 2]).unwrap().cards, [CardId(0), CardId(2)]);
    let live = ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("x")).unwrap();
    assert_eq!((live.until, live.stop), (Some(at(60)), None));
    // What it had before its stop may still be in the hands of its owner's other berth.
    assert_eq!(ledger.cards_given_back(&other).unwrap(), [CardId(0), CardId(1)]);
}
