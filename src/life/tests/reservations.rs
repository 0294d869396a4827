//! Cards that an administrator reserved for a time.

use super::*;

const NOBODY: [i64; 0] = [];

/// alice's class has eight cards from 14:00 to 16:00.
fn class(cards: usize) -> Situation {
    let (from, until) = (noon() + hours(2), noon() + hours(4));
    let mut node = empty_node();
    node.reservations.push(Reserved { owner: "alice".to_owned(), from, until, cards });
    node
}

fn starts(node: &Situation) -> Vec<i64> {
    let start = |action: &Action| match action {
        Action::Start { ticket, .. } => Some(*ticket),
        _ => None,
    };
    decide(node).iter().filter_map(start).collect()
}

fn for_so_long(id: i64, owner: &str, wish: CardWish, lease: Duration) -> Ticket {
    Ticket { lease: Some(lease), ..ticket(id, owner, wish, minutes(0)) }
}

#[test]
fn others_start_if_they_end_before_or_on_other_cards() {
    assert_eq!(starts(&class(8).waiting([for_so_long(1, "bob", any(1), hours(1))])), [1]);
    assert_eq!(starts(&class(8).waiting([for_so_long(1, "bob", any(1), hours(2))])), NOBODY);
    assert_eq!(starts(&class(6).waiting([for_so_long(1, "bob", any(2), hours(8))])), [1]);
    assert_eq!(starts(&class(6).waiting([for_so_long(1, "bob", any(3), hours(8))])), NOBODY);
    let after = class(8).after(hours(4));
    assert_eq!(starts(&after.waiting([for_so_long(1, "bob", any(8), hours(8))])), [1]);
}

#[test]
fn its_owner_starts_in_its_time_and_what_is_left_stays_reserved() {
    let node = class(8)
        .after(hours(2))
        .waiting([for_so_long(1, "bob", any(2), hours(1)), for_so_long(2, "alice", any(4), hours(2))]);
    assert_eq!(starts(&node), [2]);
    let decided = decide(&node);
    assert_eq!(starts(&node.done(&decided)), NOBODY);
}

#[test]
fn what_is_overdue_is_asked_back_in_time() {
    let mut node = class(8).with([berth(1, "bob", 0..4, hours(9)), berth(2, "carol", 4..8, hours(7))]);
    node.find(2).lease = Some(hours(12));
    node.find(2).until = Some(noon() + hours(5));
    assert_eq!(decide(&node.clone().after(minutes(100))), []);
    assert_eq!(decide(&node.clone().after(minutes(110))), [], "carol works, and has her lease");
    node.find(2).until = Some(noon() + hours(1));
    let node = node.after(minutes(105));
    let announce = |berth| Action::Announce { berth, stops_at: noon() + hours(2), why: Why::Lease };
    assert_eq!(decide(&node), [announce(1), announce(2)]);
}

#[test]
fn what_is_free_already_is_its_owner_s_at_once() {
    let overdue = Standing { until: Some(noon()), ..berth(1, "bob", 0..4, hours(1)) };
    let node = class(8).with([overdue]).after(hours(2));
    let announce = Action::Announce { berth: 1, stops_at: noon() + minutes(135), why: Why::Lease };
    assert_eq!(decide(&node), std::slice::from_ref(&announce));
    let node = node.waiting([for_so_long(2, "alice", any(4), hours(2))]);
    assert_eq!(decide(&node), [Action::Start { ticket: 2, cards: cards(4..8) }, announce]);
}

#[test]
fn the_first_ticket_waits_for_its_end_where_it_would_be_in_its_way() {
    let node = class(8).waiting([for_so_long(1, "bob", any(8), hours(2))]);
    let place = places(&node)[0];
    assert_eq!((place.likely, place.latest), (Some(noon() + hours(4)), Some(noon() + hours(4))));
}

#[test]
fn two_at_the_same_time_have_cards_of_their_own() {
    let mut node = class(4);
    let mut other = node.reservations[0].clone();
    other.owner = "carol".to_owned();
    node.reservations.push(other);
    assert_eq!(starts(&node.clone().waiting([for_so_long(1, "bob", any(1), hours(8))])), NOBODY);
    node.reservations[1].from = noon() + hours(4);
    node.reservations[1].until = noon() + hours(6);
    assert_eq!(starts(&node.waiting([for_so_long(1, "bob", any(4), hours(8))])), [1]);
}

#[test]
fn a_lease_is_not_renewed_into_it() {
    let node = class(8).with([berth(1, "bob", 0..8, hours(7))]);
    assert_eq!(renewal(&node, &node.standing[0]), Renewal::Limited { most: minutes(105), is_wanted: false });
}
