//! The queue for cards. A request that waits has a ticket, and `life` says which ticket is served next.

use super::choose::{self, Patience};
use super::locks::Guard;
use super::{Caller, Node, Survey};
use crate::error::Fault;
use crate::host::clock::Clock;
use crate::ledger::{Ledger, NewEvent, NewTicket, TicketRow};
use crate::life::{self, Action};
use crate::model::{CardId, CardWish, card};
use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The ticket number of a request that does not wait. It is served after all that wait.
const NO_TICKET: i64 = i64::MAX;

/// Who asks for which cards, and for how long.
pub(super) struct CardsAsked<'a> {
    pub(super) owner: &'a str,
    pub(super) wish: &'a CardWish,
    pub(super) lease: Duration,
    /// The cards that the owner had before.
    pub(super) last: &'a [CardId],
    pub(super) unattended: bool,
    pub(super) ticket: Option<i64>,
    pub(super) patience: Patience,
}

/// Its turn has come.
pub(super) struct Served {
    pub(super) cards: Vec<CardId>,
    /// Tickets that came earlier and go on waiting.
    pub(super) overtaken: Vec<i64>,
}

impl Served {
    /// Who wants no card waits for nobody, and overtakes nobody.
    pub(super) fn without_cards() -> Self {
        Self { cards: Vec::new(), overtaken: Vec::new() }
    }
}

impl Node {
    /// The cards that this one gets now, or why it gets none.
    pub(super) async fn turn(&self, survey: &Survey, asked: &CardsAsked<'_>) -> Result<Served> {
        let id = asked.ticket.unwrap_or(NO_TICKET);
        let waiting = self.ledger(Ledger::tickets).await?;
        if asked.ticket.is_some() && !waiting.iter().any(|ticket| ticket.id == id) {
            return Err(cancelled(id).into());
        }
        if asked.wish.is_none() {
            return Ok(Served::without_cards());
        }
        let now = self.now().wall;
        let free = choose::choose(survey, asked.wish, asked.last, now, asked.patience)?;
        if waiting.iter().all(|ticket| ticket.id == id) && !self.is_anything_reserved().await? {
            return Ok(Served { cards: free, overtaken: Vec::new() });
        }
        let mut situation = self.situation(Some(survey)).await?;
        match situation.tickets.iter_mut().find(|ticket| ticket.id == id) {
            Some(ticket) => ticket.wish = asked.wish.clone(),
            None => situation.tickets.push(life::Ticket {
                id,
                owner: asked.owner.to_owned(),
                wish: asked.wish.clone(),
                lease: Some(asked.lease),
                unattended: asked.unattended,
                since: now,
                overtaken: 0,
                last: asked.last.to_vec(),
            }),
        }
        let actions = life::decide(&situation);
        let Some(turn) = turn_of(&actions, id) else {
            return Err(kept_for_others(&situation, (asked.owner, id), &free, asked.patience).into());
        };
        Ok(turn)
    }

    /// The lock that decides, after a look where others have it. Who cannot be served now does not stand in their way: this
    /// look is one for all who ask at the same time, and the one behind the lock is each caller's own.
    pub(super) async fn decide_after(&self, look: impl Future<Output = Result<()>>) -> Result<Guard<'_, ()>> {
        if let Some(deciding) = self.deciding.try_lock() {
            return Ok(deciding);
        }
        look.await?;
        Ok(self.deciding.lock().await)
    }

    /// An error when somebody cancelled this ticket.
    pub(super) async fn check_waits(&self, id: i64) -> Result<()> {
        match self.ledger(move |ledger| ledger.ticket(id)).await? {
            Some(_) => Ok(()),
            None => Err(cancelled(id).into()),
        }
    }

    /// Whether a request or a reservation waits for cards.
    pub(super) async fn is_anybody_waiting(&self) -> Result<bool> {
        Ok(!self.ledger(Ledger::tickets).await?.is_empty() || self.is_anything_reserved().await?)
    }

    /// Adds a ticket. The request waits for as long as the returned value is kept.
    pub(super) async fn take_ticket(&self, new: NewTicket, actor: &str) -> Result<WaitingTicket> {
        let id = self.add_ticket(&new, actor).await?;
        Ok(self.waits_with(id, &new, actor))
    }

    /// The ticket of a request that waits, for as long as the returned value is kept.
    pub(super) fn waits_with(&self, id: i64, new: &NewTicket, actor: &str) -> WaitingTicket {
        let gone = self.about_gone(&new.owner, new.berth.as_ref(), &new.wish, actor);
        WaitingTicket { id, ledger: self.ledger_handle(), clock: self.clock(), gone: Some(gone) }
    }

    pub(super) fn about_gone(
        &self,
        owner: &str,
        berth: Option<&String>,
        wanted: &CardWish,
        actor: &str,
    ) -> NewEvent {
        let text = format!("{} waits no more for {}", label(owner, berth), wish(wanted));
        self.about_ticket(owner, berth.cloned(), "ticket.gone", actor, text)
    }

    pub(super) async fn add_ticket(&self, new: &NewTicket, actor: &str) -> Result<i64> {
        let text = format!("{} waits for {}", label(&new.owner, new.berth.as_ref()), wish(&new.wish));
        let event = self.about_ticket(&new.owner, new.berth.clone(), "ticket.waits", actor, text);
        let new = new.clone();
        self.ledger(move |ledger| ledger.add_ticket(&new, &event)).await
    }

    fn about_ticket(
        &self,
        owner: &str,
        berth: Option<String>,
        kind: &'static str,
        actor: &str,
        text: String,
    ) -> NewEvent {
        NewEvent { owner: Some(owner.to_owned()), berth, ..self.event(kind, actor, text) }
    }

    /// Ends the wait of a request: the caller's own, or anybody's for an administrator.
    pub async fn cancel(&self, caller: &Caller, id: i64) -> Result<TicketRow> {
        let unknown =
            || Fault::usage(format!("there is no ticket {id}")).help("`berth queue` shows who waits");
        let ticket = self.ledger(move |ledger| ledger.ticket(id)).await?.ok_or_else(unknown)?;
        if !caller.admin && caller.user.as_ref() != Some(&ticket.owner) {
            return Err(Fault::refused(format!("ticket {id} is {}'s", ticket.owner)).into());
        }
        let who = label(&ticket.owner, ticket.berth.as_ref());
        let text = format!("{who} waits no more for {}: cancelled", wish(&ticket.wish));
        self.drop_ticket(&ticket, "ticket.cancelled", &caller.name, text).await?;
        // A client that waits with this ticket hears of it, and others may come sooner.
        self.tell_freed();
        Ok(ticket)
    }

    pub(super) async fn drop_ticket(
        &self,
        ticket: &TicketRow,
        kind: &'static str,
        actor: &str,
        text: String,
    ) -> Result<()> {
        let id = ticket.id;
        let event = self.about_ticket(&ticket.owner, ticket.berth.clone(), kind, actor, text);
        self.ledger(move |ledger| ledger.remove_ticket(id, Some(&event))).await
    }

    /// All requests that wait, in the order in which they will be served. Every user may see them.
    pub async fn queue(&self) -> Result<Vec<QueuePlace>> {
        let tickets = self.ledger(Ledger::tickets).await?;
        if tickets.is_empty() {
            return Ok(Vec::new());
        }
        let survey = self.survey(self.settings().config.tools.npu_smi_max_age).await?;
        let places = life::places(&self.situation(Some(&survey)).await?);
        let mut tickets: BTreeMap<i64, TicketRow> =
            tickets.into_iter().map(|ticket| (ticket.id, ticket)).collect();
        let place = |place: &life::Place| {
            let ticket = tickets.remove(&place.ticket)?;
            Some(QueuePlace {
                place: place.place,
                likely: place.likely,
                latest: place.latest,
                first: place.first,
                ticket,
            })
        };
        Ok(places.iter().filter_map(place).collect())
    }
}

/// A request that waits, as `berth queue` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueuePlace {
    /// 1 is next.
    pub place: usize,
    #[serde(flatten)]
    pub ticket: TicketRow,
    /// When it starts if berths whose lease is over, or that do nothing, are asked back.
    pub likely: Option<Timestamp>,
    /// When it starts if every berth stays until its lease ends; `null` where that is not known.
    pub latest: Option<Timestamp>,
    /// Whether it has waited so long that free cards are kept for it.
    pub first: bool,
}

fn cancelled(id: i64) -> Fault {
    Fault::refused(format!("ticket {id} was cancelled"))
}

/// Whose request it is, as people name it.
pub(super) fn label(owner: &str, berth: Option<&String>) -> String {
    berth.map_or_else(|| owner.to_owned(), |berth| format!("{owner}/{berth}"))
}

pub(super) fn wish(wish: &CardWish) -> String {
    match wish {
        CardWish::Count(1) => "1 card".into(),
        CardWish::Count(count) => format!("{count} cards"),
        CardWish::Ids(ids) => {
            let ids: Vec<CardId> = ids.iter().filter_map(|id| u32::try_from(*id).ok().map(CardId)).collect();
            card::named(&ids)
        }
    }
}

fn turn_of(actions: &[Action], id: i64) -> Option<Served> {
    let is_mine = |action: &Action| matches!(action, Action::Start { ticket, .. } if *ticket == id);
    let mut from = actions.iter().skip_while(|action| !is_mine(action));
    let Some(Action::Start { cards, .. }) = from.next() else { return None };
    let overtaken = from.map_while(|action| match action {
        Action::Overtaken { ticket } => Some(*ticket),
        _ => None,
    });
    Some(Served { cards: cards.clone(), overtaken: overtaken.collect() })
}

fn kept_for_others(
    situation: &life::Situation,
    (owner, asked): (&str, i64),
    free: &[CardId],
    patience: Patience,
) -> Fault {
    let waits = |ticket: &life::Ticket| format!("{}, who waits for {}", ticket.owner, wish(&ticket.wish));
    let reserved = || {
        let others = situation.reservations.iter().filter(|reserved| reserved.owner != owner);
        let next = others.min_by_key(|reserved| reserved.from);
        next.map(|reserved| {
            format!("{}, for whom cards are reserved from {:.0} on", reserved.owner, reserved.from)
        })
    };
    // The asker's own ticket is among them.
    let next = life::next(situation).filter(|ticket| ticket.id != asked).map(waits);
    let who = next.or_else(reserved).unwrap_or_else(|| "others".to_owned());
    let is = if free.len() == 1 { "is" } else { "are" };
    let fault = Fault::busy(format!("{} {is} free and kept for {who}", card::named(free)));
    match patience {
        Patience::None => fault.help("`--wait 30m` waits for its turn; `berth queue` shows who waits"),
        Patience::Waits => fault.help("`berth queue` shows who waits"),
    }
}

/// The ticket of a request that waits. Dropping it removes the ticket.
pub(super) struct WaitingTicket {
    id: i64,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    /// The event for a ticket that is given up; `None` once it became a berth.
    gone: Option<NewEvent>,
}

impl WaitingTicket {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// It is not removed: the claim has done so, or it waits for its client to come back.
    pub(super) fn keep(mut self) {
        self.gone = None;
    }
}

impl Drop for WaitingTicket {
    fn drop(&mut self) {
        let (Some(gone), Ok(runtime)) = (self.gone.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (id, ledger) = (self.id, self.ledger.clone());
        let gone = NewEvent { at: self.clock.now().wall, ..gone };
        runtime.spawn_blocking(move || {
            if let Err(fault) = ledger.remove_ticket(id, Some(&gone)) {
                tracing::warn!(ticket = id, "a ticket could not be removed: {}", fault.message);
            }
        });
    }
}
