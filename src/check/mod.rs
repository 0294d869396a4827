//! The checks of a node: a table of data, one file an area. docs/checks.md lists them.
//!
//! Pure: it judges the facts that `gather` collected, and reads, runs and changes nothing itself.

mod answer;
mod cards;
mod coexist;
mod disks;
mod docker;
mod driver;
pub mod gather;
mod hccn;
mod health;
mod memory;
mod network;
mod outcome;
pub mod report;
pub mod seen;
mod select;
mod system;

pub use outcome::Outcome;
pub use select::select;
pub use system::FORWARD;

use crate::accel::{self, Accelerator};
use crate::check::report::{CheckResult, CheckVerdict, Severity};
use crate::check::seen::CheckFacts;
use crate::model::check_facts::NotLooked;
use crate::profile::{Config, Profile};

/// A source of facts for checks. Each has its own probe, which runs only when a selected check needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Npu,
    Board,
    Pci,
    Nodes,
    Driver,
    Cann,
    Hccn,
    HccnConf,
    Os,
    Cpu,
    Memory,
    Sysctl,
    Disks,
    Space,
    Mounts,
    Fstab,
    Smart,
    Docker,
    Daemon,
    Metadata,
    BridgeFilter,
    Conflicts,
    Clock,
    Registries,
    Account,
    Holders,
}

/// The nodes on which a check makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Every,
    /// The simulated node has no such thing.
    Hardware,
}

/// The config and profile, from which a check says what it wants before any fact is there.
#[derive(Clone, Copy)]
pub struct Wants<'a> {
    pub profile: &'a Profile,
    pub config: &'a Config,
}

/// Everything that a check may use.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub facts: &'a CheckFacts,
    pub profile: &'a Profile,
    pub config: &'a Config,
}

/// One row of the table.
pub struct Check {
    /// Never changes: scripts select checks by it.
    pub id: &'static str,
    pub title: &'static str,
    pub severity: Severity,
    pub on: On,
    pub needs: &'static [Need],
    /// What the profile wants, in words; or why the check is skipped.
    pub wants: fn(&Wants) -> Result<String, String>,
    pub judge: fn(&Scope) -> Result<Outcome, NotLooked>,
}

/// The areas in the order in which they are shown, from the cards outwards.
const AREAS: [(&str, &[Check]); 10] = [
    ("cards", cards::CHECKS),
    ("cards", health::CHECKS),
    ("driver", driver::CHECKS),
    ("cards' network", hccn::CHECKS),
    ("system", system::CHECKS),
    ("system", memory::CHECKS),
    ("disks", disks::CHECKS),
    ("Docker", docker::CHECKS),
    ("others", coexist::CHECKS),
    ("network", network::CHECKS),
];

/// Every check.
pub fn table() -> impl Iterator<Item = &'static Check> {
    AREAS.iter().flat_map(|(_, checks)| checks.iter())
}

/// The title of the area to which a check belongs; `None`: there is no such check.
pub fn area_of(id: &str) -> Option<&'static str> {
    AREAS.iter().find(|(_, checks)| checks.iter().any(|check| check.id == id)).map(|(area, _)| *area)
}

impl Wants<'_> {
    fn accel(&self) -> &'static dyn Accelerator {
        accel::of(self.profile)
    }
}

impl Scope<'_> {
    fn accel(&self) -> &'static dyn Accelerator {
        accel::of(self.profile)
    }
}

impl Check {
    /// What the profile wants of it, or why it is skipped here.
    pub fn wanted(&self, wants: &Wants) -> Result<String, String> {
        if self.on == On::Hardware && wants.profile.simulation.is_some() {
            return Err("the simulated node has no such hardware".into());
        }
        (self.wants)(wants)
    }

    pub fn run(&self, scope: &Scope) -> CheckResult {
        let wanted = self.wanted(&Wants { profile: scope.profile, config: scope.config });
        let mut result = CheckResult {
            id: self.id.into(),
            title: self.title.into(),
            severity: self.severity,
            verdict: CheckVerdict::Skipped,
            seen: None,
            wanted: None,
            remedy: None,
            reason: None,
        };
        match wanted {
            Err(reason) => result.reason = Some(reason),
            Ok(wanted) => {
                result.wanted = Some(wanted).filter(|text| !text.is_empty());
                match (self.judge)(scope) {
                    Ok(outcome) => outcome.write_to(&mut result),
                    Err(why) => {
                        result.verdict = CheckVerdict::CouldNotLook;
                        result.reason = Some(outcome::shorten(&why.reason));
                        result.remedy = why.remedy.as_deref().map(outcome::shorten);
                    }
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
