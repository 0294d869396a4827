//! A berth as the ledger knows it, and what a person may ask for.

use super::lease_state::{LeaseState, Lock};
use super::{CardId, Condition, ConditionCode, Size};
use crate::error::Fault;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a berth is in its life. Its name and port belong to it until it has ended, its cards in the states of
/// [`BerthState::holds_cards`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BerthState {
    /// Written down before the first act; a crash leaves it so.
    Creating,
    /// It was stopped; its container is being started again.
    Starting,
    /// Its container was verified and answered.
    Live,
    /// Its container is being stopped, and will be kept.
    Stopping,
    /// Its container is kept and does not run; it has no cards.
    Stopped,
    /// Its container is being removed.
    Releasing,
    Released,
    /// The request failed; everything that it had made was removed.
    Undone,
}

impl BerthState {
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Starting,
        Self::Live,
        Self::Stopping,
        Self::Stopped,
        Self::Releasing,
        Self::Released,
        Self::Undone,
    ];

    /// Every change of state there is; the ledger refuses any other. A start that fails ends as a stop does.
    const CHANGES: [(Self, Self); 13] = [
        (Self::Creating, Self::Live),
        (Self::Creating, Self::Undone),
        (Self::Creating, Self::Releasing),
        (Self::Live, Self::Stopping),
        (Self::Live, Self::Releasing),
        (Self::Stopping, Self::Stopped),
        (Self::Stopping, Self::Releasing),
        (Self::Stopped, Self::Starting),
        (Self::Stopped, Self::Releasing),
        (Self::Starting, Self::Live),
        (Self::Starting, Self::Stopping),
        (Self::Starting, Self::Releasing),
        (Self::Releasing, Self::Released),
    ];

    pub fn may_become(self, next: Self) -> bool {
        Self::CHANGES.contains(&(self, next))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Undone => "undone",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn has_ended(self) -> bool {
        matches!(self, Self::Released | Self::Undone)
    }

    pub fn holds_cards(self) -> bool {
        !self.has_ended() && self != Self::Stopped
    }
}

impl fmt::Display for BerthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One berth, as the ledger and the API show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Berth {
    /// Never used again, also after a release.
    pub id: i64,
    pub owner: String,
    pub name: String,
    pub state: BerthState,
    /// Host ids, ascending. Inside, the driver numbers them 0..n-1 in this order. A stopped berth has none, an ended
    /// one those that it had last.
    pub cards: Vec<CardId>,
    /// For how many cards it was made. Kept while it is stopped.
    #[serde(default)]
    pub size: u32,
    /// Exactly these cards are asked for at its next start; `null` where any of that number will do.
    #[serde(default)]
    pub next_cards: Option<Vec<CardId>>,
    pub port: u16,
    /// The account that a session runs as: `ssh -p PORT USER@NODE`.
    pub ssh_user: String,
    /// Its name in the catalogue.
    pub image: String,
    pub image_id: String,
    pub container_id: Option<String>,
    pub memory: Option<Size>,
    pub cpus: Option<f64>,
    /// OpenSSH public key line of its host key.
    pub host_key: Option<String>,
    pub created_at: Timestamp,
    /// When the lease ends; `null` for none, and while it is stopped.
    pub until: Option<Timestamp>,
    /// Seconds of its lease at its beginning.
    #[serde(default)]
    pub lease: Option<u64>,
    /// It ends with its lease, whether or not anybody waits: it was requested for work without a person.
    #[serde(default)]
    pub unattended: bool,
    /// When it is stopped, where that was announced.
    #[serde(default)]
    pub stops_at: Option<Timestamp>,
    /// Why it is stopped then.
    #[serde(default)]
    pub stops_for: Option<StopReason>,
    /// How the lease of a live berth stands.
    #[serde(default)]
    pub condition: Option<LeaseState>,
    /// When something happens to it by itself: its lease ends, it is stopped, or released.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// It is not asked back for a time.
    #[serde(default)]
    pub lock: Option<Lock>,
    /// Why and when it was stopped, while it is.
    #[serde(default)]
    pub stop: Option<Stop>,
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub note: Option<String>,
    /// What is wrong with it now, the worst first.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Why a berth is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// A person stopped it.
    Asked,
    /// Its lease was over, and somebody waited for cards.
    Lease,
    /// It did nothing, and somebody waited for cards.
    Idle,
    /// It was made to end with its lease.
    Unattended,
    /// It could not be started.
    Failed,
    /// It came while nobody was there, and nobody logged in to it in time.
    Unused,
}

impl StopReason {
    const ALL: [Self; 6] =
        [Self::Asked, Self::Lease, Self::Idle, Self::Unattended, Self::Failed, Self::Unused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Lease => "lease",
            Self::Idle => "idle",
            Self::Unattended => "unattended",
            Self::Failed => "failed",
            Self::Unused => "unused",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// What a stopped berth tells of its stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub reason: StopReason,
    pub at: Timestamp,
    /// Until when its container is kept.
    pub kept_until: Option<Timestamp>,
    /// When it is released, where that was announced because the disk runs full.
    #[serde(default)]
    pub release_at: Option<Timestamp>,
    /// Its owner needs it: it is released no sooner than `kept_until`.
    #[serde(default)]
    pub kept: bool,
}

impl Berth {
    /// As people name it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub fn condition(&self, code: ConditionCode) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.code == code)
    }
}

/// Which cards a person wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardWish {
    /// Any N, chosen by topology.
    Count(i64),
    /// Exactly these.
    Ids(Vec<i64>),
}

impl CardWish {
    /// Whether it is for a berth without a card, which needs nobody's turn.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Count(0))
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => usize::try_from(*count).unwrap_or(0),
            Self::Ids(ids) => ids.len(),
        }
    }
}

/// `POST /v1/berths`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BerthRequest {
    pub cards: CardWish,
    /// Only an administrator may name somebody else.
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub image: Option<String>,
    /// Seconds.
    #[serde(default)]
    pub lease: Option<u64>,
    /// How long to wait for cards, in seconds; 0 is not at all.
    #[serde(default)]
    pub wait: u64,
    #[serde(default)]
    pub cpus: Option<f64>,
    #[serde(default)]
    pub memory: Option<Size>,
    /// It ends with its lease, whether or not anybody waits.
    #[serde(default)]
    pub unattended: bool,
    /// The ticket with which it waited when the agent ended: it goes on waiting at its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<i64>,
}

impl BerthRequest {
    /// The same, for somebody who waits without a connection.
    #[must_use]
    pub fn detached(&self, owner: &str) -> Self {
        Self { owner: Some(owner.to_owned()), wait: 0, ticket: None, ..self.clone() }
    }
}

/// What a stopped berth is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Seconds.
    #[serde(default)]
    pub lease: Option<u64>,
    /// How long to wait for cards, in seconds; 0 is not at all.
    #[serde(default)]
    pub wait: u64,
    /// It ends with its lease, whether or not anybody waits.
    #[serde(default)]
    pub unattended: bool,
    /// As that of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<i64>,
}

/// Which cards a stopped berth has from its next start on: a number, or exactly these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_ids: Option<Vec<i64>>,
}

impl ResizeRequest {
    /// An error where it says nothing, or two things.
    pub fn wish(self) -> Result<CardWish, Fault> {
        match (self.cards, self.card_ids) {
            (Some(count), None) => Ok(CardWish::Count(count)),
            (None, Some(ids)) => Ok(CardWish::Ids(ids)),
            _ => Err(Fault::usage("say how many cards, or which: one of the two")
                .help("--cards N, or --card-ids 0,1")),
        }
    }
}

/// What an administrator says about a berth that is not to be asked back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// For how many seconds from now on.
    pub seconds: u64,
    pub why: String,
}

/// `POST /v1/berths/NAME`: what is to be done with a berth that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BerthAct {
    Stop {},
    Start(StartRequest),
    /// It did nothing and was asked back: its owner needs it all the same.
    Keep {},
    Lock(LockRequest),
    Unlock {},
    Rename {
        name: String,
    },
    Resize(ResizeRequest),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in BerthState::ALL {
            assert_eq!(BerthState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in StopReason::ALL {
            assert_eq!(StopReason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn a_resize_says_one_thing() {
        let wish = |json: &str| match serde_json::from_str::<BerthAct>(json).unwrap() {
            BerthAct::Resize(resize) => resize.wish(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wish(r#"{"resize": {"cards": 4}}"#).unwrap(), CardWish::Count(4));
        assert_eq!(wish(r#"{"resize": {"card_ids": [0, 1]}}"#).unwrap(), CardWish::Ids(vec![0, 1]));
        for neither in [r#"{"resize": {}}"#, r#"{"resize": {"cards": 1, "card_ids": [0]}}"#] {
            assert_eq!(wish(neither).unwrap_err().message, "say how many cards, or which: one of the two");
        }
        assert!(serde_json::from_str::<BerthAct>(r#"{"resize": {"ids": [0]}}"#).is_err());
    }

    #[test]
    fn nothing_leads_back_from_an_end_and_every_state_leads_to_one() {
        for state in BerthState::ALL {
            let next: Vec<BerthState> =
                BerthState::ALL.into_iter().filter(|next| state.may_become(*next)).collect();
            assert_eq!(next.is_empty(), state.has_ended(), "{state}");
            let is_on_its_way = state.has_ended() || state == BerthState::Releasing;
            assert_eq!(next.contains(&BerthState::Releasing), !is_on_its_way, "{state}");
        }
    }
}
