//! What is wrong with a live berth now: a code, its values, and when it was first seen. Sentences are made elsewhere.

use super::{CardId, card};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a condition; the worst come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionCode {
    /// Its interrupted request or release cannot be brought to its end yet.
    Stuck,
    /// There is no such container any more.
    Gone,
    /// Its container does not run.
    Dead,
    /// Its container ended with Docker or with the machine; the agent starts it again as soon as it can.
    Returning,
    /// Its container is paused.
    Paused,
    /// After a start that berth did not make, its container reaches other devices than its own.
    DevicesChanged,
    /// npu-smi does not list a card of it any more, or the card's device node went.
    CardLost,
    /// Somebody outside the berth has a card of it.
    CardTaken,
    /// A card of it is too unhealthy to be given out.
    CardAlarm,
    /// Its port on the node does not lead to it, though its server answers.
    PortClosed,
    /// The kernel ended processes in it for want of memory.
    Oom,
}

impl ConditionCode {
    pub const ALL: [Self; 11] = [
        Self::Stuck,
        Self::Gone,
        Self::Dead,
        Self::Returning,
        Self::Paused,
        Self::DevicesChanged,
        Self::CardLost,
        Self::CardTaken,
        Self::CardAlarm,
        Self::PortClosed,
        Self::Oom,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Gone => "gone",
            Self::Dead => "dead",
            Self::Returning => "returning",
            Self::Paused => "paused",
            Self::DevicesChanged => "devices-changed",
            Self::CardLost => "card-lost",
            Self::CardTaken => "card-taken",
            Self::CardAlarm => "card-alarm",
            Self::PortClosed => "port-closed",
            Self::Oom => "oom",
        }
    }

    /// The kind of the event that tells its beginning.
    pub fn event(self) -> &'static str {
        match self {
            Self::Stuck => "berth.stuck",
            Self::Gone => "berth.gone",
            Self::Dead => "berth.dead",
            Self::Returning => "berth.returning",
            Self::Paused => "berth.paused",
            Self::DevicesChanged => "berth.devices-changed",
            Self::CardLost => "berth.card-lost",
            Self::CardTaken => "berth.card-taken",
            Self::CardAlarm => "berth.card-alarm",
            Self::PortClosed => "berth.port-closed",
            Self::Oom => "berth.oom",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Nothing answers in a berth that has this.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Gone | Self::Dead | Self::Returning | Self::Paused)
    }
}

/// One condition of one berth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub code: ConditionCode,
    /// When it was seen first.
    pub since: Timestamp,
    /// The cards that it is about, if it is about cards.
    #[serde(default)]
    pub cards: Vec<CardId>,
    /// For people: who has the card, how the container ended, which process was killed.
    #[serde(default)]
    pub detail: Option<String>,
}

impl Condition {
    /// Whether a later look saw the same; the time and the words may differ.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.code, &self.cards) == (other.code, &other.cards)
    }

    /// What to say when it has passed.
    pub fn over(&self) -> String {
        match self.code {
            ConditionCode::Stuck => "it is no longer stuck".into(),
            ConditionCode::Gone | ConditionCode::Dead | ConditionCode::Returning => {
                "its container runs again".into()
            }
            ConditionCode::Paused => "its container is no longer paused".into(),
            ConditionCode::DevicesChanged => "its container has its own devices again".into(),
            ConditionCode::CardLost => format!("{} lost no more", self.are()),
            ConditionCode::CardTaken => format!("nobody else has {} any more", self.named()),
            ConditionCode::CardAlarm => format!("{} healthy again", self.are()),
            ConditionCode::PortClosed => "its port on this node leads to it again".into(),
            ConditionCode::Oom => "no process was killed for want of memory lately".into(),
        }
    }

    fn named(&self) -> String {
        let word = if self.cards.len() == 1 { "card" } else { "cards" };
        format!("{word} {}", card::join(&self.cards))
    }

    fn are(&self) -> String {
        format!("{} {}", self.named(), if self.cards.len() == 1 { "is" } else { "are" })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            ConditionCode::Stuck => f.write_str("it could not be ended yet")?,
            ConditionCode::Gone => f.write_str("its container is gone")?,
            ConditionCode::Dead => f.write_str("its container does not run")?,
            ConditionCode::Returning => {
                f.write_str("its container ended with Docker or with the node, and is started again")?;
            }
            ConditionCode::Paused => f.write_str("its container is paused")?,
            ConditionCode::DevicesChanged => {
                f.write_str("its container was started with other devices than its own")?;
            }
            ConditionCode::CardLost => write!(f, "{} lost", self.are())?,
            ConditionCode::CardTaken => write!(f, "{} taken by somebody else", self.are())?,
            ConditionCode::CardAlarm => write!(f, "{} not healthy", self.are())?,
            ConditionCode::PortClosed => f.write_str(
                "its port does not answer on this node; the gateway leads to it, and the port is published anew as soon \
                 as nobody is connected",
            )?,
            ConditionCode::Oom => f.write_str("out of memory: the kernel killed processes in it")?,
        }
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for code in ConditionCode::ALL {
            assert_eq!(ConditionCode::parse(code.as_str()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(code.event(), format!("berth.{}", code.as_str()));
        }
        assert_eq!(ConditionCode::parse("asleep"), None);
    }

    #[test]
    fn a_condition_is_said_with_its_values() {
        let taken = Condition {
            code: ConditionCode::CardTaken,
            since: Timestamp::UNIX_EPOCH,
            cards: vec![CardId(2), CardId(3)],
            detail: Some("process 7 (python)".into()),
        };
        assert_eq!(taken.to_string(), "cards 2,3 are taken by somebody else (process 7 (python))");
        assert_eq!(taken.over(), "nobody else has cards 2,3 any more");
        let words = Condition { detail: None, since: Timestamp::MAX, ..taken.clone() };
        assert!(taken.is_same(&words));
        assert!(!taken.is_same(&Condition { cards: vec![CardId(2)], ..taken.clone() }));
    }
}
