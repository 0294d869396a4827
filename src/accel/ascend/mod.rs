//! Huawei's Ascend cards: npu-smi and its errors, `/dev/davinciN`, the variables of the Ascend runtime and of CANN, HCCS.

mod claims;
mod links;
mod names;
pub mod npu_smi;

use super::{Accelerator, Asked, Named, Words};
use crate::facts::pci::{self, Kind};
use crate::host::Host;
use crate::model::CardId;
use crate::model::card::join;
use crate::model::check_facts::Board;
use crate::model::facts::{NpuFacts, NpuTopology, PciDevice, Unreadable};
use crate::profile::{Config, Tools};

/// 310, 310P, 910, 910B, 910_93, 950.
const PCI: Kind = Kind { vendor: "19e5", devices: &["d100", "d500", "d801", "d802", "d803", "d804", "d806"] };

/// A server with the vendor's driver.
#[derive(Debug, Clone, Copy)]
pub struct Ascend;

impl Accelerator for Ascend {
    fn tool(&self) -> &'static str {
        "npu-smi"
    }

    fn node_name(&self, card: CardId) -> String {
        names::node(card)
    }

    fn named(&self, node: &str) -> Option<Named> {
        names::named(node)
    }

    fn environment(&self, host: &[CardId], inside: &[CardId]) -> Vec<(&'static str, String)> {
        // The runtime's variable has ids of the host, CANN's has those inside.
        vec![(claims::VISIBLE, join(host)), ("ASCEND_RT_VISIBLE_DEVICES", join(inside))]
    }

    fn look(&self, host: &dyn Host, config: &Config) -> (NpuFacts, Vec<Unreadable>) {
        npu_smi::gather(host, config)
    }

    fn look_again(&self, host: &dyn Host, config: &Config, last: &NpuFacts) -> NpuFacts {
        npu_smi::refresh(host, config, last)
    }

    fn table(&self, host: &dyn Host, tools: &Tools) -> NpuFacts {
        npu_smi::gather_table(host, tools)
    }

    fn errors(&self, host: &dyn Host, tools: &Tools, table: &NpuFacts) -> Vec<(u32, String)> {
        npu_smi::detail::gather_errors(host, tools, table)
    }

    fn board(&self, host: &dyn Host, tools: &Tools, cards: u32) -> Result<Board, String> {
        npu_smi::detail::gather_board(host, tools, cards)
    }

    fn on_bus(&self, host: &dyn Host) -> Result<Vec<PciDevice>, String> {
        pci::gather(host, &PCI)
    }

    fn link_group(&self, card: CardId, topology: &[NpuTopology]) -> u32 {
        links::group(card, topology)
    }

    fn before_reset(&self) -> &'static str {
        // Whoever works on the others loses it.
        "a reset takes the whole HCCS ring: only when all cards of the node are idle (berth cards)"
    }

    fn words(&self) -> &'static Words {
        &claims::WORDS
    }

    fn asked_by_variables(&self, env: &[String]) -> Asked {
        claims::by_variables(env)
    }

    fn asked_by_device(&self, device: &str) -> Asked {
        claims::by_device(device)
    }
}
