//! HCCS, the links between cards. Pure.

use crate::model::CardId;
use crate::model::facts::NpuTopology;

/// The group of a card: the lowest id among the cards that reach each other over HCCS. With an unknown topology, all
/// cards are one group.
pub(super) fn group(card: CardId, topology: &[NpuTopology]) -> u32 {
    let Some(near) = topology.iter().find(|near| near.id == card.0 && !near.hccs.is_empty()) else {
        return if topology.iter().any(|near| !near.hccs.is_empty()) { card.0 } else { 0 };
    };
    near.hccs.iter().copied().chain([card.0]).min().unwrap_or(card.0)
}
