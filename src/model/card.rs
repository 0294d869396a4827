//! A card: its number, its health, and who has it.

use super::Holder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The number in the name of its device node: the physical or logic id, which is not always npu-smi's NPU id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CardId(pub u32);

impl fmt::Display for CardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `0,1,5`
pub fn join(cards: &[CardId]) -> String {
    cards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `card 3`, `cards 0,1`, or `no cards`: how a sentence calls them.
pub fn named(cards: &[CardId]) -> String {
    if cards.is_empty() {
        return "no cards".into();
    }
    let word = if cards.len() == 1 { "card" } else { "cards" };
    format!("{word} {}", join(cards))
}

/// npu-smi's five health words. A card whose word we do not know is not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    Warning,
    Alarm,
    Critical,
    Unknown,
}

impl Health {
    /// A warning does not stop work on a card; anything worse, or unknown, does.
    pub fn usable(self) -> bool {
        matches!(self, Self::Ok | Self::Warning)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        })
    }
}

/// Whether a card may be given out, by somebody who knows more of it than npu-smi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CardVerdict {
    /// Whatever its health.
    Allow,
    /// Never, though it is healthy.
    Block,
}

impl CardVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Block].into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// What an administrator decided about a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    pub verdict: CardVerdict,
    pub why: Option<String>,
    /// `null`: until it is cleared.
    pub until: Option<Timestamp>,
    /// Who decided it, and when.
    pub by: String,
    pub since: Timestamp,
}

impl Ruling {
    pub fn allows(&self) -> bool {
        self.verdict == CardVerdict::Allow
    }

    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            CardVerdict::Allow => "allowed",
            CardVerdict::Block => "blocked",
        })?;
        write!(f, " by {}", self.by)?;
        if let Some(until) = self.until {
            write!(f, " until {until:.0}")?;
        }
        match &self.why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// One row of `berth cards`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardView {
    pub id: CardId,
    pub name: Option<String>,
    /// `null` when it could not be looked at.
    pub health: Option<Health>,
    pub bus_id: Option<String>,
    pub hbm_used_mib: Option<u64>,
    pub hbm_total_mib: Option<u64>,
    pub temperature_c: Option<i64>,
    pub power_w: Option<f64>,
    pub aicore_percent: Option<u64>,
    pub numa_node: Option<u32>,
    /// Holders first: an unhealthy card that is held shows both.
    pub holders: Vec<Holder>,
    /// Who could have it, and does not count because the node's config says so.
    #[serde(default)]
    pub exempt: Vec<Holder>,
    /// Why it cannot be given out apart from its holders; `null` when it can.
    pub unusable: Option<String>,
    /// It was looked at, nobody has it, and nothing speaks against it.
    #[serde(default)]
    pub free: bool,
    /// What an administrator decided about it, while that is in force.
    #[serde(default)]
    pub ruling: Option<Ruling>,
}
