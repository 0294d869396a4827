//! Applying a plan: one step after the other, each written into the journal before and after.

use super::disks::{self, mounts, trees};
use super::docker::{self, back, move_data, packages};
use super::driver::{addresses, install, reboot};
use super::{
    Context, Draft, Operator, Wishes, check_context, decide, files, kernel, look_at_all, make_directory,
    open_journal, own, unwritable,
};
use crate::bootstrap::plan::journal::Journal;
use crate::bootstrap::plan::{Plan, Planned, Step, check_made_for, check_still_true};
use crate::error::{Fault, flatten};
use crate::host::lock::lock_bootstrap;
use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// The result of a run.
#[derive(Debug)]
pub struct Applied {
    pub done: Vec<Planned>,
    pub right: Vec<String>,
    pub notes: Vec<String>,
    /// The remaining steps run after a reboot.
    pub reboot: bool,
}

/// Looks at the machine again, decides again, asks the operator, and executes the steps. With a plan from a file, a new
/// decision that is not in that plan is refused.
pub fn apply(
    context: &Context,
    wishes: &Wishes,
    from_file: Option<&Plan>,
    operator: &dyn Operator,
) -> Result<Applied> {
    make_directory(context)?;
    let _lock = lock_bootstrap(&context.directory()).map_err(unwritable)?;
    let was_resumed = reboot::is_resumed(context)?;
    let applied = apply_locked(context, wishes, from_file, operator);
    let forgotten = forget(context, was_resumed, applied.is_err());
    let applied = applied?;
    forgotten?;
    Ok(applied)
}

fn forget(context: &Context, was_resumed: bool, failed: bool) -> Result<(), Fault> {
    let is_package = |step: &Step| matches!(step, Step::InstallRun(_));
    let installed = open_journal(context)?.did_in_last_run(is_package);
    reboot::forget(context, reboot::Ending { was_resumed, failed, installed })
}

fn apply_locked(
    context: &Context,
    wishes: &Wishes,
    from_file: Option<&Plan>,
    operator: &dyn Operator,
) -> Result<Applied> {
    let mut journal = open_journal(context)?;
    let now = Timestamp::now();
    let seen = look_at_all(context)?;
    if let Some(plan) = from_file {
        check_made_for(plan, &seen, now)?;
        // A run of this very plan was interrupted: what it changed is no reason to refuse it.
        if !is_begun(plan, &journal) {
            check_still_true(plan, &seen)?;
        }
    }
    let draft = decide(context, wishes, seen, &journal, now);
    if draft.awaits_reboot {
        return Ok(Applied { done: Vec::new(), right: draft.plan.right, notes: draft.notes, reboot: true });
    }
    refuse(&draft)?;
    if let Some(plan) = from_file {
        hold_to(plan, &draft)?;
    }
    // Trying whether a directory can be written leaves its mark there: not where nothing is to be done.
    if !draft.plan.steps.is_empty() {
        check_context(context)?;
    }
    operator.agrees(&draft)?;
    let mut steps = draft.plan.steps;
    let mut reboot = false;
    if !steps.is_empty() || !journal.unfinished().is_empty() {
        run(context, &steps, &mut journal, operator)?;
        let asks = steps.iter().position(|planned| planned.step == Step::AskReboot);
        if let Some(index) = asks {
            reboot = true;
            steps.truncate(index + 1);
            journal.reboot(Timestamp::now(), &reboot::boot_id(context)?)?;
        } else {
            check_converged(context, wishes, &journal)?;
            journal.finished(Timestamp::now())?;
        }
    }
    Ok(Applied { done: steps, right: draft.plan.right, notes: draft.notes, reboot })
}

/// Returns all refusals as one error: the first is its message, the others are its further lines.
pub fn refuse(draft: &Draft) -> Result<(), Fault> {
    let [first, ..] = draft.refusals.as_slice() else { return Ok(()) };
    let mut lines: Vec<String> = Vec::new();
    for refusal in &draft.refusals {
        lines.push(format!("- {}", refusal.what));
        // The same advice is not repeated for each reason.
        let is_last = draft.refusals.iter().rfind(|other| other.help == refusal.help) == Some(refusal);
        if let (Some(help), true) = (&refusal.help, is_last) {
            lines.push(format!("  {help}"));
        }
    }
    if draft.refusals.len() == 1 {
        let fault = Fault::refused(first.what.clone());
        return Err(match &first.help {
            Some(help) => fault.help(help.clone()),
            None => fault,
        });
    }
    Err(Fault::refused(format!("nothing was changed, because:\n{}", lines.join("\n"))))
}

/// Whether a run has started on this plan.
fn is_begun(plan: &Plan, journal: &Journal) -> bool {
    journal.was_begun_after(plan.made_at) && plan.steps.iter().any(|planned| journal.knows(&planned.step))
}

/// Refuses each step that is not in the plan that the admin read. The steps executed are always the newly decided ones.
fn hold_to(plan: &Plan, draft: &Draft) -> Result<(), Fault> {
    let is_agreed = |step: &Step| plan.steps.iter().any(|agreed| agreed.step.is_same_work(step));
    match draft.plan.steps.iter().find(|planned| !is_agreed(&planned.step)) {
        None => Ok(()),
        Some(planned) => {
            let what = planned.step.describe();
            Err(Fault::refused(format!("the plan does not say what is to be done now: {what}"))
                .help("make a new plan: berth bootstrap --out FILE"))
        }
    }
}

/// Executes all steps, or those up to a reboot.
fn run(context: &Context, steps: &[Planned], journal: &mut Journal, operator: &dyn Operator) -> Result<()> {
    let left = journal.unfinished();
    journal.begin(Timestamp::now())?;
    for step in left.iter().filter(|step| steps.iter().all(|planned| planned.step.key() != step.key())) {
        journal.settled(Timestamp::now(), step)?;
    }
    let mut before = None;
    let ended = run_each(context, steps, journal, operator, &mut before);
    match (ended, before) {
        (Err(error), Some(before)) => Err(docker::apply::start_after_all(context, operator, before, error)),
        (ended, _) => ended,
    }
}

fn run_each(
    context: &Context,
    steps: &[Planned],
    journal: &mut Journal,
    operator: &dyn Operator,
    before: &mut Option<back::Before>,
) -> Result<()> {
    for (index, planned) in steps.iter().enumerate() {
        let step = &planned.step;
        if stops_here(operator, before.as_ref()) {
            return Err(Fault::host(format!("stopped before: {}", step.describe()))
                .help("what is done stays done; the same command goes on from here")
                .into());
        }
        operator.starts(index + 1, steps.len(), step);
        journal.started(Timestamp::now(), step)?;
        let result = execute(context, step, operator, before).with_context(|| step.describe());
        match &result {
            Ok(()) => journal.done(Timestamp::now(), step)?,
            Err(error) => journal.failed(Timestamp::now(), step, &flatten(error).message)?,
        }
        operator.ended(step, result.as_ref().err().map(flatten).as_ref());
        result?;
        if *step == Step::AskReboot {
            break;
        }
    }
    Ok(())
}

/// Whether the operator stops the run here. A stop is not possible between stopping Docker and starting it.
fn stops_here(operator: &dyn Operator, before: Option<&back::Before>) -> bool {
    before.is_none() && operator.wants_stop()
}

/// `before`: Docker's configuration as it was, from the step that changes it to the one that starts it.
fn execute(
    context: &Context,
    step: &Step,
    operator: &dyn Operator,
    before: &mut Option<back::Before>,
) -> Result<()> {
    match step {
        Step::WipeDisk(wipe) => disks::apply::wipe(context, wipe),
        Step::MakeVolume(volume) => disks::apply::make(context, volume),
        Step::GrowVolume(volume) => disks::apply::grow(context, volume),
        Step::MoveTree(tree) => trees::copy_to_volume(context, tree, operator),
        Step::AddMount(mount) => mounts::add(context, mount),
        Step::WriteFile(file) => files::write(context, file),
        Step::MakeAccount(account) => install::make_account(context, account),
        Step::InstallRun(run) => install::install(context, run, operator),
        Step::ResumeAfterBoot(resume) => reboot::prepare(context, resume),
        Step::AskReboot => Ok(()),
        Step::SetAddresses(set) => addresses::set(context, set),
        Step::InstallPackages(packages) => packages::install(context, packages, operator),
        Step::ConfigureDocker(configure) => docker::apply::configure(context, configure, before),
        Step::MoveDockerData(data) => move_data::copy_and_switch(context, data, operator, before),
        Step::RunDocker(run) => docker::apply::run(context, run, operator, before.take()),
        Step::ApplySysctl(sysctl) => kernel::apply(sysctl),
        Step::CloseMetadata(_) => docker::apply::close_metadata(context),
        Step::InstallProgram(program) => Ok(own::install_program(program)?),
        Step::MakeGroup(group) => own::make_group(context, group),
        Step::MakeDirectory(directory) => Ok(own::make_directory(directory)?),
        Step::RunUnits(units) => own::run_units(context, units),
    }
}

/// After a plan was applied, a new decision must find nothing left to do.
fn check_converged(context: &Context, wishes: &Wishes, journal: &Journal) -> Result<()> {
    // What was named to be wiped is in use now.
    let wishes = Wishes { wipe: Vec::new(), ..wishes.clone() };
    let again = decide(context, &wishes, look_at_all(context)?, journal, Timestamp::now());
    let left = again.refusals.first().map(|refusal| refusal.what.clone());
    let left = left
        .or_else(|| again.plan.steps.first().map(|left| format!("{} ({})", left.step.describe(), left.why)));
    let Some(left) = left else { return Ok(()) };
    Err(Fault::host(format!("every step was done, and this came up meanwhile, or did not hold: {left}"))
        .help("look at the plan again: berth bootstrap")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::context::Silent;

    const PRESSED: Silent = Silent { wants_stop: true };

    #[test]
    fn nobody_stops_between_what_stops_docker_and_what_starts_it() {
        let before = back::Before { file: "/none".into(), text: None, copy: None };
        assert!(stops_here(&PRESSED, None) && !stops_here(&PRESSED, Some(&before)));
    }
}
