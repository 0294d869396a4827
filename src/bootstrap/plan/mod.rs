//! A plan is data: the facts, the steps in their order, what is right already, and the refusals.
//!
//! The parts (`disks`, `docker`, `driver`, `own`) decide and execute. This module has only the types that they share.

mod approve;
mod docker_steps;
mod file;
mod holds;
pub mod journal;
mod proof;
mod purpose;
mod step;
mod step_driver;
mod step_own;
#[cfg(test)]
mod tests;

pub use approve::{Approved, Expected, approve, objections};
pub use docker_steps::{
    ApplySysctl, CloseMetadata, ConfigureDocker, DaemonSettings, InstallPackages, MoveDockerData,
    PackagesFor, RunDocker,
};
pub use file::{check_made_for, check_still_true, read_plan, write_plan};
pub use holds::{Held, Holds, contents};
pub use proof::{Found, MemberAlone, Members, MembersAlone, Named, NamedAlone, Proved, Unseen, Volume};
pub use purpose::FilePurpose;
pub use step::{
    AddMount, Danger, DiskPart, Format, GrowVolume, MakeVolume, MoveTree, Step, WipeDisk, WriteFile,
};
pub use step::{group_name, label, volume_tag};
pub use step_driver::{
    InstallRun, MakeAccount, NewAddress, PackageKind, ResumeAfterBoot, ResumeUnit, SetAddresses,
};

pub use step_own::{InstallProgram, MakeDirectory, MakeGroup, RunUnits};

use crate::bootstrap::observed::Observed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// From schema 2 on, three things are codes that were text before: what a disk holds, the purpose of a file, and other
/// programs that run containers.
pub const SCHEMA: u32 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    /// The version of berth that made the plan.
    pub version: String,
    pub made_at: Timestamp,
    pub profile: String,
    /// The facts that it was made from. The plan is valid only while the machine still looks like that.
    pub seen: Observed,
    pub steps: Vec<Planned>,
    /// Things that are already as the profile wants them.
    pub right: Vec<String>,
}

impl Plan {
    /// The dangers that a person should know before agreeing, in a few words each; never empty.
    pub fn dangers(&self) -> Vec<String> {
        let steps = || self.steps.iter().map(|planned| &planned.step);
        let destroyed = |step: &Step| match step.danger() {
            Danger::Destroys(disks) => disks,
            Danger::None | Danger::Changes => Vec::new(),
        };
        let wiped: Vec<String> = steps().flat_map(destroyed).map(|disk| disk.serial).collect();
        let mut found = vec![match wiped.as_slice() {
            [] => "destroys nothing".to_owned(),
            serials => format!("DESTROYS what is on {}", serials.join(", ")),
        }];
        let stopped: BTreeSet<&String> = steps().flat_map(Step::stops).collect();
        if !stopped.is_empty() {
            let plural = if stopped.len() == 1 { "" } else { "s" };
            found.push(format!("STOPS {} running container{plural} for a while", stopped.len()));
        }
        if steps().any(|step| *step == Step::AskReboot) {
            found.push("nobody gets a card until the reboot".into());
        }
        found
    }
}

/// A step with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub step: Step,
    pub why: String,
}

/// A reason not to apply a plan. No step is executed while there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub what: String,
    pub help: Option<String>,
}

/// What one area (disks, Docker, …) adds to a plan.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Part {
    pub steps: Vec<Planned>,
    pub right: Vec<String>,
    pub refusals: Vec<Refusal>,
    /// Information for the admin that changes no step.
    pub notes: Vec<String>,
}

impl Part {
    pub fn add(&mut self, step: Step, why: impl Into<String>) {
        self.steps.push(Planned { step, why: why.into() });
    }
    pub fn is_right(&mut self, what: impl Into<String>) {
        self.right.push(what.into());
    }
    pub fn refuse(&mut self, what: impl Into<String>, help: impl Into<String>) {
        self.refusals.push(Refusal { what: what.into(), help: Some(help.into()) });
    }
    pub fn append(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.right.extend(other.right);
        self.refusals.extend(other.refusals);
        self.notes.extend(other.notes);
    }
}
