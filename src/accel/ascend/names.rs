//! Names of device nodes: `davinciN` is a card, `vdavinciN` is a vNPU. Pure.

use crate::accel::Named;
use crate::model::CardId;

pub(super) const CARD: &str = "davinci";
const VNPU: &str = "vdavinci";

pub(in crate::accel) fn node(card: CardId) -> String {
    format!("{CARD}{card}")
}

/// `davinci3`, or the vNPU `vdavinci164`, which is of card 4.
pub(super) fn named(node: &str) -> Option<Named> {
    if let Some(vnpu) = node.strip_prefix(VNPU) {
        let vnpu = vnpu.parse().ok()?;
        return Some(Named { card: card_of_vnpu(vnpu)?, part: Some(vnpu) });
    }
    Some(Named { card: CardId(node.strip_prefix(CARD)?.parse().ok()?), part: None })
}

/// N of `vdavinciN` is 100 + 16 * card + n.
pub(super) fn card_of_vnpu(vnpu: u32) -> Option<CardId> {
    vnpu.checked_sub(100).map(|rest| CardId(rest / 16))
}
