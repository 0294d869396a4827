//! Reservations: an administrator keeps cards for a user, from a time on and for a time. They are for classes and
//! demonstrations; nobody is stopped for them inside a lease.

use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::Reservation;
use crate::life::time::between;
use crate::model::text;
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far ahead a reservation may begin, and how long it may be.
const FAR: Duration = Duration::from_hours(366 * 24);
/// The longest reason, in characters.
const LONGEST_WHY: usize = 200;
/// How many reservations of one user may be to come.
const MOST: usize = 20;

/// `POST /v1/reservations`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReservation {
    pub owner: String,
    pub cards: u32,
    /// `None`: from now on.
    #[serde(default)]
    pub from: Option<Timestamp>,
    pub seconds: u64,
    #[serde(default)]
    pub why: String,
}

impl Node {
    /// Those that are not over. Every user may see them: they say why cards are kept.
    pub async fn reservations(&self) -> Result<Vec<Reservation>> {
        let now = self.now().wall;
        self.ledger(move |ledger| ledger.reservations(now)).await
    }

    /// A reservation that begins later than any lease of now could end changes nothing yet.
    pub(super) fn horizon(&self) -> Timestamp {
        let rules = &self.settings().profile;
        let longest = rules.berth.max_lease.saturating_add(rules.lease.grace);
        let longest = SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX);
        self.now().wall.checked_add(longest).unwrap_or(Timestamp::MAX)
    }

    pub(super) async fn is_anything_reserved(&self) -> Result<bool> {
        let horizon = self.horizon();
        Ok(self.reservations().await?.iter().any(|reservation| reservation.from <= horizon))
    }

    pub async fn reserve(&self, caller: &Caller, new: NewReservation) -> Result<Reservation> {
        caller.require_admin("reserving cards")?;
        let reservation = self.checked_reservation(caller, new).await?;
        let all = self.reservations().await?;
        if all.iter().filter(|other| other.owner == reservation.owner).count() >= MOST {
            return Err(
                Fault::refused(format!("{} has {MOST} reservations already", reservation.owner)).into()
            );
        }
        self.check_room_for(&reservation, &all)?;
        let text = format!(
            "{} reserved for {}, {} from {:.0} on",
            are(reservation.cards),
            reservation.owner,
            humantime::format_duration(between(reservation.from, reservation.until)),
            reservation.from
        );
        let mut event = self.event("cards.reserved", &caller.name, text);
        event.owner = Some(reservation.owner.clone());
        let added = reservation.clone();
        let id = self.ledger(move |ledger| ledger.add_reservation(&added, &event)).await?;
        self.tell_wanted();
        Ok(Reservation { id, ..reservation })
    }

    pub async fn end_reservation(&self, caller: &Caller, id: i64) -> Result<Reservation> {
        caller.require_admin("ending a reservation")?;
        let unknown =
            || Fault::usage(format!("there is no reservation {id}")).help("`berth reserve list` shows them");
        let found = self.ledger(move |ledger| ledger.reservation(id)).await?.ok_or_else(unknown)?;
        let mut event = self.event(
            "cards.not-reserved",
            &caller.name,
            format!("{} no longer reserved for {}", are(found.cards), found.owner),
        );
        event.owner = Some(found.owner.clone());
        self.ledger(move |ledger| ledger.remove_reservation(id, &event)).await?;
        self.tell_freed();
        Ok(found)
    }

    async fn checked_reservation(&self, caller: &Caller, new: NewReservation) -> Result<Reservation> {
        let now = self.now().wall;
        let (length, far) = (Duration::from_secs(new.seconds), SignedDuration::try_from(FAR)?);
        if length.is_zero() || length > FAR {
            let most = humantime::format_duration(FAR);
            return Err(Fault::usage(format!("a reservation is longer than nothing, and at most {most}"))
                .help("--for 4h")
                .into());
        }
        let from = new.from.unwrap_or(now);
        let until = from.checked_add(SignedDuration::try_from(length)?)?;
        if until <= now {
            return Err(Fault::usage(format!("this reservation would have ended at {until}")).into());
        }
        if from > now.checked_add(far)? {
            return Err(Fault::usage("a reservation begins within a year").into());
        }
        let most = self.settings().profile.devices.cards;
        if new.cards == 0 || new.cards > most {
            return Err(Fault::usage(format!("this node has {most} cards")).into());
        }
        let owner = new.owner.clone();
        if self.ledger(move |ledger| ledger.user(&owner)).await?.is_none() {
            return Err(Fault::usage(format!("there is no user {}", new.owner)).into());
        }
        let why: String = new.why.trim().chars().map(text::plain).take(LONGEST_WHY).collect();
        Ok(Reservation {
            id: 0,
            owner: new.owner,
            cards: new.cards,
            from,
            until,
            why,
            by: caller.name.clone(),
        })
    }

    /// An error where others have reserved too many cards of the same time.
    fn check_room_for(&self, new: &Reservation, all: &[Reservation]) -> Result<(), Fault> {
        let most = self.settings().profile.devices.cards;
        let overlaps = |other: &&Reservation| other.from < new.until && new.from < other.until;
        // The most that are reserved at one time: at the beginning of one of them.
        let at = |time: Timestamp| {
            let others = all.iter().filter(overlaps).filter(|other| other.from <= time && time < other.until);
            others.map(|other| other.cards).sum::<u32>()
        };
        let begins = all.iter().filter(overlaps).map(|other| other.from.max(new.from));
        let taken = begins.map(at).max().unwrap_or(0);
        if taken.saturating_add(new.cards) <= most {
            return Ok(());
        }
        Err(Fault::refused(format!("{taken} of {most} cards are reserved in that time already"))
            .help("`berth reserve list` shows for whom"))
    }
}

fn are(cards: u32) -> String {
    if cards == 1 { "1 card is".into() } else { format!("{cards} cards are") }
}
