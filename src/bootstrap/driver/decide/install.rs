//! Plans the driver's steps: account, driver and firmware in the right order, then the reboot.

use super::account::plan_account;
use super::choose::{Choice, Chooser};
use super::pair::{Fit, fit, installed_misfit};
use crate::bootstrap::observed::{CardsSeen, DriverSeen, Machine, Observed};
use crate::bootstrap::plan::{InstallRun, PackageKind, Part, ResumeAfterBoot, Step};
use crate::profile::DriverWants;

/// The input of the decision besides the facts.
pub struct DriverInput<'a> {
    pub wants: &'a DriverWants,
    /// `vendor:device` of a card; empty: the PCI bus is not searched for cards.
    pub pci_ids: &'a [String],
    /// Steps that an earlier run started and did not finish.
    pub unfinished: &'a [Step],
    /// How the remaining steps are run after the reboot.
    pub resume: &'a ResumeAfterBoot,
}

/// Steps for the driver of this machine.
pub fn plan(seen: &Observed, request: &DriverInput) -> Part {
    let mut part = Part::default();
    let Some(driver) = seen.driver.as_ref().filter(|_| request.wants.is_wanted()) else {
        part.is_right("the driver is left alone (no packages are named in [bootstrap.driver])");
        return part;
    };
    plan_account(&driver.account, request.wants, &mut part);
    let Some((driver_choice, firmware_choice)) = choose(&seen.machine, driver, request, &mut part) else {
        return part;
    };
    if !check_pair(driver, &driver_choice, &firmware_choice, request.wants, &mut part) {
        return part;
    }
    let steps = in_order(driver, &driver_choice, &firmware_choice, request.wants);
    if steps.is_empty() {
        say_right(seen, driver, &driver_choice, &firmware_choice, &mut part);
        return part;
    }
    check_machine(&seen.machine, driver, &driver_choice, request, &mut part);
    refuse_held(seen, "install a driver or firmware", &mut part);
    let why_resume = "a driver or firmware that is installed now works after the next boot";
    part.add(Step::ResumeAfterBoot(request.resume.clone()), why_resume);
    for step in steps {
        let why = reason(driver, step.kind);
        part.add(Step::InstallRun(step), why);
    }
    part.add(Step::AskReboot, "new firmware and drivers take effect at the start");
    part
}

fn choose(
    machine: &Machine,
    seen: &DriverSeen,
    request: &DriverInput,
    part: &mut Part,
) -> Option<(Choice, Choice)> {
    let files = &seen.files;
    let chooser = Chooser {
        seen,
        wants: request.wants,
        arch: &machine.arch,
        kind: PackageKind::Driver,
        installed: files.package().map(|version| (version, files.is_complete())),
        driver: None,
    };
    let driver = chooser.choose(part);
    // Nobody can see on the disk whether an interrupted run wrote all cards' firmware.
    let is_half = request
        .unfinished
        .iter()
        .any(|step| matches!(step, Step::InstallRun(run) if run.kind == PackageKind::Firmware));
    let firmware = Chooser {
        kind: PackageKind::Firmware,
        installed: files.firmware.as_deref().map(|version| (version, !is_half)),
        driver: driver.as_ref().map(Choice::version),
        ..chooser
    };
    let firmware = firmware.choose(part);
    driver.zip(firmware)
}

/// Refuses a driver and a firmware that do not fit each other. Returns false if it refused.
fn check_pair(
    seen: &DriverSeen,
    driver: &Choice,
    firmware: &Choice,
    wants: &DriverWants,
    part: &mut Part,
) -> bool {
    let (driver, firmware) = (driver.version(), firmware.version());
    match fit(driver, firmware, &seen.files) {
        Fit::Yes => true,
        Fit::Unknown => {
            part.notes.push(format!(
                "berth does not know whether driver {driver} and firmware {firmware} go together; the driver says so \
                 once it is installed"
            ));
            true
        }
        Fit::No(with) if wants.trust_pair => {
            part.notes
                .push(format!("driver {driver} goes with {with}, and firmware {firmware} was asked for"));
            true
        }
        Fit::No(with) => {
            part.refuse(
                format!("driver {driver} goes with {with}, not with firmware {firmware}"),
                "name a pair of the vendor's release notes in [bootstrap.driver] and put both packages there; \
                 trust-pair = true installs this one",
            );
            false
        }
    }
}

/// Orders the installations. Without a working driver the driver comes first, because only a driver can write firmware.
/// With a working one the firmware comes first.
fn in_order(seen: &DriverSeen, driver: &Choice, firmware: &Choice, wants: &DriverWants) -> Vec<InstallRun> {
    let mut both = vec![(PackageKind::Driver, driver), (PackageKind::Firmware, firmware)];
    if seen.files.is_complete() && seen.files.module_loaded {
        both.reverse();
    }
    let mut steps: Vec<InstallRun> = both
        .into_iter()
        .filter_map(|(kind, choice)| match choice {
            Choice::Keep(_) => None,
            Choice::Install(version, file) => Some(InstallRun {
                kind,
                version: version.clone(),
                path: seen.packages.directory.join(&file.name),
                size: file.size,
                user: wants.user.clone(),
                group: wants.group.clone(),
                completes: false,
            }),
        })
        .collect();
    if let Some(last) = steps.last_mut() {
        last.completes = !wants.trust_pair;
    }
    steps
}

fn reason(seen: &DriverSeen, kind: PackageKind) -> String {
    let files = &seen.files;
    match (kind, files.package(), &files.firmware) {
        (PackageKind::Driver, Some(version), _) if !files.is_complete() => {
            let status = files.install_status.as_deref().unwrap_or("not noted");
            format!("driver {version} is not whole (Driver_Install_Status is {status})")
        }
        (PackageKind::Driver, Some(version), _) => format!("driver {version} is installed"),
        (PackageKind::Firmware, _, Some(version)) => format!("firmware {version} is installed"),
        (kind, ..) => format!("no {kind} is installed"),
    }
}

fn say_right(seen: &Observed, driver: &DriverSeen, own: &Choice, firmware: &Choice, part: &mut Part) {
    part.is_right(format!("driver {} and firmware {} are installed", own.version(), firmware.version()));
    if let Some(misfit) = installed_misfit(&driver.files) {
        part.notes.push(misfit);
    }
    if !driver.files.module_loaded && !seen.boot.is_awaited() {
        part.notes
            .push("the driver is installed and not loaded: modprobe drv_pcie_host; dmesg | tail".into());
    }
}

/// Refuses a machine that lacks something that the packages need.
fn check_machine(
    machine: &Machine,
    seen: &DriverSeen,
    driver: &Choice,
    request: &DriverInput,
    part: &mut Part,
) {
    let is_card = |id: &String| request.pci_ids.iter().any(|wanted| wanted.eq_ignore_ascii_case(id));
    if !request.pci_ids.is_empty() && !seen.pci.iter().any(is_card) {
        let found = if seen.pci.is_empty() { "no accelerator".to_owned() } else { seen.pci.join(", ") };
        part.refuse(
            format!("no card ({}) is on the PCI bus; found {found}", request.pci_ids.join(", ")),
            "a card that the machine does not see needs a look at its hardware; or name another profile",
        );
    }
    let kernel = &seen.files.kernel;
    if matches!(driver, Choice::Install(..)) && !seen.files.headers {
        part.refuse(
            format!(
                "there are no headers of the running kernel ({kernel}), which the driver is built against"
            ),
            headers_command(&machine.os, kernel),
        );
    }
    let wants = request.wants;
    let was = (seen.files.user.as_deref(), seen.files.group.as_deref());
    if let (Some(user), Some(group)) = was
        && (user, group) != (wants.user.as_str(), wants.group.as_str())
    {
        part.refuse(
            format!("a driver was installed for {user}:{group}, and the profile wants {}:{}", wants.user, wants.group),
            "the packages refuse to change that: name the same account in [bootstrap.driver], or uninstall first",
        );
    }
}

fn headers_command(os: &str, kernel: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "debian" | "ubuntu" => format!("apt-get install linux-headers-{kernel}"),
        "euleros" | "centos" => format!("yum install kernel-devel-{kernel}"),
        _ => format!("dnf install kernel-devel-{kernel}"),
    }
}

/// Refuses while somebody has a card: its driver, firmware or address must not change then.
pub(super) fn refuse_held(seen: &Observed, to: &str, part: &mut Part) {
    if seen.driver.as_ref().is_some_and(|driver| !driver.files.module_loaded) {
        return;
    }
    let nobody_looked = CardsSeen { not_looked: Some("nobody looked".into()), ..CardsSeen::default() };
    let cards = seen.cards.as_ref().unwrap_or(&nobody_looked);
    let help = "release the berths, and stop the containers and processes (berth cards shows them)";
    for holder in &cards.holders {
        part.refuse(format!("cannot {to}: {holder}"), help);
    }
    if let Some(why) = &cards.not_looked {
        part.refuse(
            format!("cannot {to}: who has cards could not be looked at: {why}"),
            "the driver is loaded, so that somebody may have one",
        );
    }
}
