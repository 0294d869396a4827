//! A berth as the ledger knows it, and what a person may ask for.

use super::{CardId, Condition, ConditionCode, Size};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a berth is in its life. Cards and port belong to it in every state but `Released` and `Undone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BerthState {
    /// Written down before the first act; a crash leaves it so.
    Creating,
    /// Its container was verified and answered.
    Live,
    /// Its container is to go.
    Releasing,
    Released,
    /// The request did not come to its end; nothing of it is left.
    Undone,
}

impl BerthState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Live => "live",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Undone => "undone",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Creating, Self::Live, Self::Releasing, Self::Released, Self::Undone]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
    pub fn holds_cards(self) -> bool {
        matches!(self, Self::Creating | Self::Live | Self::Releasing)
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
    /// Host ids, ascending. Inside, the driver numbers them 0..n-1 in this order.
    pub cards: Vec<CardId>,
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
    /// When the lease ends; `null` for none.
    pub until: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub note: Option<String>,
    /// What is wrong with it now, the worst first.
    #[serde(default)]
    pub conditions: Vec<Condition>,
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
}
