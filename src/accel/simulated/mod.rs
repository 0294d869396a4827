//! The simulated node: Ascend's names and tool, device nodes that no driver answers, and an npu-smi that prints what a real
//! one prints. It differs from [`Ascend`] only in what is made before the first look, and where that is.

mod prepare;
mod state;
mod tables;
mod tool;

pub use prepare::{SimNode, prepare};
pub use state::{SCHEMA, SimCard, SimState};
pub use tool::run_as_tool;

use super::{Accelerator, Ascend, Asked, Named, Places, Words};
use crate::host::Host;
use crate::model::CardId;
use crate::model::check_facts::Board;
use crate::model::facts::{NpuFacts, NpuTopology, PciDevice, Unreadable};
use crate::profile::{Config, Profile, Tools};
use anyhow::{Context as _, Result};

/// A machine without cards.
#[derive(Debug, Clone, Copy)]
pub struct Simulated;

impl Accelerator for Simulated {
    fn prepare(&self, host: &dyn Host, config: &Config, profile: &Profile) -> Result<()> {
        prepare(host, config, profile).context("preparing the simulated node").map(drop)
    }

    fn unprepared(&self, host: &dyn Host, config: &Config) -> Option<&'static str> {
        let is_missing = SimNode::locate(config).is_ok_and(|node| !node.is_prepared(host));
        is_missing.then_some("the simulated node is not there yet; the agent makes it when it starts")
    }

    fn places(&self, config: &Config) -> Result<Option<Places>> {
        SimNode::locate(config).map(|node| Some(node.places))
    }

    fn tool(&self) -> &'static str {
        Ascend.tool()
    }

    fn node_name(&self, card: CardId) -> String {
        Ascend.node_name(card)
    }

    fn named(&self, node: &str) -> Option<Named> {
        Ascend.named(node)
    }

    fn environment(&self, host: &[CardId], inside: &[CardId]) -> Vec<(&'static str, String)> {
        Ascend.environment(host, inside)
    }

    fn look(&self, host: &dyn Host, config: &Config) -> (NpuFacts, Vec<Unreadable>) {
        Ascend.look(host, config)
    }

    fn look_again(&self, host: &dyn Host, config: &Config, last: &NpuFacts) -> NpuFacts {
        Ascend.look_again(host, config, last)
    }

    fn table(&self, host: &dyn Host, tools: &Tools) -> NpuFacts {
        Ascend.table(host, tools)
    }

    fn errors(&self, host: &dyn Host, tools: &Tools, table: &NpuFacts) -> Vec<(u32, String)> {
        Ascend.errors(host, tools, table)
    }

    fn board(&self, host: &dyn Host, tools: &Tools, cards: u32) -> Result<Board, String> {
        Ascend.board(host, tools, cards)
    }

    fn on_bus(&self, host: &dyn Host) -> Result<Vec<PciDevice>, String> {
        Ascend.on_bus(host)
    }

    fn link_group(&self, card: CardId, topology: &[NpuTopology]) -> u32 {
        Ascend.link_group(card, topology)
    }

    fn before_reset(&self) -> &'static str {
        Ascend.before_reset()
    }

    fn words(&self) -> &'static Words {
        Ascend.words()
    }

    fn asked_by_variables(&self, env: &[String]) -> Asked {
        Ascend.asked_by_variables(env)
    }

    fn asked_by_device(&self, device: &str) -> Asked {
        Ascend.asked_by_device(device)
    }
}
