//! The policy's sentences, one test each.

use super::*;
use std::collections::BTreeSet;

const NOBODY: [i64; 0] = [];
const NO_ASKS: [(i64, Why); 0] = [];

fn started(actions: &[Action]) -> Vec<(i64, Vec<CardId>)> {
    let start = |action: &Action| match action {
        Action::Start { ticket, cards } => Some((*ticket, cards.clone())),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

fn who_starts(situation: &Situation) -> Vec<i64> {
    started(&decide(situation)).into_iter().map(|(ticket, _)| ticket).collect()
}

fn announced(actions: &[Action]) -> Vec<(i64, Why)> {
    let announce = |action: &Action| match action {
        Action::Announce { berth, why, .. } => Some((*berth, *why)),
        _ => None,
    };
    actions.iter().filter_map(announce).collect()
}

fn asked_back(situation: &Situation) -> Vec<(i64, Why)> {
    announced(&decide(situation))
}

fn idle(mut berth: Standing, parked: bool) -> Standing {
    berth.idle = Some(Idle { since: noon() - hours(2), parked });
    berth
}

#[test]
fn free_while_nobody_waits() {
    let overdue = berth(1, "alice", 0..4, hours(20));
    let forgotten = idle(berth(2, "bob", 4..8, hours(3)), false);
    assert_eq!(decide(&empty_node().with([overdue, forgotten])), []);
}

/// Its end serves nobody, however long its lease is over, and it stands in nobody's way.
#[test]
fn a_berth_without_cards_is_never_asked_back() {
    let without = berth(1, "alice", [], hours(40));
    let busy = berth(2, "bob", 0..8, hours(1));
    let node = empty_node().with([without, busy]).waiting([ticket(7, "carol", any(8), hours(11))]);
    assert_eq!(decide(&node), []);
    assert_eq!(renewal(&node, &node.standing[0]), Renewal::Free);
    let node = empty_node().with([berth(1, "alice", [], hours(40))]);
    assert_eq!(who_starts(&node.waiting([ticket(7, "carol", any(8), hours(0))])), [7]);
}

#[test]
fn a_request_starts_where_cards_are_free() {
    let node = empty_node().with([berth(1, "alice", 0..2, hours(1))]);
    let decided = decide(&node.waiting([ticket(7, "bob", any(4), minutes(0))]));
    assert_eq!(decided, [Action::Start { ticket: 7, cards: cards(4..8) }], "the whole group");
}

#[test]
fn who_used_less_goes_first_and_ties_go_by_age() {
    let mut node = empty_node().with([berth(1, "carol", 0..6, hours(1))]);
    node.used.insert("alice".to_owned(), 30.0);
    let alice = ticket(1, "alice", any(2), hours(3));
    let bob = ticket(2, "bob", any(2), hours(1));
    let dave = ticket(3, "dave", any(2), hours(2));
    let mut bob_last = node.waiting([alice, bob, dave]);
    assert_eq!(who_starts(&bob_last), [3]);
    bob_last.used.insert("dave".to_owned(), 0.5);
    assert_eq!(who_starts(&bob_last), [2]);
}

#[test]
fn what_runs_counts_and_what_just_began_counts_as_two_hours() {
    let alice_has_two = berth(1, "alice", 0..2, minutes(0));
    let carol = berth(2, "carol", 2..6, minutes(0));
    let mut node = empty_node()
        .with([alice_has_two, carol])
        .waiting([ticket(1, "alice", any(2), hours(2)), ticket(2, "bob", any(2), hours(1))]);
    node.used.insert("bob".to_owned(), 3.9);
    assert_eq!(who_starts(&node), [2], "2 cards for 2 hours are 4");
    node.used.insert("bob".to_owned(), 4.1);
    assert_eq!(who_starts(&node), [1]);
}

#[test]
fn nobody_grabs_all_cards_before_the_accounting_notices() {
    let tickets = (1..=8).map(|id| ticket(id, "alice", any(1), hours(2)));
    let bob = ticket(9, "bob", any(1), hours(1));
    assert_eq!(who_starts(&empty_node().waiting(tickets.chain([bob]))), [1, 9, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn whoever_came_before_and_starts_after_is_counted_as_overtaken() {
    let node = empty_node().with([berth(1, "carol", 0..6, hours(1))]);
    let decided = decide(&node.waiting([
        ticket(1, "alice", any(4), hours(3)),
        ticket(2, "bob", any(1), hours(2)),
        ticket(3, "dave", any(1), hours(1)),
        ticket(4, "erin", any(1), hours(0)),
    ]));
    let overtaken = Action::Overtaken { ticket: 1 };
    let start = |ticket, card| Action::Start { ticket, cards: cards([card]) };
    assert_eq!(decided, [start(2, 6), overtaken.clone(), start(3, 7), overtaken]);
}

/// Six cards come back at 16:15; alice waits for eight, and two are free.
fn alice_waits_for_eight(waited: Duration) -> Situation {
    let node = empty_node().with([berth(1, "carol", 0..6, hours(4))]);
    node.waiting([ticket(1, "alice", any(8), waited), ticket(2, "bob", any(1), minutes(1))])
}

#[test]
fn nobody_is_overtaken_for_more_than_twelve_hours() {
    assert_eq!(who_starts(&alice_waits_for_eight(minutes(12 * 60 - 1))), [2]);
    assert_eq!(
        who_starts(&alice_waits_for_eight(hours(12))),
        NOBODY,
        "bob's eight hours would end after 16:15"
    );
    assert_eq!(places(&alice_waits_for_eight(hours(12)))[0].latest, Some(noon() + minutes(255)));
}

#[test]
fn nobody_is_overtaken_more_than_twenty_times() {
    let mut node = alice_waits_for_eight(hours(1));
    node.tickets[0].overtaken = 19;
    assert_eq!(who_starts(&node), [2]);
    node.tickets[0].overtaken = 20;
    assert_eq!(who_starts(&node), NOBODY);
}

#[test]
fn others_start_if_their_lease_ends_before() {
    let mut node = alice_waits_for_eight(hours(12));
    node.tickets[1].lease = Some(hours(4));
    assert_eq!(who_starts(&node), [2], "12:00, 4 hours and the grace end at 16:15");
    node.tickets[1].lease = Some(hours(4) + minutes(1));
    assert_eq!(who_starts(&node), NOBODY);
}

#[test]
fn others_start_if_they_do_not_need_the_cards() {
    let mut node = empty_node().with([berth(1, "carol", 0..4, hours(4))]).waiting([
        ticket(1, "alice", CardWish::Ids(vec![0, 1]), hours(13)),
        ticket(2, "bob", any(4), minutes(1)),
    ]);
    assert_eq!(started(&decide(&node)), [(2, cards(4..8))]);
    node.tickets[1].wish = CardWish::Ids(vec![4]);
    assert_eq!(started(&decide(&node)), [(2, cards([4]))]);
}

#[test]
fn the_oldest_is_first_and_only_one_is() {
    let node = empty_node().with([berth(1, "carol", 0..6, hours(4))]).waiting([
        ticket(1, "alice", any(8), hours(14)),
        ticket(2, "bob", any(8), hours(13)),
        ticket(3, "dave", any(1), hours(1)),
    ]);
    let first: Vec<(i64, bool)> = places(&node).iter().map(|place| (place.ticket, place.first)).collect();
    assert_eq!(first, [(1, true), (2, false), (3, false)]);
}

#[test]
fn whom_no_end_of_a_berth_would_serve_is_not_first() {
    let mut endless = berth(1, "carol", 0..2, hours(4));
    (endless.lease, endless.until) = (None, None);
    let node = empty_node().with([endless, berth(2, "dave", 2..5, hours(4))]).waiting([
        ticket(1, "alice", any(8), hours(14)),
        ticket(2, "bob", any(6), hours(13)),
        ticket(3, "erin", any(1), hours(1)),
    ]);
    let seen: Vec<(bool, bool)> =
        places(&node).iter().map(|place| (place.first, place.latest.is_some())).collect();
    assert_eq!(seen, [(false, false), (true, true), (false, true)]);
    assert_eq!(who_starts(&node), NOBODY);
}

#[test]
fn a_wish_for_cards_that_are_taken_blocks_nobody_else() {
    let node = empty_node().with([berth(1, "carol", 0..4, hours(1))]).waiting([
        ticket(1, "alice", CardWish::Ids(vec![3]), hours(11)),
        ticket(2, "bob", any(4), minutes(1)),
    ]);
    assert_eq!(started(&decide(&node)), [(2, cards(4..8))]);
}

#[test]
fn reserved_cards_are_those_whose_leases_end_first_in_one_group() {
    // 16:15: cards 0 to 2; 17:15: 3 and 4; the others are free.
    let node = empty_node().with([berth(1, "carol", 0..3, hours(4)), berth(2, "dave", 3..5, hours(3))]);
    let alice = ticket(1, "alice", any(4), hours(12));
    let tries =
        |wish| started(&decide(&node.clone().waiting([alice.clone(), ticket(2, "bob", wish, minutes(1))])));
    assert_eq!(tries(any(2)), [(2, cards([6, 7]))], "6 cards at 16:15, of which alice needs 4");
    assert_eq!(tries(any(3)), []);
}

#[test]
fn a_lease_that_is_over_is_kept_once_somebody_waits() {
    let node = empty_node().with([berth(1, "alice", 0..8, hours(20))]);
    let node = node.waiting([ticket(1, "bob", any(2), minutes(0))]);
    let decided = decide(&node);
    let stops_at = noon() + minutes(15);
    assert_eq!(decided, [Action::Announce { berth: 1, stops_at, why: Why::Lease }]);
    let node = node.done(&decided);
    assert_eq!(decide(&node.clone().after(minutes(14))), []);
    let node = node.after(minutes(15));
    let decided = decide(&node);
    assert_eq!(decided, [Action::Stop { berth: 1, why: Why::Lease }]);
    let node = node.done(&decided);
    assert_eq!(decide(&node.clone().after(minutes(1))), [], "its end has begun");
    assert_eq!(who_starts(&node.after(minutes(1)).gone(1)), [1]);
}

#[test]
fn a_busy_berth_inside_its_lease_is_left_alone() {
    let node = empty_node().with([berth(1, "alice", 0..8, hours(7))]);
    assert_eq!(decide(&node.waiting([ticket(1, "bob", any(2), hours(11))])), []);
}

#[test]
fn idle_cards_are_asked_back_and_a_loaded_model_has_longer() {
    for (parked, why, grace) in [(false, Why::Idle, 15), (true, Why::Parked, 60)] {
        let node = empty_node().with([idle(berth(1, "alice", 0..8, hours(3)), parked)]);
        let decided = decide(&node.waiting([ticket(1, "bob", any(2), minutes(0))]));
        assert_eq!(decided, [Action::Announce { berth: 1, stops_at: noon() + minutes(grace), why }]);
    }
}

#[test]
fn work_or_a_word_of_its_owner_takes_the_announcement_back() {
    let node = empty_node().with([idle(berth(1, "alice", 0..8, hours(3)), false)]);
    let node = node.waiting([ticket(1, "bob", any(2), minutes(0))]);
    let mut node = node.clone().done(&decide(&node)).after(minutes(14));
    assert!(!node.find(1).is_idle_no_more());
    node.find(1).idle = None;
    assert!(node.find(1).is_idle_no_more());
    assert_eq!(decide(&node), [Action::Withdraw { berth: 1 }]);
}

#[test]
fn an_announcement_is_taken_back_when_nobody_waits_any_more() {
    let node = empty_node().with([berth(1, "alice", 0..8, hours(9))]);
    let node = node.waiting([ticket(1, "bob", any(2), minutes(0))]);
    let mut node = node.clone().done(&decide(&node)).after(minutes(15));
    node.tickets.clear();
    assert!(!node.find(1).is_idle_no_more());
    assert_eq!(decide(&node), [Action::Withdraw { berth: 1 }]);
}

#[test]
fn an_announcement_is_taken_back_when_other_cards_serve_the_wish() {
    let node = empty_node().with([berth(1, "alice", 0..4, hours(9)), berth(2, "dave", 4..8, hours(1))]);
    let node = node.waiting([ticket(1, "bob", any(2), minutes(0))]);
    let node = node.clone().done(&decide(&node)).after(minutes(5)).gone(2);
    assert_eq!(
        decide(&node),
        [Action::Start { ticket: 1, cards: cards([4, 5]) }, Action::Withdraw { berth: 1 }]
    );
}

#[test]
fn no_more_are_asked_than_those_who_wait_need() {
    let node = empty_node().with((0..8).map(|id| berth(i64::from(id), "alice", [id], hours(9))));
    let bob = ticket(1, "bob", any(2), minutes(0));
    assert_eq!(asked_back(&node.clone().waiting([bob.clone()])).len(), 2);
    let dave = ticket(2, "dave", any(3), minutes(0));
    assert_eq!(asked_back(&node.waiting([bob, dave])).len(), 5);
}

#[test]
fn one_berth_that_is_enough_is_asked_instead_of_two() {
    let node = empty_node().with([berth(1, "alice", 0..2, hours(9)), berth(2, "dave", 2..8, hours(9))]);
    assert_eq!(asked_back(&node.waiting([ticket(1, "bob", any(4), minutes(0))])), [(2, Why::Lease)]);
}

#[test]
fn nobody_is_asked_for_somebody_who_has_to_wait_for_others_all_the_same() {
    // bob's cards would wait for carol's, which end at 16:00 and 15 minutes.
    let node = empty_node().with([berth(1, "bob", 0..4, hours(9)), berth(2, "carol", 4..8, hours(4))]);
    let node = node.waiting([ticket(1, "alice", any(8), minutes(0))]);
    assert_eq!(asked_back(&node), NO_ASKS);
    assert_eq!(asked_back(&node.clone().after(minutes(4 * 60 - 1))), NO_ASKS);
    assert_eq!(asked_back(&node.after(hours(4))), [(1, Why::Lease), (2, Why::Lease)]);
}

#[test]
fn overdue_before_idle_before_parked_and_beyond_the_soft_limit_before_within() {
    let berths = [
        idle(berth(1, "alice", [0], hours(3)), true),
        idle(berth(2, "bob", [1], hours(3)), false),
        berth(3, "carol", [2], hours(9)),
        berth(4, "dave", 3..7, hours(10)),
        berth(5, "dave", [7], hours(9)),
    ];
    let asked = |wanted| {
        let node = empty_node().with(berths.clone());
        let asked = asked_back(&node.waiting([ticket(1, "erin", any(wanted), minutes(0))]));
        asked.into_iter().map(|(berth, _)| berth).collect::<BTreeSet<_>>()
    };
    assert_eq!(asked(1), [5].into());
    assert_eq!(asked(2), [3, 5].into());
    assert_eq!(asked(7), [2, 3, 4, 5].into());
}

#[test]
fn what_starts_now_is_the_last_berth_of_its_owner() {
    // bob's four cards are beyond the limit, and not the one that he has since noon.
    let berths = [idle(berth(1, "dave", 2..4, hours(3)), true), idle(berth(2, "bob", [0], minutes(0)), true)];
    let tickets = [ticket(1, "bob", any(4), hours(11)), ticket(2, "erin", any(2), minutes(0))];
    let mut node = empty_node().with(berths).waiting(tickets);
    node.used.insert("erin".to_owned(), 50.0);
    let decided = decide(&node);
    assert_eq!(started(&decided), [(1, cards(4..8))]);
    assert_eq!(announced(&decided), [(1, Why::Parked)]);
}

#[test]
fn ones_own_berths_are_asked_back_only_where_there_is_nothing_else() {
    let own = berth(1, "alice", 0..4, hours(9));
    let other = berth(2, "bob", 4..8, hours(9));
    let alice = ticket(1, "alice", any(2), minutes(0));
    let both = empty_node().with([own.clone(), other]);
    assert_eq!(asked_back(&both.waiting([alice.clone()])), [(2, Why::Lease)]);
    let busy = berth(2, "bob", 4..8, hours(1));
    assert_eq!(asked_back(&empty_node().with([own, busy]).waiting([alice])), [(1, Why::Lease)]);
}

#[test]
fn cards_that_come_back_go_to_whom_they_were_asked_for() {
    let node = empty_node().with([berth(1, "alice", 0..4, hours(9)), berth(2, "carol", 4..6, hours(1))]);
    let node = node.waiting([ticket(1, "bob", any(6), minutes(0))]);
    let mut node = node.clone().done(&decide(&node)).after(minutes(5));
    // dave's eight hours on the two free cards would let bob ask for more.
    node.tickets.push(ticket(2, "dave", any(2), minutes(0)));
    node.used.insert("dave".to_owned(), 1.0);
    assert_eq!(decide(&node), []);
    let node = node.after(minutes(10));
    let node = node.clone().done(&decide(&node)).after(minutes(1));
    assert_eq!(who_starts(&node), NOBODY);
    assert_eq!(who_starts(&node.gone(1)), [1]);
}

#[test]
fn nobody_is_stopped_before_all_are_whom_the_wish_needs() {
    let node =
        empty_node().with([berth(1, "alice", 0..4, hours(9)), idle(berth(2, "carol", 4..8, hours(3)), true)]);
    let node = node.waiting([ticket(1, "bob", any(8), minutes(0))]);
    let decided = decide(&node);
    assert_eq!(
        announced(&decided),
        [(2, Why::Parked)],
        "alice is asked when carol has a quarter of an hour left"
    );
    let node = node.done(&decided).after(minutes(45));
    let decided = decide(&node);
    assert_eq!(announced(&decided), [(1, Why::Lease)]);
    let mut node = node.done(&decided).after(minutes(15));
    assert_eq!(decide(&node).len(), 2, "both stop");
    node.find(2).idle = None;
    let withdraw = |berth| Action::Withdraw { berth };
    assert_eq!(decide(&node), [withdraw(1), withdraw(2)], "carol works again: alice would stop for nothing");
}

#[test]
fn locked_and_new_berths_are_not_asked_back() {
    let mut locked = berth(1, "alice", 0..4, hours(9));
    locked.locked = true;
    let mut new = idle(berth(2, "carol", 4..8, minutes(10)), false);
    let node = empty_node().with([locked, new.clone()]).waiting([ticket(1, "bob", any(4), minutes(0))]);
    assert_eq!(asked_back(&node), NO_ASKS);
    assert_eq!(
        asked_back(&node.clone().after(minutes(5))),
        [(2, Why::Idle)],
        "it stops when it is 30 minutes old"
    );
    new.lease = Some(minutes(5));
    new.until = Some(noon() - minutes(5));
    let node = empty_node().with([new]).waiting([ticket(1, "bob", any(8), minutes(0))]).after(minutes(5));
    let stops_at = noon() + minutes(20);
    assert_eq!(decide(&node), [Action::Announce { berth: 2, stops_at, why: Why::Lease }]);
}

#[test]
fn nothing_is_announced_or_stopped_while_ends_are_held() {
    let mut asked = berth(1, "alice", 0..2, hours(9));
    asked.asked = Some(Asked { at: noon() - minutes(20), stops_at: noon() - minutes(5), why: Why::Lease });
    let mut unattended = berth(2, "carol", 2..4, hours(8));
    unattended.unattended = true;
    let node = empty_node().with([asked, unattended, berth(3, "dave", 4..6, hours(9))]);
    let mut node =
        node.waiting([ticket(1, "bob", any(2), minutes(0)), ticket(2, "erin", any(2), minutes(0))]);
    node.hold_ends = true;
    assert_eq!(decide(&node), [Action::Start { ticket: 1, cards: cards([6, 7]) }]);
    node.hold_ends = false;
    assert!(decide(&node).contains(&Action::Stop { berth: 1, why: Why::Lease }));
}
