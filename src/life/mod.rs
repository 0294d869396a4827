//! Who gets cards next, whose cards are asked back, and who is told what: one pure function, [`decide`].
//!
//! Free while nobody waits; once somebody waits, leases are kept, idle cards are asked back, and nobody is overtaken for
//! more than twelve hours. The room knows `model` and `alloc` and nothing else: no host, no clock, no randomness. The
//! caller looks, hands in a [`Situation`], writes the actions down and does them. The same situation with the actions
//! in it gives no new start, announcement or stop.
//!
//! The caller keeps its side: a berth is `Starting` from its start on, and `Stopping` with its `asked` until its cards are
//! free; what a decision says is written down before the next one.
//!
//! `order` puts the tickets in a row. `hold` keeps cards for the first one, `reserve` for reservations. `turn` goes through
//! the row: who can start starts, and for who cannot, `pledge` looks whose cards would serve the wish if they were asked
//! back; those cards are the ticket's in the meantime. `ask_back` and `warn` make what is said and done of it. `ends` says
//! when cards come back, `idle` who does nothing. `places` plays the same rules forward, and `renewal` says what a lease may still become.
//! `early` is a decision of its own: which stopped berths go where the disk runs full.

mod ask_back;
mod cards;
pub mod early;
mod ends;
mod hold;
pub mod idle;
mod order;
mod places;
mod pledge;
mod renewal;
mod reserve;
mod rules;
mod situation;
#[cfg(test)]
mod tests;
pub mod time;
mod turn;
pub mod usage;
mod warn;

pub use order::next;
pub use places::{Place, places};
pub use renewal::{Renewal, renewal};
pub use rules::Rules;
pub use situation::{Action, Asked, Idle, Phase, Reserved, Situation, Standing, Ticket, Why};

/// What is to be done now, in this order.
pub fn decide(situation: &Situation) -> Vec<Action> {
    let mut state = situation.clone();
    let mut actions = Vec::new();
    // What is said to one berth changes what others can count on: so again, until nothing is left to say.
    loop {
        let (started, pledges) = turn::take_turns(&mut state);
        actions.extend(started);
        let said = ask_back::say(&mut state, &pledges, &actions);
        if said.is_empty() {
            actions.retain(|action| !ask_back::is_in_vain(action, &pledges));
            break;
        }
        actions.extend(said);
    }
    actions.extend(warn::warnings(&state));
    actions
}
