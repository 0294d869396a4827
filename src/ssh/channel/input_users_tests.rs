//! What waits in all connections of one user, as tests see it.

use super::*;
use tokio::sync::mpsc::Receiver;

/// A user's connection that ends is told so; here with bytes that wait in it.
fn of(everywhere: &Arc<Everywhere>, user: &str, bytes: usize) -> (Inputs, Arc<InputQueue>, Receiver<Why>) {
    let (closer, told) = Closer::new();
    let inputs = Inputs::among(everywhere, closer);
    inputs.belong_to(user);
    let queue = inputs.add(1);
    queue.push(&vec![0; bytes]).unwrap();
    (inputs, queue, told)
}

#[test]
fn who_has_many_connections_makes_room_and_not_who_has_a_larger_one() {
    let everywhere = Everywhere::new(16 << 20);
    let (_alice, her, mut alice_told) = of(&everywhere, "alice", 3 << 20);
    // Each of his is smaller than hers. The ninth MiB is over his part, also where there is room.
    let mut his: Vec<_> = (0..9).map(|_| of(&everywhere, "bob", 1 << 20)).collect();
    let ended = |his: &mut Vec<(Inputs, _, Receiver<Why>)>| -> usize {
        his.iter_mut().map(|(.., told)| usize::from(told.try_recv() == Ok(Why::MostWaits))).sum()
    };
    assert_eq!((ended(&mut his), alice_told.try_recv().ok()), (1, None));
    assert_eq!(everywhere.account("bob").load(Ordering::Relaxed), 8 << 20);
    // Two who fill it all: the room that alice needs comes from them.
    let mut third: Vec<_> = (0..5).map(|_| of(&everywhere, "carol", 1 << 20)).collect();
    assert_eq!((ended(&mut his), ended(&mut third), alice_told.try_recv().ok()), (0, 0, None));
    her.push(&vec![0; 1 << 20]).unwrap();
    assert_eq!((ended(&mut his), ended(&mut third), alice_told.try_recv().ok()), (1, 0, None));
    drop(his);
    assert_eq!(everywhere.account("bob").load(Ordering::Relaxed), 0);
    assert_eq!(everywhere.waiting.load(Ordering::Relaxed), (4 << 20) + (5 << 20));
}

#[test]
fn near_its_part_all_connections_of_a_user_are_slowed_down_until_some_of_it_is_read() {
    let everywhere = Everywhere::new(16 << 20);
    let full: Vec<_> = (0..7).map(|_| of(&everywhere, "bob", 1 << 20)).collect();
    let ((new, ..), (other, ..)) = (of(&everywhere, "bob", 0), of(&everywhere, "alice", 0));
    let mut windows = Windows::default();
    assert_eq!(new.next_window(&mut windows, 1, WINDOW), TRICKLE);
    assert_eq!(other.next_window(&mut Windows::default(), 1, WINDOW), WINDOW);
    full[0].1.refuse();
    full[1].1.refuse();
    assert_eq!(new.next_window(&mut windows, 1, TRICKLE), WINDOW);
}
