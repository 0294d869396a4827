//! A third kind of card, to test that shared code asks the node's own kind and not Ascend's.

use super::*;
use crate::profile::{parse_toml, shipped_profile};
use std::path::Path;

/// Cards of another vendor, as far as these tests go.
#[derive(Debug)]
pub(crate) struct Other;

impl Accelerator for Other {
    fn tool(&self) -> &'static str {
        "other-smi"
    }

    fn node_name(&self, card: CardId) -> String {
        format!("other{}", card.0 + 128)
    }

    fn named(&self, node: &str) -> Option<Named> {
        let number: u32 = node.strip_prefix("other")?.parse().ok()?;
        Some(Named { card: CardId(number.checked_sub(128)?), part: None })
    }

    fn environment(&self, host: &[CardId], _inside: &[CardId]) -> Vec<(&'static str, String)> {
        vec![("OTHER_CARDS", crate::model::card::join(host))]
    }

    fn look(&self, _host: &dyn Host, _config: &Config) -> (NpuFacts, Vec<Unreadable>) {
        (NpuFacts::default(), Vec::new())
    }

    fn look_again(&self, _host: &dyn Host, _config: &Config, last: &NpuFacts) -> NpuFacts {
        last.clone()
    }

    fn table(&self, _host: &dyn Host, _tools: &Tools) -> NpuFacts {
        NpuFacts::default()
    }

    fn errors(&self, _host: &dyn Host, _tools: &Tools, _table: &NpuFacts) -> Vec<(u32, String)> {
        Vec::new()
    }

    fn board(&self, _host: &dyn Host, _tools: &Tools, _cards: u32) -> Result<Board, String> {
        Ok(Board::default())
    }

    fn on_bus(&self, _host: &dyn Host) -> Result<Vec<PciDevice>, String> {
        Ok(Vec::new())
    }

    fn link_group(&self, card: CardId, _topology: &[NpuTopology]) -> u32 {
        card.0 / 2
    }

    fn before_reset(&self) -> &'static str {
        "other cards are reset alone"
    }

    fn words(&self) -> &'static Words {
        const WORDS: Words = Words {
            plain_runtimes: &["runc"],
            by_runtime: ContainerReason::AscendRuntime,
            devices: &["other"],
            plugins: &["other"],
            nodes: "other",
            software: &["other-toolkit"],
            software_words: &[],
        };
        &WORDS
    }

    fn asked_by_variables(&self, env: &[String]) -> Asked {
        if env.iter().any(|entry| entry == "OTHER_CARDS=all") { Asked::All } else { Asked::Nothing }
    }

    fn asked_by_device(&self, device: &str) -> Asked {
        self.named(device).map_or(Asked::All, |named| Asked::Some([named.card.0].into()))
    }
}

#[test]
fn a_name_leads_back_to_its_card() {
    for accel in [&Ascend as &dyn Accelerator, &Simulated, &Other] {
        for card in (0..16).map(CardId) {
            let named = Named { card, part: None };
            assert_eq!(accel.named(&accel.node_name(card)), Some(named));
        }
        for name in ["", "null", "davinci", "davinci_manager", "vdavinci", "davinci0x"] {
            assert_eq!(accel.named(name), None, "{name}");
        }
    }
    let part = |number| Ascend.named(&format!("vdavinci{number}"));
    assert_eq!(part(164), Some(Named { card: CardId(4), part: Some(164) }));
    assert_eq!(part(99), None);
}

#[test]
fn the_profile_chooses() {
    let profile =
        |name: &str| -> Profile { parse_toml(Path::new(name), shipped_profile(name).unwrap()).unwrap() };
    let config = Config::default();
    assert!(of(&profile("sim")).places(&config).unwrap().is_some());
    assert!(of(&profile("snt9b")).places(&config).unwrap().is_none());
}
