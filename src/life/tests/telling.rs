//! Warnings, and the ends of unattended berths.

use super::*;

fn node_that_warns() -> Situation {
    Situation { rules: Rules::default(), ..empty_node() }
}

/// What is told in a lease, minute by minute, as (minutes left, whether programs are to end).
fn told(lease: Duration, unattended: bool) -> Vec<(u64, bool)> {
    let mut alice = berth(1, "alice", 0..8, minutes(0));
    (alice.lease, alice.until) = (Some(lease), Some(noon() + lease));
    alice.unattended = unattended;
    let mut node = node_that_warns().with([alice]);
    let mut told = Vec::new();
    for _ in 0..lease.as_secs() / 60 + 30 {
        let decided = decide(&node);
        told.extend(decided.iter().filter_map(|action| match action {
            Action::Warn { left, terminate, .. } => Some((left.as_secs() / 60, *terminate)),
            _ => None,
        }));
        node = node.done(&decided).after(minutes(1));
    }
    told
}

#[test]
fn warnings_come_once_each() {
    assert_eq!(told(hours(8), false), [(120, false), (30, false), (5, false)]);
    assert_eq!(told(hours(72), false), [(120, false), (30, false), (5, false)]);
    assert_eq!(told(hours(2), false), [(30, false), (5, false)], "a quarter is half an hour");
    assert_eq!(told(hours(1), false), [(30, false), (15, false), (5, false)]);
    assert_eq!(told(minutes(30), false), [(7, false), (5, false)]);
    assert_eq!(told(minutes(4), false), [(1, false)]);
}

#[test]
fn unattended_programs_are_told_ten_minutes_before() {
    assert_eq!(told(hours(8), true), [(120, false), (30, false), (10, true), (5, false)]);
    assert_eq!(told(minutes(16), true), [(8, true), (5, false), (4, false)]);
}

#[test]
fn an_agent_that_slept_warns_once() {
    let alice = berth(1, "alice", 0..8, minutes(8 * 60 - 3));
    let node = node_that_warns().with([alice]);
    let decided = decide(&node);
    assert_eq!(decided, [Action::Warn { berth: 1, left: minutes(3), terminate: false }]);
    assert_eq!(decide(&node.done(&decided).after(minutes(1))), []);
}

#[test]
fn a_renewed_lease_is_warned_of_anew() {
    let mut alice = berth(1, "alice", 0..8, hours(7));
    alice.told_left = Some(minutes(5));
    let node = node_that_warns().with([alice]);
    assert_eq!(decide(&node), [Action::Warn { berth: 1, left: hours(1), terminate: false }]);
}

#[test]
fn unattended_ends_at_its_end_whoever_waits() {
    let mut batch = berth(1, "alice", 0..8, minutes(0));
    batch.unattended = true;
    let mut node = node_that_warns().with([batch]);
    let mut seen = Vec::new();
    for minute in 0..=480 {
        let decided = decide(&node);
        for action in decided.iter().filter(|action| !matches!(action, Action::Warn { .. })) {
            seen.push((minute, action.clone()));
        }
        node = node.done(&decided).after(minutes(1));
    }
    let (stops_at, why) = (noon() + hours(8), Why::Unattended);
    let announce = Action::Announce { berth: 1, stops_at, why };
    assert_eq!(seen, [(465, announce), (480, Action::Stop { berth: 1, why })]);
}

#[test]
fn an_unattended_berth_that_is_renewed_or_locked_goes_on() {
    let mut batch = berth(1, "alice", 0..8, hours(8));
    (batch.unattended, batch.locked) = (true, true);
    let mut node = empty_node().with([batch]);
    assert_eq!(decide(&node), []);
    node.find(1).asked = Some(Asked { at: noon(), stops_at: noon(), why: Why::Unattended });
    assert_eq!(decide(&node), [Action::Withdraw { berth: 1 }]);
    node.find(1).locked = false;
    node.find(1).until = Some(noon() + hours(4));
    assert_eq!(decide(&node), [Action::Withdraw { berth: 1 }]);
}

#[test]
fn a_lease_is_renewed_freely_until_somebody_waits_for_its_cards() {
    let node = empty_node().with([berth(1, "alice", 0..6, hours(7))]);
    let ask = |node: &Situation| renewal(node, &node.standing[0]);
    assert_eq!(ask(&node), Renewal::Free);
    let mut wanted = node.clone().waiting([ticket(1, "bob", any(4), minutes(0))]);
    assert_eq!(ask(&wanted), Renewal::Limited { most: hours(4), is_wanted: true });
    wanted.find(1).renewals = 1;
    assert_eq!(ask(&wanted), Renewal::Refused);
    let own = node.clone().waiting([ticket(1, "alice", any(4), minutes(0))]);
    assert_eq!(ask(&own), Renewal::Free);
    let elsewhere = node.with([berth(2, "carol", 6..8, hours(1))]);
    let large = |waited| elsewhere.clone().waiting([ticket(1, "bob", any(8), waited)]);
    assert_eq!(ask(&large(hours(1))), Renewal::Free, "carol's cards are missing all the same");
    assert_eq!(ask(&large(hours(12))), Renewal::Limited { most: hours(4), is_wanted: true }, "bob is first");
}

#[test]
fn idle_cards_may_be_kept_twice_a_lease() {
    let mut alice = berth(1, "alice", 0..6, hours(7));
    let may = [0, 1, 2].map(|keeps| {
        alice.keeps = keeps;
        Rules::default().may_keep(alice.keeps)
    });
    assert_eq!(may, [true, true, false]);
}
