//! What a decision is made from, and what comes out of it: plain types.

use super::Rules;
use crate::alloc::Slot;
use crate::model::{CardId, CardWish};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// All that a decision knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    pub now: Timestamp,
    /// The cards that may be given out. A card that will not be given out after its berth either (it is sick, or
    /// lost) is left out. One that is not free and in no berth of `standing` is never waited for.
    pub slots: Vec<Slot>,
    /// Every berth that has cards and gives them back when it ends. One whose stop does not come to its end is left out.
    pub standing: Vec<Standing>,
    pub tickets: Vec<Ticket>,
    /// Card-hours of berths that have ended, decayed to now (`usage`). What stands is counted from `standing`.
    pub used: BTreeMap<String, f64>,
    pub reservations: Vec<Reserved>,
    pub rules: Rules,
    /// The clock jumped, or samples are missing: nothing is announced or stopped.
    pub hold_ends: bool,
}

/// A berth with cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub id: i64,
    pub owner: String,
    pub cards: Vec<CardId>,
    pub phase: Phase,
    /// As it was given; `None` for one without an end.
    pub lease: Option<Duration>,
    /// When it ends; `None` for never, and before the berth is live.
    pub until: Option<Timestamp>,
    /// It ends at the end of its lease, whoever waits, and is never idle.
    pub unattended: bool,
    /// The stop that was announced and not withdrawn. It stays here while the berth stops.
    pub asked: Option<Asked>,
    /// What was left of the lease when its owner was last warned.
    pub told_left: Option<Duration>,
    /// An administrator said that it is not to be stopped.
    pub locked: bool,
    /// `None` where it works, and where that is not known.
    pub idle: Option<Idle>,
    /// How often its owner kept it in this lease.
    pub keeps: u32,
    /// How often this lease was renewed while somebody waited for its cards.
    pub renewals: u32,
}

/// Where a berth with cards is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its lease has not begun.
    Starting,
    Live {
        since: Timestamp,
    },
    /// Its end has begun, and its cards come back in a moment. It was live since then.
    Stopping {
        since: Timestamp,
    },
}

/// A stop that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When it was announced.
    pub at: Timestamp,
    /// When the owner was told that it stops. It stops no earlier; it stops later if the ticket that needs its cards
    /// cannot start at that time.
    pub stops_at: Timestamp,
    pub why: Why,
}

/// Why a berth is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its lease is over, and somebody waits.
    Lease,
    /// Nobody works in it, and somebody waits.
    Idle,
    /// A process holds memory of its cards and does not work, and somebody waits.
    Parked,
    /// It is unattended, and its lease ends.
    Unattended,
}

/// No work in a berth, for as long as the rules of idleness ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    pub since: Timestamp,
    /// A process holds memory of a card.
    pub parked: bool,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub id: i64,
    pub owner: String,
    pub wish: CardWish,
    /// `None` for one without an end.
    pub lease: Option<Duration>,
    pub unattended: bool,
    pub since: Timestamp,
    /// How many later ones started before it.
    pub overtaken: u32,
    /// Its owner's last cards.
    pub last: Vec<CardId>,
}

/// Cards that an administrator keeps for somebody, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Whose tickets may start on them.
    pub owner: String,
    pub from: Timestamp,
    pub until: Timestamp,
    pub cards: usize,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The ticket becomes a berth on these cards.
    Start {
        ticket: i64,
        cards: Vec<CardId>,
    },
    /// A later ticket starts before this one: it was overtaken once more.
    Overtaken {
        ticket: i64,
    },
    /// Nobody needs the cards any more, or the reason is gone: the announced stop does not happen.
    Withdraw {
        berth: i64,
    },
    /// So much is left of the lease. With `terminate`, the berth's programs get SIGTERM, to write a checkpoint.
    Warn {
        berth: i64,
        left: Duration,
        terminate: bool,
    },
    /// The owner hears when the berth stops, and may prevent it.
    Announce {
        berth: i64,
        stops_at: Timestamp,
        why: Why,
    },
    Stop {
        berth: i64,
        why: Why,
    },
}
