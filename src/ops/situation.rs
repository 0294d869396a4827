//! Collects what `life` decides from: berths and tickets of the ledger, and the cards at the last look.

use super::samples::on_the_wall;
use super::{Node, Survey};
use crate::alloc::Slot;
use crate::ledger::{Holding, LeaseNotes, Ledger, Reservation, TicketRow};
use crate::life::idle::Quiet;
use crate::life::time::between;
use crate::life::{self, Asked, Idle, Phase, Reserved, Rules, Situation, Standing, Why, usage};
use crate::model::{Berth, BerthState, StopReason};
use crate::profile::{LeaseRules, Profile};
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many half-lives of card-hours are read. Older ones weigh next to nothing.
const HALF_LIVES: u32 = 6;

impl Node {
    /// The situation now. Without a look at the cards nobody starts and nobody is asked
    /// back: that is enough where nobody waits.
    pub(super) async fn situation(&self, survey: Option<&Survey>) -> Result<Situation> {
        let rules = rules_of(&self.settings().profile);
        let now = self.now().wall;
        let since = now
            .checked_sub(SignedDuration::try_from(rules.half_life * HALF_LIVES)?)
            .unwrap_or(Timestamp::MIN);
        let horizon = self.horizon();
        let (half_life, idle) = (rules.half_life, self.idle_berths());
        let (standing, tickets, used, reservations): (_, Vec<life::Ticket>, _, Vec<Reserved>) = self
            .ledger(move |ledger| {
                let notes = ledger.standing_notes()?;
                let notes_of = |berth: &Berth| notes.get(&berth.id).cloned().unwrap_or_default();
                let berths = ledger.standing_berths()?;
                let standing_of = |berth: &Berth| {
                    let idle = idle.get(&berth.id).copied();
                    Some(Standing { idle, ..standing_of(berth, &notes_of(berth), now)? })
                };
                let standing: Vec<Standing> = berths.iter().filter_map(standing_of).collect();
                let tickets = tickets_of(ledger)?;
                // Who used how much says who of them is next.
                let held = if tickets.is_empty() { Vec::new() } else { ledger.held_since(since)? };
                let near = |reservation: &Reservation| reservation.from <= horizon;
                let reserved = ledger.reservations(now)?.into_iter().filter(near).map(reserved).collect();
                Ok((standing, tickets, used(held, now, half_life), reserved))
            })
            .await?;
        // A card that nobody will be given, whoever gives it back, is waited for by nobody.
        let is_usable =
            |survey: &Survey, slot: &Slot| survey.card(slot.id).is_some_and(|card| card.unusable.is_none());
        let usable =
            |survey: &Survey| survey.slots.iter().copied().filter(|slot| is_usable(survey, slot)).collect();
        let is_seen = |survey: &Survey| survey.npu.error.is_none() && survey.not_looked.is_none();
        // Where nobody waits, nothing depends on the cards.
        let is_wanted = !tickets.is_empty() || !reservations.is_empty();
        let is_blind = survey.map_or(is_wanted, |survey| !is_seen(survey));
        Ok(Situation {
            now,
            slots: survey.map(usable).unwrap_or_default(),
            standing,
            tickets,
            used,
            reservations,
            hold_ends: self.ends_are_held() || is_blind,
            rules,
        })
    }
}

impl Node {
    /// Those that do nothing.
    fn idle_berths(&self) -> BTreeMap<i64, Idle> {
        let (now, quiet) = (self.now(), self.quiet_berths());
        let idle = |quiet: Quiet| Idle { since: on_the_wall(quiet.since, now), parked: quiet.parked };
        quiet.into_iter().map(|(id, quiet)| (id, idle(quiet))).collect()
    }
}

/// The card-hours of each owner's berths that have ended, as they count now.
fn used(held: Vec<Holding>, now: Timestamp, half_life: Duration) -> BTreeMap<String, f64> {
    let mut used = BTreeMap::new();
    for held in held {
        let hours = usage::held(1, between(held.since, held.until), half_life);
        *used.entry(held.owner).or_default() += usage::decayed(hours, between(held.until, now), half_life);
    }
    used
}

fn reserved(reservation: Reservation) -> Reserved {
    let Reservation { owner, cards, from, until, .. } = reservation;
    Reserved { owner, from, until, cards: usize::try_from(cards).unwrap_or(usize::MAX) }
}

fn tickets_of(ledger: &Ledger) -> Result<Vec<life::Ticket>, crate::error::Fault> {
    ledger
        .tickets()?
        .into_iter()
        .map(|ticket| Ok(ticket_of(&ticket, ledger.last_cards(&ticket.owner)?)))
        .collect()
}

fn ticket_of(ticket: &TicketRow, last: Vec<crate::model::CardId>) -> life::Ticket {
    life::Ticket {
        id: ticket.id,
        owner: ticket.owner.clone(),
        wish: ticket.wish.clone(),
        lease: Some(Duration::from_secs(ticket.lease)),
        unattended: ticket.unattended,
        since: ticket.since,
        overtaken: ticket.overtaken,
        last,
    }
}

/// `None` for a berth without cards.
fn standing_of(berth: &Berth, notes: &LeaseNotes, now: Timestamp) -> Option<Standing> {
    let since = notes.live_at.unwrap_or(berth.created_at);
    let phase = match berth.state {
        BerthState::Creating | BerthState::Starting => Phase::Starting,
        BerthState::Live => Phase::Live { since },
        BerthState::Stopping | BerthState::Releasing => Phase::Stopping { since },
        BerthState::Stopped | BerthState::Released | BerthState::Undone => return None,
    };
    let asked =
        notes.asked.and_then(|(at, stops_at, reason)| Some(Asked { at, stops_at, why: why_of(reason)? }));
    Some(Standing {
        id: berth.id,
        owner: berth.owner.clone(),
        cards: berth.cards.clone(),
        phase,
        lease: berth.lease.map(Duration::from_secs),
        until: berth.until.filter(|_| berth.state == BerthState::Live),
        unattended: berth.unattended,
        asked,
        told_left: notes.told_left,
        locked: berth.lock.as_ref().is_some_and(|lock| lock.until > now),
        // What was not measured is never idle.
        idle: None,
        keeps: notes.keeps,
        renewals: notes.renewals,
    })
}

fn why_of(reason: StopReason) -> Option<Why> {
    match reason {
        StopReason::Lease => Some(Why::Lease),
        StopReason::Idle => Some(Why::Idle),
        StopReason::Unattended => Some(Why::Unattended),
        StopReason::Asked | StopReason::Failed | StopReason::Unused => None,
    }
}

pub(super) fn reason_of(why: Why) -> StopReason {
    match why {
        Why::Lease => StopReason::Lease,
        Why::Idle | Why::Parked => StopReason::Idle,
        Why::Unattended => StopReason::Unattended,
    }
}

fn rules_of(profile: &Profile) -> Rules {
    Rules { parked_grace: profile.idle.parked_grace, ..rules(&profile.lease) }
}

fn rules(lease: &LeaseRules) -> Rules {
    Rules {
        longest_wait: lease.longest_wait,
        most_overtaken: lease.most_overtaken,
        half_life: lease.half_life,
        grace: lease.grace,
        protected: lease.protected,
        first_warning: lease.first_warning,
        longest_renewal_while_wanted: lease.longest_renewal_while_wanted,
        ..Rules::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_a_profile_are_those_of_the_function_that_decides() {
        assert_eq!(rules(&LeaseRules::default()), Rules::default());
    }
}
