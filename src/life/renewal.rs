//! May a lease be renewed? As often as one likes while nobody waits for its cards; else once, and not for long.

use super::cards::{card_times, fits, ids};
use super::hold::{Hold, first};
use super::order::row;
use super::time::{NEVER, after, between};
use super::{Situation, Standing, Ticket, reserve};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nobody waits for these cards.
    Free,
    /// For so long from now at most, and once where somebody waits.
    Limited {
        most: Duration,
        /// Somebody waits now. Else cards of it are reserved for later.
        is_wanted: bool,
    },
    /// Somebody waits, and it was renewed already.
    Refused,
}

/// What the owner of this berth may do now. Whoever waits for more cards than would be free is no reason to refuse.
pub fn renewal(situation: &Situation, berth: &Standing) -> Renewal {
    let reserved: Vec<Hold> = reserve::holds(situation).into_iter().map(|(_, hold)| hold).collect();
    let wanted = is_wanted(situation, berth, &reserved);
    if wanted && berth.renewals >= situation.rules.renewals_while_wanted {
        return Renewal::Refused;
    }
    let mut most = if wanted { situation.rules.longest_renewal_while_wanted } else { Duration::MAX };
    for hold in reserved.iter().filter(|hold| shares_a_card(berth, hold)) {
        let grace = if berth.unattended { Duration::ZERO } else { situation.rules.grace };
        most = most.min(between(after(situation.now, grace), hold.from));
    }
    match most {
        Duration::MAX => Renewal::Free,
        Duration::ZERO => Renewal::Refused,
        most => Renewal::Limited { most, is_wanted: wanted },
    }
}

fn is_wanted(situation: &Situation, berth: &Standing, reserved: &[Hold]) -> bool {
    let free = card_times(situation, |_| NEVER);
    let mut cards = ids(&free.iter().filter(|time| time.at <= situation.now).copied().collect::<Vec<_>>());
    cards.extend(&berth.cards);
    let needs = |ticket: &Ticket| ticket.owner != berth.owner && fits(&ticket.wish, &cards);
    let first = first(situation, &row(situation), reserved);
    let is_kept = first.is_some_and(|(_, holds)| holds.iter().any(|hold| shares_a_card(berth, hold)));
    is_kept || situation.tickets.iter().any(needs)
}

fn shares_a_card(berth: &Standing, hold: &Hold) -> bool {
    berth.cards.iter().any(|card| hold.cards.contains(card))
}
