//! `npu-smi info -m`: which NPU and chip is which `/dev/davinciN`. Pure.

use super::table::Card;
use std::collections::BTreeMap;

/// (NPU id, chip id) → physical id, or logic id where the tool prints no physical one.
pub type IdMap = BTreeMap<(u32, u32), u32>;

/// Columns are found by the names in the header; the controller's rows (`Mcu`) have `-` for an id.
pub fn parse(text: &str) -> IdMap {
    let mut map = IdMap::new();
    let mut columns = None;
    for line in text.lines() {
        if line.contains("NPU ID") && line.contains("Chip ID") {
            columns = Columns::read(line);
        } else if let Some(columns) = &columns {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| words.get(index).and_then(|word| word.parse::<u32>().ok());
            if let (Some(npu), Some(chip), Some(id)) =
                (number(columns.npu), number(columns.chip), number(columns.id))
            {
                map.entry((npu, chip)).or_insert(id);
            }
        }
    }
    map
}

struct Columns {
    npu: usize,
    chip: usize,
    id: usize,
}

impl Columns {
    fn read(header: &str) -> Option<Self> {
        let names = ["NPU ID", "Slot ID", "Chip ID", "Chip Logic ID", "Chip Phy-ID", "Chip Name"];
        let mut found: Vec<(usize, &str)> =
            names.into_iter().filter_map(|name| header.find(name).map(|at| (at, name))).collect();
        found.sort_unstable();
        let index = |wanted: &str| found.iter().position(|(_, name)| *name == wanted);
        Some(Self {
            npu: index("NPU ID")?,
            chip: index("Chip ID")?,
            id: index("Chip Phy-ID").or_else(|| index("Chip Logic ID"))?,
        })
    }
}

/// Gives each card without a printed id the one of the map.
///
/// In a container logic ids are counted anew while npu-smi and the nodes keep the host's numbers, so a map
/// that disagrees with the NPU ids does not count where there are nodes for these and not for the map's.
pub fn apply(cards: &mut [Card], map: &IdMap, has_node: &dyn Fn(u32) -> bool) {
    let wanted: Vec<(u32, u32)> = cards
        .iter()
        .filter(|card| card.printed_id.is_none())
        .filter_map(|card| {
            let device = &card.device;
            map.get(&(device.npu, device.chip)).map(|id| (device.npu, *id))
        })
        .collect();
    let nodes_agree_with_npu = wanted.iter().all(|(npu, _)| has_node(*npu));
    let nodes_agree_with_map = wanted.iter().all(|(_, id)| has_node(*id));
    if nodes_agree_with_npu && !nodes_agree_with_map {
        return;
    }
    for card in cards.iter_mut().filter(|card| card.printed_id.is_none()) {
        if let Some(id) = map.get(&(card.device.npu, card.device.chip)) {
            card.device.id = *id;
        }
    }
}
