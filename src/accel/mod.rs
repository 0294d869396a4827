//! The trait [`Accelerator`] with all that differs between kinds of cards, and the code that all kinds share.
//!
//! A second accelerator is one new folder beside `ascend` that implements the trait, one line in [`of`], where the profile
//! chooses, and the few places that CONTRIBUTING.md lists. No string outside this room names a kind's device nodes,
//! variables or links (tests/cli/layering.rs looks for them).
//!
//! Methods that ask the machine take a [`Host`]; the others only know names. Nothing here decides about berths.

pub mod ascend;
pub mod nodes;
pub mod simulated;
#[cfg(test)]
pub(crate) mod tests;

pub use ascend::Ascend;
pub use nodes::{CardNode, Nodes};
pub use simulated::Simulated;

use crate::host::Host;
use crate::model::CardId;
use crate::model::check_facts::Board;
use crate::model::facts::{NpuFacts, NpuTopology, PciDevice, Unreadable};
use crate::model::holder::ContainerReason;
use crate::profile::{Config, Mount, Profile, Tools};
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Which kind of card a node has, as its profile says.
pub fn of(profile: &Profile) -> &'static dyn Accelerator {
    match profile.simulation {
        Some(_) => &Simulated,
        None => USUAL,
    }
}

/// The kind for commands that look at a node without a profile.
pub const USUAL: &dyn Accelerator = &Ascend;

/// One kind of card.
pub trait Accelerator: Send + Sync {
    /// The program that is asked about the cards, as people call it.
    fn tool(&self) -> &'static str;

    /// What a card's device node is called in the dev directory.
    fn node_name(&self, card: CardId) -> String;

    /// The inverse of `node_name`: the card whose node has this name. `None` if it is no card's.
    fn named(&self, node: &str) -> Option<Named>;

    /// The variables that the sessions of a berth get: the ids of its cards on the host, and those inside.
    fn environment(&self, host: &[CardId], inside: &[CardId]) -> Vec<(&'static str, String)>;

    /// The cards in full, and what could not be read of them.
    fn look(&self, host: &dyn Host, config: &Config) -> (NpuFacts, Vec<Unreadable>);

    /// A shorter look, for a caller that asks often: while the cards are the same, ids and links are taken from `last`.
    fn look_again(&self, host: &dyn Host, config: &Config, last: &NpuFacts) -> NpuFacts;

    /// Health, memory and processes alone, without the ids of other sources and without links.
    fn table(&self, host: &dyn Host, tools: &Tools) -> NpuFacts;

    /// Unhealthy cards: the tool's own number of the card, and its error codes.
    fn errors(&self, host: &dyn Host, tools: &Tools, table: &NpuFacts) -> Vec<(u32, String)>;

    /// The driver and firmware that run. `cards` is how many the node should have.
    fn board(&self, host: &dyn Host, tools: &Tools, cards: u32) -> Result<Board, String>;

    /// Cards on the PCI bus. This needs no driver.
    fn on_bus(&self, host: &dyn Host) -> Result<Vec<PciDevice>, String>;

    /// The number of the group of cards that reach each other over direct links.
    fn link_group(&self, card: CardId, topology: &[NpuTopology]) -> u32;

    /// What an operator has to know before one card is reset.
    fn before_reset(&self) -> &'static str;

    /// Words by which other programs' requests and software for these cards are recognised.
    fn words(&self) -> &'static Words;

    /// The cards that a container's variables ask its runtime for.
    fn asked_by_variables(&self, env: &[String]) -> Asked;

    /// The cards that one device of a request to a driver or to CDI stands for.
    fn asked_by_device(&self, device: &str) -> Asked;

    /// Makes what has to be there before the first look.
    fn prepare(&self, _host: &dyn Host, _config: &Config, _profile: &Profile) -> Result<()> {
        Ok(())
    }

    /// Tells people what `prepare` has not made yet: a command that only looks does not make it.
    fn unprepared(&self, _host: &dyn Host, _config: &Config) -> Option<&'static str> {
        None
    }

    /// The places of its parts, if they are not where config and profile say.
    fn places(&self, _config: &Config) -> Result<Option<Places>> {
        Ok(None)
    }
}

/// The card, or the part of one, to which a device node belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub card: CardId,
    /// The number of a virtual part of the card; `None` for the whole card.
    pub part: Option<u32>,
}

/// Cards that somebody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    #[default]
    Nothing,
    All,
    Some(BTreeSet<u32>),
}

impl Asked {
    pub fn has(&self, card: CardId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some(ids) => ids.contains(&card.0),
        }
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Some(left), Self::Some(right)) => Self::Some(left.into_iter().chain(right).collect()),
        }
    }
}

/// Words of containers, images, schedulers and device plugins that berth did not start. All but the programs are
/// compared without regard to case.
#[derive(Debug)]
pub struct Words {
    /// Programs of runtimes that hand out none of these cards, whatever a container says. Any other may.
    pub plain_runtimes: &'static [&'static str],
    /// How a container has a card whose runtime read its variables.
    pub by_runtime: ContainerReason,
    /// In the name of a driver of devices, or of a kind of CDI devices.
    pub devices: &'static [&'static str],
    /// In the name of a device plugin's socket.
    pub plugins: &'static [&'static str],
    /// What the names of device nodes begin with: in a line of Slurm's gres.conf.
    pub nodes: &'static str,
    /// Software for these cards, anywhere in a text.
    pub software: &'static [&'static str],
    /// The same, as words of their own.
    pub software_words: &'static [&'static str],
}

/// Where the parts of a node are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The directory of the device nodes.
    pub dev: PathBuf,
    /// The tool on the host.
    pub npu_smi: PathBuf,
    /// What berths get in place of a real driver's files.
    pub mounts: Vec<Mount>,
}

impl Places {
    /// From here on the node is used as any other.
    pub fn apply(&self, config: &mut Config, profile: &mut Profile) {
        config.paths.dev.clone_from(&self.dev);
        config.tools.npu_smi.clone_from(&self.npu_smi);
        profile.mounts.retain(|old| self.mounts.iter().all(|new| new.target() != old.target()));
        profile.mounts.extend(self.mounts.iter().cloned());
    }
}

/// Points config and profile at where the cards are.
pub fn attach(accel: &dyn Accelerator, config: &mut Config, profile: &mut Profile) -> Result<()> {
    if let Some(places) = accel.places(config)? {
        places.apply(config, profile);
    }
    Ok(())
}
