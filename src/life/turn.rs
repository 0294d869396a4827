//! One decision's way through the row of tickets: who starts, and for whom berths are asked back.

use super::cards::{card_times, choose, ids};
use super::hold::{Hold, Keeper, allowed, first};
use super::order::{by_age, row};
use super::pledge::{self, Demand, Pledge};
use super::time::NEVER;
use super::{Action, Phase, Situation, Standing, Ticket, reserve};
use crate::model::CardId;
use std::cmp::Ordering;
use std::collections::BTreeSet;

enum Turn {
    Start(i64, Vec<CardId>),
    /// Nobody can start, if these berths are asked back for those who wait.
    Settled(Vec<Pledge>),
}

/// Starts one ticket after the other, since each start changes the row, until nobody who still waits can.
pub(super) fn take_turns(state: &mut Situation) -> (Vec<Action>, Vec<Pledge>) {
    let mut actions = Vec::new();
    loop {
        match take_turn(state) {
            Turn::Start(id, cards) => start(state, id, cards, &mut actions),
            Turn::Settled(pledges) => return (actions, pledges),
        }
    }
}

fn take_turn(state: &Situation) -> Turn {
    let row = row(state);
    let reserved = reserve::holds(state);
    let mut holds: Vec<Hold> = reserved.iter().map(|(_, hold)| hold.clone()).collect();
    holds.extend(first(state, &row, &holds).into_iter().flat_map(|(_, kept)| kept));
    let mut pledges = Pledges::default();
    for (ticket, own) in &reserved {
        let others: Vec<Hold> = holds.iter().filter(|hold| *hold != own).cloned().collect();
        pledges.add(state, &Demand { ticket, from: ticket.since, keeper: own.keeper.clone() }, &others);
    }
    holds.append(&mut pledges.holds);
    for ticket in row {
        if let Some(cards) = startable(state, ticket, &holds) {
            return Turn::Start(ticket.id, cards);
        }
        pledges.add(state, &Demand { ticket, from: state.now, keeper: Keeper::Ticket(ticket.id) }, &holds);
        holds.append(&mut pledges.holds);
    }
    Turn::Settled(pledges.all)
}

#[derive(Default)]
struct Pledges {
    all: Vec<Pledge>,
    /// Of the pledges that came last.
    holds: Vec<Hold>,
    asked: BTreeSet<i64>,
}

impl Pledges {
    fn add(&mut self, state: &Situation, demand: &Demand, holds: &[Hold]) {
        // Nobody is asked for anything then.
        if state.hold_ends {
            return;
        }
        if let Some(pledge) = pledge::plan(state, demand, holds, &self.asked) {
            self.asked.extend(&pledge.berths);
            self.holds.push(pledge.hold.clone());
            self.all.push(pledge);
        }
    }
}

fn startable(state: &Situation, ticket: &Ticket, holds: &[Hold]) -> Option<Vec<CardId>> {
    let times = card_times(state, |_| NEVER);
    choose(state, ticket, &ids(&allowed(state, ticket, state.now, &times, holds)))
}

fn start(state: &mut Situation, id: i64, cards: Vec<CardId>, actions: &mut Vec<Action>) {
    let Some(index) = state.tickets.iter().position(|ticket| ticket.id == id) else { return };
    let started = state.tickets.remove(index);
    actions.push(Action::Start { ticket: id, cards: cards.clone() });
    for waiting in &mut state.tickets {
        if by_age(waiting, &started) == Ordering::Less {
            waiting.overtaken = waiting.overtaken.saturating_add(1);
            actions.push(Action::Overtaken { ticket: waiting.id });
        }
    }
    state.standing.push(begun(started, cards));
}

/// The berth that the ticket becomes; it has no number yet.
fn begun(ticket: Ticket, cards: Vec<CardId>) -> Standing {
    Standing {
        id: ticket.id.wrapping_neg(),
        owner: ticket.owner,
        cards,
        phase: Phase::Starting,
        lease: ticket.lease,
        until: None,
        unattended: ticket.unattended,
        asked: None,
        told_left: None,
        locked: false,
        idle: None,
        keeps: 0,
        renewals: 0,
    }
}
