//! Decisions about time, on a node whose clock the test turns. No engine is there: none of these asks one.

use super::away::COME_BACK;
use super::caller::Caller;
use super::ration::Act;
use super::rulings::NewRuling;
use super::{Count, Node};
use crate::error::{ErrorClass, class_of};
use crate::host::clock::TestClock;
use crate::host::dirs;
use crate::ledger::{NewBerth, NewTicket};
use crate::model::lease_file::LeaseFile;
use crate::model::{Berth, BerthState, CardId, CardVerdict, CardWish, LockRequest, StopReason};
use std::time::Duration;

const START: &str = "2026-01-01T08:00:00Z";

fn root() -> Caller {
    Caller { name: "root".into(), admin: true, user: None }
}

fn alice() -> Caller {
    Caller { name: "alice".into(), admin: false, user: Some("alice".into()) }
}

/// A live berth of alice's in the ledger.
pub(super) fn live_berth(node: &Node) -> Berth {
    let (added, live) = (node.event("user.added", "root", "t"), node.event("berth.live", "alice", "t"));
    let new = NewBerth {
        owner: "alice".into(),
        name: "train".into(),
        cards: vec![CardId(0)],
        port: 20_000,
        ssh_user: "ma-user".into(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        memory: None,
        cpus: None,
        lease: None,
        unattended: false,
        ticket: None,
        overtaken: Vec::new(),
    };
    let ledger = node.ledger_handle();
    ledger.add_user("alice", Some(1001), &[], &added).unwrap();
    let berth = ledger.claim(&new, &node.event("berth.requested", "alice", "t")).unwrap();
    ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &live).unwrap()
}

#[tokio::test]
async fn a_lease_is_counted_on_the_nodes_clock() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    live_berth(&node);
    let until = async || node.renew(&alice(), "train", Some(7200)).await.unwrap().until.unwrap().to_string();
    assert_eq!(until().await, "2026-01-01T10:00:00Z");
    clock.pass(Duration::from_hours(30));
    assert_eq!(until().await, "2026-01-02T16:00:00Z");
    // People read it on the clock of the wall, whatever somebody sets that to.
    clock.set("2025-12-31T00:00:00Z");
    assert_eq!(until().await, "2025-12-31T02:00:00Z");
    let events = node.events(&root(), 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().at.to_string(), "2025-12-31T00:00:00Z");
}

#[tokio::test]
async fn the_place_of_a_client_that_does_not_come_back_is_kept_for_a_minute() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    live_berth(&node);
    let new = NewTicket {
        owner: "alice".into(),
        berth: None,
        wish: CardWish::Count(2),
        lease: Duration::from_hours(1),
        unattended: false,
        request: None,
    };
    let back = async |id, new: &NewTicket| node.takes_up(id, new).await.unwrap();
    let id = node.add_ticket(&new, "alice").await.unwrap();
    assert!(!back(id, &new).await, "its client is there");
    node.expect_waiting().await.unwrap();
    for other in [
        NewTicket { owner: "bob".into(), ..new.clone() },
        NewTicket { wish: CardWish::Count(3), ..new.clone() },
        NewTicket { lease: Duration::from_hours(2), ..new.clone() },
    ] {
        assert!(!back(id, &other).await, "{other:?}");
    }
    clock.pass(COME_BACK / 2);
    node.forget_away().await.unwrap();
    assert!(back(id, &new).await);
    assert!(!back(id, &new).await, "it has come back");
    clock.pass(COME_BACK * 2);
    node.forget_away().await.unwrap();
    assert_eq!(node.ledger_handle().tickets().unwrap().len(), 1);

    node.expect_waiting().await.unwrap();
    clock.pass(COME_BACK);
    node.forget_away().await.unwrap();
    assert_eq!(node.ledger_handle().tickets().unwrap(), []);
    let events = node.events(&root(), 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().text, "alice waits no more for 2 cards");
    assert!(!back(id, &new).await);
}

/// What was told of leases, the oldest first.
async fn told(node: &Node) -> Vec<String> {
    let events = node.events(&root(), 0, 100).await.unwrap();
    let of_leases = events.into_iter().filter(|event| event.kind.contains("lease"));
    of_leases.map(|event| format!("{}: {}", event.kind, event.text)).collect()
}

#[tokio::test]
async fn an_owner_is_warned_before_the_end_of_a_lease() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    live_berth(&node);
    node.renew(&alice(), "train", Some(8 * 3600)).await.unwrap();
    let mut count = Count::default();
    let mut pass = async |hours: f64| {
        clock.pass(Duration::from_secs_f64(hours * 3600.0));
        node.keep_leases(&mut count).await.unwrap();
        node.keep_leases(&mut count).await.unwrap();
        told(&node).await.len()
    };
    assert_eq!([pass(5.0).await, pass(1.0).await, pass(1.0).await, pass(0.5).await], [0, 1, 1, 2]);
    assert_eq!(pass(2.0).await, 2, "nobody waits: nothing ends");
    assert_eq!(
        told(&node).await,
        [
            "berth.lease-ending: the lease of alice/train ends in 2h",
            "berth.lease-ending: the lease of alice/train ends in 30m"
        ]
    );
}

#[tokio::test]
async fn an_idle_berth_is_kept_twice_in_a_lease_and_one_that_is_locked_for_its_time() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let berth = live_berth(&node);
    node.renew(&alice(), "train", Some(8 * 3600)).await.unwrap();
    let ask = |reason| {
        let (at, event) = (node.now().wall, node.event("berth.asked-back", "agent", "t"));
        node.ledger_handle().note_stop(berth.id, Some((at, reason)), "t", &event).unwrap();
    };
    assert_eq!(node.keep_berth(&alice(), "train").await.unwrap().stops_at, None, "nobody asked for it");
    for _ in 0..2 {
        ask(StopReason::Idle);
        assert_eq!(node.keep_berth(&alice(), "train").await.unwrap().stops_at, None);
    }
    ask(StopReason::Idle);
    let refused = async || node.keep_berth(&alice(), "train").await.unwrap_err().to_string();
    assert!(refused().await.contains("was kept 2 times"), "{}", refused().await);
    node.renew(&alice(), "train", Some(3600)).await.unwrap();
    ask(StopReason::Lease);
    assert!(refused().await.contains("its lease is over"), "{}", refused().await);

    let lock = |seconds, why: &str| LockRequest { seconds, why: why.into() };
    assert!(node.lock_berth(&alice(), "train", lock(3600, "w")).await.is_err(), "not by its owner");
    for wrong in [lock(0, "w"), lock(u64::MAX, "w"), lock(60, " "), lock(60, &"w".repeat(201))] {
        assert_eq!(class_of(&node.lock_berth(&root(), "train", wrong).await.unwrap_err()), ErrorClass::Usage);
    }
    let locked = node.lock_berth(&root(), "train", lock(3600, "a paper\n")).await.unwrap();
    assert_eq!(locked.lock.as_ref().map(|lock| lock.why.as_str()), Some("a paper"));
    let now = async || {
        let berth = node.find_berth(&alice(), "train").await.unwrap();
        node.with_lease_state(berth).lock.is_some()
    };
    assert!(now().await);
    clock.pass(Duration::from_hours(1));
    assert!(!now().await);
    node.lock_berth(&root(), "train", lock(3600, "again")).await.unwrap();
    assert_eq!(node.unlock_berth(&root(), "train").await.unwrap().lock, None);
}

#[tokio::test]
async fn a_clock_that_is_set_moves_no_end() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    live_berth(&node);
    let left = async || {
        let berth = node.find_berth(&alice(), "train").await.unwrap();
        berth.until.unwrap().duration_since(node.now().wall).as_secs()
    };
    node.renew(&alice(), "train", Some(8 * 3600)).await.unwrap();
    let mut count = Count::default();
    node.keep_leases(&mut count).await.unwrap();
    for (set, said) in [("2027-01-01T08:00:00Z", "forward"), ("2020-01-01T08:00:00Z", "back")] {
        clock.set(set);
        node.keep_leases(&mut count).await.unwrap();
        assert_eq!(left().await, 8 * 3600);
        let last = told(&node).await.pop().unwrap();
        assert!(last.starts_with(&format!("leases.moved: the clock was set {said} by ")), "{last}");
        assert!(node.ends_are_held());
    }
    clock.pass(Duration::from_hours(1));
    assert!(!node.ends_are_held());
    node.keep_leases(&mut count).await.unwrap();
    assert_eq!(left().await, 7 * 3600);
    // The next agent, two hours later: nobody could work meanwhile.
    clock.pass(Duration::from_hours(2));
    node.keep_leases(&mut Count::default()).await.unwrap();
    assert_eq!(left().await, 7 * 3600);
}

#[tokio::test]
async fn what_an_administrator_allows_ends_when_its_time_is_over() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let allow = NewRuling { verdict: CardVerdict::Allow, why: None, seconds: Some(3600) };
    node.rule_card(&root(), 3, allow).await.unwrap();
    clock.pass(Duration::from_secs(3599));
    assert!(node.rulings().await.unwrap().contains_key(&CardId(3)));
    clock.pass(Duration::from_secs(1));
    assert!(node.rulings().await.unwrap().is_empty());
}

/// Its release would destroy its container. No engine is there, so a release that was begun would be seen as such.
#[tokio::test]
async fn a_stopped_berth_is_kept_whatever_the_clock_is_set_to_and_while_nobody_could_start_it() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let id = live_berth(&node).id;
    let ledger = node.ledger_handle();
    ledger.begin_stop(id, StopReason::Asked, &node.event("berth.stopping", "alice", "t")).unwrap();
    let until = "2026-01-08T08:00:00Z".parse().unwrap();
    ledger.stopped(id, until, &node.event("berth.stopped", "alice", "t")).unwrap();
    let left = async || {
        let berth = node.find_berth(&alice(), "train").await.unwrap();
        assert_eq!(berth.state, BerthState::Stopped);
        berth.stop.unwrap().kept_until.unwrap().duration_since(node.now().wall).as_hours()
    };
    let mut count = Count::default();
    node.keep_leases(&mut count).await.unwrap();
    for set in ["2027-01-01T08:00:00Z", "2024-12-31T08:00:00Z", START] {
        clock.set(set);
        node.keep_leases(&mut count).await.unwrap();
        assert_eq!(left().await, 7 * 24, "{set}");
    }
    // The next agent, after two weeks in which nobody could start it.
    clock.pass(Duration::from_hours(14 * 24));
    let mut count = Count::default();
    node.keep_leases(&mut count).await.unwrap();
    assert_eq!(left().await, 7 * 24);
    // It was stopped on a clock that was set by then, which the agent sees a moment later: it is kept for a day at least.
    clock.set("2024-12-31T08:00:00Z");
    let (start, live) = (node.event("berth.starting", "alice", "t"), node.event("berth.live", "alice", "t"));
    ledger.begin_start(id, &[CardId(0)], None, false, (None, &[]), &start).unwrap();
    ledger.commit_live(id, "ssh-ed25519 AAAA", &live).unwrap();
    ledger.begin_stop(id, StopReason::Asked, &node.event("berth.stopping", "alice", "t")).unwrap();
    let until = "2025-01-07T08:00:00Z".parse().unwrap();
    ledger.stopped(id, until, &node.event("berth.stopped", "alice", "t")).unwrap();
    node.keep_leases(&mut count).await.unwrap();
    assert_eq!(left().await, 24);
    clock.pass(Duration::from_hours(23));
    node.keep_leases(&mut count).await.unwrap();
    assert_eq!(left().await, 1);
    // In the end it is released.
    clock.pass(Duration::from_hours(2));
    node.keep_leases(&mut count).await.unwrap();
    let berth = node.find_berth(&alice(), "train").await.unwrap();
    assert_eq!(berth.state, BerthState::Releasing, "there is no engine that could remove its container");
}

/// How often somebody may do something does not depend on who sets the clock.
#[tokio::test]
async fn a_ration_comes_again_with_time_and_not_with_the_clock_on_the_wall() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let taken = || (0..100).take_while(|_| node.ration(&alice(), Act::Renew).is_ok()).count();
    assert_eq!(taken(), 20);
    clock.set("2027-01-01T00:00:00Z");
    assert_eq!(taken(), 0);
    clock.pass(Duration::from_secs(15));
    assert_eq!(taken(), 1);
    let error = node.ration(&alice(), Act::Renew).unwrap_err();
    assert_eq!(class_of(&error.into()), ErrorClass::Busy);
}

/// A look that is new enough serves those who ask, and none does for ever. `/bin/false` is no npu-smi: it fails at once.
#[tokio::test]
async fn a_look_at_the_cards_grows_old() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let now = clock_of(&node);
    let first = node.npu(now).await.unwrap();
    assert!(first.error.is_some());
    // One that failed serves only those who asked while it ran: the clock stands still.
    assert!(std::sync::Arc::ptr_eq(&first, &node.npu(now).await.unwrap()));
    clock.pass(Duration::from_millis(1));
    assert!(!std::sync::Arc::ptr_eq(&first, &node.npu(now).await.unwrap()));
}

fn clock_of(node: &Node) -> crate::model::clock::BootTime {
    node.now().boot
}

/// What the files of a berth say of its lease.
fn lease_file(node: &Node, berth: &Berth) -> LeaseFile {
    let path = node.berth_dir(berth.id).join("info/lease.json");
    LeaseFile::parse(&node.host().read(&path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_berth_s_own_file_follows_its_lease_and_has_what_its_owner_was_told() {
    let clock = TestClock::at(START);
    let (node, _dir) = Node::for_test(clock.clone());
    let berth = live_berth(&node);
    // Nowhere to write it: that is logged, and fails nothing.
    node.renew(&alice(), "train", Some(4 * 3600)).await.unwrap();
    dirs::make_dir(&node.berth_dir(berth.id), 0o700).unwrap();
    dirs::make_dir(&node.berth_dir(berth.id).join("info"), 0o755).unwrap();
    let mut count = Count::default();
    let mut look = async |node: &std::sync::Arc<Node>, hours: f64| {
        clock.pass(Duration::from_secs_f64(hours * 3600.0));
        node.keep_leases(&mut count).await.unwrap();
        lease_file(node, &berth)
    };
    let file = look(&node, 0.0).await;
    assert_eq!(
        (file.berth.as_str(), &file.cards, file.lease),
        ("alice/train", &vec![CardId(0)], Some(4 * 3600))
    );
    assert_eq!((file.until.unwrap().to_string(), file.waiting), ("2026-01-01T12:00:00Z".to_owned(), 0));
    assert_eq!((file.stops_at, file.reason, file.message), (None, None, None));
    let warned = look(&node, 3.25).await.message.unwrap();
    assert!(warned.text.starts_with("the lease of alice/train ends at "), "{}", warned.text);
    assert!(warned.text.contains("(in 45 min): nobody waits for cards"), "{}", warned.text);
    assert_eq!(look(&node, 0.1).await.message.unwrap(), warned, "once");
    let again = look(&node, 0.3).await.message.unwrap();
    assert!(again.id > warned.id && again.text.contains("(in 21 min)"), "{again:?}");

    // It is asked back, and renewed: whoever read of its end reads that it goes on.
    let (at, id) = (node.now().wall, berth.id);
    let event = node.event("berth.asked-back", "agent", "t");
    node.ledger_handle().note_stop(id, Some((at, StopReason::Lease)), "stops", &event).unwrap();
    node.write_lease_files().await;
    let file = lease_file(&node, &berth);
    assert_eq!((file.stops_at, file.reason), (Some(at), Some(StopReason::Lease)));
    assert_eq!(file.message.unwrap().text, "stops");
    node.renew(&alice(), "train", Some(3600)).await.unwrap();
    let file = lease_file(&node, &berth);
    assert_eq!((file.stops_at, file.reason, file.lease), (None, None, Some(3600)));
    assert!(file.message.unwrap().text.starts_with("alice/train is not stopped: its lease was renewed"));
}
