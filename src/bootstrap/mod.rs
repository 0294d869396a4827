//! `berth bootstrap`: look, decide, apply. Deciding is pure, and every run decides anew. A run sees on the machine what
//! an interrupted run left; the journal only says which part of it berth made.
//!
//! Steps run on the caller's thread, one at a time. A step that has begun is always run to its end.

mod apply;
mod context;
mod copies;
pub mod disks;
pub mod docker;
pub mod driver;
mod files;
mod kernel;
mod look;
pub mod observed;
mod own;
pub mod plan;
#[cfg(test)]
mod samples;

pub use apply::{Applied, apply, refuse};
pub use context::{Context, Operator, check_rights};
use context::{check_context, make_directory, unwritable};

use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::journal::Journal;
use crate::bootstrap::plan::{Part, Plan, Refusal, SCHEMA, Step};
use crate::error::Fault;
use crate::host::sysctl;
use crate::model::disk::Disk;
use crate::profile::DiskWants;
use anyhow::Result;
use jiff::Timestamp;
use std::path::PathBuf;

/// What the admin said on the command line.
#[derive(Debug, Default, Clone)]
pub struct Wishes {
    pub wipe: Vec<String>,
    pub leave: Vec<String>,
    /// The run was started after a reboot, without an admin: it only finishes what the admin agreed to before.
    pub after_reboot: bool,
    /// The profile that the admin named, by name or full path. The run after a reboot is called with it too.
    pub profile: Option<String>,
}

/// The result of looking and deciding.
#[derive(Debug)]
pub struct Draft {
    pub plan: Plan,
    pub refusals: Vec<Refusal>,
    pub notes: Vec<String>,
    /// All remaining steps need a reboot first.
    pub awaits_reboot: bool,
}

/// Looks at the machine and makes a plan. Changes nothing.
pub fn draft(context: &Context, wishes: &Wishes, now: Timestamp) -> Result<Draft> {
    let seen = look_at_all(context)?;
    let journal = open_journal(context)?;
    Ok(decide(context, wishes, seen, &journal, now))
}

/// All facts that plans are made from.
fn look_at_all(context: &Context) -> Result<Observed, Fault> {
    let mut seen = look(context)?;
    docker::apply::look(context, &mut seen).map_err(not_seen)?;
    driver::apply::look(context, &mut seen)?;
    Ok(seen)
}

/// Fresh facts about disks and mounts.
fn look(context: &Context) -> Result<Observed, Fault> {
    let targets: Vec<PathBuf> =
        context.profile.bootstrap.disks.volumes().into_iter().map(|(_, target)| target).collect();
    look::gather(context.host, &targets, own::look(context)?).map_err(not_seen)
}

/// The error for a machine of which a part could not be looked at.
fn not_seen(why: String) -> Fault {
    Fault::refused(format!("this machine cannot be looked at: {why}"))
        .help("mend that, and run this again; nothing more was changed")
}

fn open_journal(context: &Context) -> Result<Journal, Fault> {
    Journal::read(context.host, &context.journal_path(), &new_uuid(context))
}

fn decide(context: &Context, wishes: &Wishes, seen: Observed, journal: &Journal, now: Timestamp) -> Draft {
    let mut part = Part::default();
    refuse_strangers(context, &seen, &mut part);
    let mut disks = plan_disks(context, wishes, &seen, journal);
    if wishes.after_reboot {
        refuse_new_disks(&mut disks, journal);
    }
    let docker = docker::apply::plan(context, &seen, journal, &disks);
    part.append(docker.tools);
    part.append(disks);
    part.append(docker.engine);
    let (drivers, awaits_reboot) = driver::apply::plan(context, wishes, &seen, journal);
    part.append(drivers);
    if awaits_reboot {
        part.notes.push("this machine still waits for the reboot that an earlier run asked for".into());
    }
    part.append(own::plan(context, &seen));
    let plan = Plan {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        made_at: now,
        profile: context.profile.name.clone(),
        seen,
        steps: part.steps,
        right: part.right,
    };
    Draft { plan, refusals: part.refusals, notes: part.notes, awaits_reboot }
}

/// Refuses a machine that the profile was not written for.
fn refuse_strangers(context: &Context, seen: &Observed, part: &mut Part) {
    let (rules, machine) = (&context.profile.check, &seen.machine);
    let profile = &context.profile.name;
    let version = machine.os_version.as_deref().unwrap_or_default();
    if !rules.os.is_empty() && !rules.fits_os(&machine.os, version) {
        part.refuse(
            format!("profile {profile} is for {}, and this is {} {version}", rules.os.join(", "), machine.os),
            format!(
                "name the profile for this machine with --profile, or add \"{} {version}\" to check.os in it",
                machine.os
            ),
        );
    }
    if let Some(arch) = rules.arch.as_ref().filter(|arch| **arch != machine.arch) {
        part.refuse(
            format!("profile {profile} is for {arch}, and this machine is {}", machine.arch),
            "name the profile for this machine with --profile",
        );
    }
}

/// After a reboot, refuses disks that the plan before did not have: no admin agreed to use a disk that was added
/// while the machine was off.
fn refuse_new_disks(disks: &mut Part, journal: &Journal) {
    let begun = journal.unfinished();
    let is_new = |step: &Step| match step {
        Step::WipeDisk(_) | Step::MakeVolume(_) => true,
        Step::GrowVolume(volume) => !volume.disks.is_empty(),
        _ => false,
    };
    let is_begun = |step: &Step| begun.iter().any(|other| other.is_same_work(step));
    let new: Vec<String> = disks
        .steps
        .iter()
        .filter(|planned| is_new(&planned.step) && !is_begun(&planned.step))
        .map(|planned| planned.step.describe())
        .collect();
    for what in new {
        disks.refuse(
            format!("nobody agreed to this before the reboot: {what}"),
            "look at the plan and apply it yourself: berth bootstrap",
        );
    }
}

fn plan_disks(context: &Context, wishes: &Wishes, seen: &Observed, journal: &Journal) -> Part {
    let mut wants = context.profile.bootstrap.disks.clone();
    // What was mistyped is refused together with all the rest.
    let mut part = Part::default();
    wants.leave.extend(disks::decide::resolve(seen, disks::decide::Naming::Leave, &wishes.leave, &mut part));
    let wipe = disks::decide::resolve(seen, disks::decide::Naming::Wipe, &wishes.wipe, &mut part);
    part.append(plan_named(context, &wants, &wipe, seen, journal));
    part
}

fn plan_named(
    context: &Context,
    wants: &DiskWants,
    wipe: &[String],
    seen: &Observed,
    journal: &Journal,
) -> Part {
    let (unfinished, fresh) = (journal.unfinished(), journal.fresh_volumes());
    let plan = |wipe: &[String]| {
        let new_uuid = || new_uuid(context);
        let request = disks::decide::DisksInput {
            wants,
            wipe,
            unfinished: &unfinished,
            fresh: &fresh,
            new_uuid: &new_uuid,
        };
        disks::decide::plan(seen, &request)
    };
    // The command of an interrupted run is given again as it was: what came of its wipe is not wiped, if it can go on.
    let wiped = journal.wiped();
    let is_in_use = |serial: &String| wiped.contains(serial) && seen.disk(serial).is_some_and(is_of_volume);
    let left: Vec<String> = wipe.iter().filter(|serial| !is_in_use(serial)).cloned().collect();
    let goes_on = plan(&left);
    if goes_on.refusals.is_empty() || left.len() == wipe.len() {
        return goes_on;
    }
    let as_typed = plan(wipe);
    if as_typed.refusals.is_empty() { as_typed } else { goes_on }
}

fn is_of_volume(disk: &Disk) -> bool {
    disk.pv.is_some() || disk.signatures.iter().any(|signature| signature.kind == "btrfs")
}

/// A new UUID from the kernel. Empty if it cannot be read: then no file system is made.
fn new_uuid(context: &Context) -> String {
    sysctl::read(context.host, sysctl::NEW_UUID).unwrap_or_default()
}
