//! What people in the queue are told about their turn, and how use is counted.

use super::*;

fn idle(berth: Standing) -> Standing {
    Standing { idle: Some(Idle { since: noon() - hours(2), parked: false }), ..berth }
}

fn times(node: &Situation) -> Vec<(i64, Option<Duration>, Option<Duration>)> {
    let from_noon = |time: Timestamp| Duration::try_from(time.duration_since(noon())).unwrap();
    let times = |place: Place| (place.ticket, place.likely.map(from_noon), place.latest.map(from_noon));
    places(node).into_iter().map(times).collect()
}

#[test]
fn likely_goes_by_idle_berths_too_and_latest_by_leases_alone() {
    let node = empty_node().with([idle(berth(1, "alice", 0..4, hours(3))), berth(2, "bob", 4..8, hours(6))]);
    let node = node.waiting([ticket(1, "carol", any(4), hours(1)), ticket(2, "dave", any(8), minutes(0))]);
    let (grace, bob_ends) = (minutes(15), minutes(2 * 60 + 15));
    // carol gets alice's cards, if alice does not work again, and else bob's; dave waits for both.
    let carol_ends = |start| start + hours(8) + grace;
    let dave = (Some(carol_ends(grace)), Some(carol_ends(bob_ends)));
    assert_eq!(times(&node), [(1, Some(grace), Some(bob_ends)), (2, dave.0, dave.1)]);
}

#[test]
fn places_follow_the_order_that_decides() {
    let node = empty_node().with([berth(1, "alice", 0..8, hours(7))]).waiting([
        ticket(1, "alice", any(1), hours(3)),
        ticket(2, "bob", any(1), hours(2)),
        ticket(3, "carol", any(8), hours(13)),
    ]);
    let order: Vec<(i64, usize, bool)> =
        places(&node).iter().map(|place| (place.ticket, place.place, place.first)).collect();
    assert_eq!(order, [(3, 1, true), (2, 2, false), (1, 3, false)]);
}

#[test]
fn nobody_is_told_a_time_that_no_lease_gives() {
    let endless = Standing { lease: None, until: None, ..berth(1, "alice", 0..8, hours(1)) };
    let node = empty_node().with([endless.clone()]).waiting([ticket(1, "bob", any(1), minutes(0))]);
    assert_eq!(times(&node), [(1, None, None)]);
    let node = empty_node().with([idle(endless)]).waiting([ticket(1, "bob", any(1), minutes(0))]);
    assert_eq!(times(&node), [(1, Some(minutes(15)), None)]);
}

#[test]
fn who_would_start_at_once_is_told_so_and_others_what_is_left_of_a_lease() {
    let node = empty_node().with([berth(1, "alice", 0..7, hours(5))]);
    let node = node.waiting([ticket(1, "bob", any(1), hours(1)), ticket(2, "carol", any(1), minutes(0))]);
    let alice_ends = Some(minutes(3 * 60 + 15));
    let now = Some(Duration::ZERO);
    assert_eq!(times(&node), [(1, now, now), (2, alice_ends, alice_ends)]);
}

#[test]
fn an_unattended_berth_has_no_grace_and_one_that_stops_is_as_good_as_gone() {
    let batch = Standing { unattended: true, ..berth(1, "alice", 0..4, hours(6)) };
    let stopping = Standing { phase: Phase::Stopping { since: noon() }, ..berth(2, "bob", 4..8, hours(1)) };
    let node = empty_node().with([batch, stopping]).waiting([ticket(1, "carol", any(8), minutes(0))]);
    assert_eq!(times(&node), [(1, Some(hours(2)), Some(hours(2)))]);
}

#[test]
fn use_counts_half_after_each_half_life() {
    let day = hours(24);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    near(usage::decayed(8.0, 2 * day, day), 2.0);
    near(usage::held(4, Duration::ZERO, day), 0.0);
    // Held in two parts, it is the same.
    let (first, second) = (usage::held(4, hours(5), day), usage::held(4, hours(7), day));
    near(usage::decayed(first, hours(7), day) + second, usage::held(4, hours(12), day));
    let short = usage::held(4, minutes(6), day);
    assert!((0.399..0.4).contains(&short), "{short}");
    near(usage::held(4, hours(5), Duration::ZERO), 0.0);
}
