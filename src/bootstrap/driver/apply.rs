//! Collects the facts about the driver and the cards' addresses, and calls `decide` with them.

use super::decide::{self, Addresses};
use super::{cards, reboot};
use crate::bootstrap::observed::{DriverSeen, Observed};
use crate::bootstrap::plan::journal::Journal;
use crate::bootstrap::plan::{Part, ResumeAfterBoot, Step};
use crate::bootstrap::{Context, Wishes};
use crate::error::Fault;
use crate::facts::{self, account, addresses, run_packages};
use crate::host::{need_text, sysctl};
use crate::model::driver::{HccnSeen, PackagesSeen};
use std::path::Path;
use std::time::{Duration, Instant};

/// Adds to `seen` the facts about driver and addresses, where the profile asks for them.
pub(in crate::bootstrap) fn look(context: &Context, seen: &mut Observed) -> Result<(), Fault> {
    seen.boot = reboot::look(context)?;
    let wants = &context.profile.bootstrap;
    if !wants.driver.is_wanted() && !wants.hccn.is_wanted() {
        return Ok(());
    }
    let wrong = |why: String| Fault::host(format!("looking at the driver: {why}"));
    let driver = look_at_driver(context).map_err(wrong)?;
    if driver.files.module_loaded {
        seen.cards = Some(cards::look(context));
    }
    seen.driver = Some(driver);
    if wants.hccn.is_wanted() {
        seen.hccn = Some(look_at_addresses(context, seen.boot.is_over()).map_err(wrong)?);
    }
    Ok(())
}

fn look_at_driver(context: &Context) -> Result<DriverSeen, String> {
    let (host, wants) = (context.host, &context.profile.bootstrap.driver);
    let wanted = account::Wanted { user: &wants.user, group: &wants.group, uid: wants.uid, gid: wants.gid };
    let pci = context.accel().on_bus(host)?;
    Ok(DriverSeen {
        files: facts::driver::gather(host, Path::new(facts::driver::DRIVER))?,
        pci: pci.into_iter().map(|device| format!("{}:{}", device.vendor, device.device)).collect(),
        account: account::gather(host, &wanted)?,
        packages: if wants.is_wanted() {
            run_packages::gather(host, context.root, &wants.packages)
        } else {
            PackagesSeen::default()
        },
    })
}

/// Asks the cards for their addresses. Right after a boot the driver may still start them, so it asks again for two
/// minutes.
fn look_at_addresses(context: &Context, is_after_boot: bool) -> Result<HccnSeen, String> {
    const PATIENCE: Duration = Duration::from_mins(2);
    const PAUSE: Duration = Duration::from_secs(2);
    let (wants, cards) = (&context.profile.bootstrap.hccn, context.profile.devices.cards);
    let with_gateway =
        !wants.csv.as_os_str().is_empty() || wants.addresses.iter().any(|wanted| wanted.gateway.is_some());
    let is_there = context.host.exists(&context.config.tools.hccn_tool);
    let end = Instant::now() + if is_after_boot && is_there { PATIENCE } else { Duration::ZERO };
    loop {
        let seen = addresses::gather(context.host, &context.config.tools, cards, with_gateway)?;
        if seen.not_asked.is_none() || Instant::now() >= end {
            return Ok(seen);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns the driver's part of the plan, and whether the driver waits only for a reboot.
pub(in crate::bootstrap) fn plan(
    context: &Context,
    wishes: &Wishes,
    seen: &Observed,
    journal: &Journal,
) -> (Part, bool) {
    let profile = context.profile;
    let mut part = Part::default();
    let resume = reboot::resume(context, wishes, seen);
    let nobody = ResumeAfterBoot { unit: None };
    let request = decide::DriverInput {
        wants: &profile.bootstrap.driver,
        // A simulated node has no cards on its bus.
        pci_ids: if profile.simulation.is_some() { &[] } else { &profile.devices.pci_ids },
        unfinished: &journal.unfinished(),
        resume: resume.as_ref().unwrap_or(&nobody),
    };
    part.append(decide::plan(seen, &request));
    let installs = part.steps.iter().any(|planned| matches!(planned.step, Step::InstallRun(_)));
    if let (true, Err(why)) = (installs, &resume) {
        part.refuse(
            format!("bootstrap could not go on by itself after the reboot: {why}"),
            "what runs as root after a boot must be where only root can write: this program in /usr/local/bin, \
             config and profile in /etc/berth",
        );
    }
    let is_awaited = seen.boot.is_awaited() && part.refusals.is_empty() && !installs;
    part.append(plan_addresses(context, seen, installs || is_awaited));
    (part, is_awaited)
}

fn plan_addresses(context: &Context, seen: &Observed, after_reboot: bool) -> Part {
    let wants = &context.profile.bootstrap.hccn;
    let csv = (!wants.csv.as_os_str().is_empty()).then(|| need_text(context.host, &wants.csv));
    let hostname = sysctl::read(context.host, sysctl::HOSTNAME).unwrap_or_default();
    let request =
        Addresses { wants, cards: context.profile.devices.cards, csv, hostname: &hostname, after_reboot };
    decide::plan_addresses(seen, &request)
}
