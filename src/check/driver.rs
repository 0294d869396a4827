//! The driver: whether it is installed, complete and loaded, and whether firmware and CANN fit it.

use super::answer::{Driver, driver};
use super::outcome::{Outcome, bad, doubtful, good, list, looked, skipped};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::model::cann_support::{is_newer_cann, newest_cann_for};
use crate::model::check_facts::NotLooked;
use crate::model::driver::DriverFacts;
use crate::model::version::{compare, is_version, is_within};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "driver.version",
        title: "Driver (HDK)",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Driver, Need::Npu],
        wants: |wants| match &wants.profile.check.driver {
            Some(oldest) => Ok(format!("{oldest} or newer")),
            None => Ok("any version".into()),
        },
        judge: driver_version,
    },
    Check {
        id: "driver.loaded",
        title: "Driver loaded",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Driver],
        wants: |_| Ok("kernel module drv_pcie_host".into()),
        judge: loaded,
    },
    Check {
        id: "driver.firmware-pair",
        title: "Firmware fits the driver",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Driver, Need::Board],
        wants: |_| Ok("what the driver's version.info names, and the same running as installed".into()),
        judge: firmware_pair,
    },
    Check {
        id: "driver.install-complete",
        title: "Driver installed completely",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Driver, Need::Npu],
        wants: |_| Ok("Driver_Install_Status=complete, where the release notes it".into()),
        judge: install_complete,
    },
    Check {
        id: "driver.kernel-headers",
        title: "Headers of the running kernel",
        severity: Severity::Advised,
        on: On::Hardware,
        needs: &[Need::Driver, Need::Os],
        wants: |_| Ok("for the next driver, which is built against them".into()),
        judge: kernel_headers,
    },
    Check {
        id: "cann.driver-pair",
        title: "CANN fits the driver",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Driver, Need::Npu, Need::Cann],
        wants: |_: &Wants| Ok("no newer than documented for the driver".into()),
        judge: cann_pair,
    },
];

/// The remedy: how to install the driver on this node.
pub(super) fn install(scope: &Scope) -> String {
    let wants = &scope.profile.bootstrap.driver;
    if wants.is_wanted() {
        return format!("berth bootstrap installs it from {}", wants.packages.display());
    }
    "set packages in [bootstrap.driver] of the profile to a directory of .run packages, then berth bootstrap"
        .into()
}

/// The running driver's version, else the installed one's; `None`: no driver. `Err` where npu-smi hangs.
fn version_of(scope: &Scope) -> Result<Option<String>, NotLooked> {
    if let Driver::Shows(facts) = driver(scope)?
        && let Some(version) = &facts.driver_version
    {
        return Ok(Some(version.clone()));
    }
    Ok(looked(&scope.facts.driver)?.version.clone())
}

fn driver_version(scope: &Scope) -> Result<Outcome, NotLooked> {
    let Some(version) = version_of(scope)? else {
        return Ok(bad("no driver is installed", install(scope)));
    };
    if let Ok(facts) = &scope.facts.driver
        && let Some(installed) = facts.package_version.as_ref().or(facts.version.as_ref())
        && [&facts.version, &facts.package_version]
            .into_iter()
            .flatten()
            .all(|known| compare(known, &version).is_ne())
    {
        let seen = format!("{version} runs, {installed} is installed");
        return Ok(doubtful(
            seen,
            "systemctl reboot: the driver that was installed is not the one that runs",
        ));
    }
    if let Some(oldest) = &scope.profile.check.driver {
        if !is_version(&version) {
            return Err(format!("{version:?} is no version").into());
        }
        if compare(&version, oldest).is_lt() {
            return Ok(bad(version, format!("upgrade the firmware, then the driver: {}", install(scope))));
        }
    }
    // What is installed and what runs may be two: ok is only said of both.
    looked(&scope.facts.driver)?;
    match driver(scope)? {
        Driver::Shows(_) => Ok(good(version)),
        Driver::Absent(why) | Driver::Held(why) => {
            Err(NotLooked { reason: format!("{version} is installed; {}", why.reason), ..why })
        }
    }
}

fn installed<'a>(scope: &Scope<'a>) -> Result<Result<&'a DriverFacts, Outcome>, NotLooked> {
    let facts = looked(&scope.facts.driver)?;
    Ok(if facts.version.is_some() { Ok(facts) } else { Err(skipped("no driver is installed")) })
}

fn loaded(scope: &Scope) -> Result<Outcome, NotLooked> {
    let facts = looked(&scope.facts.driver)?;
    if facts.module_loaded {
        return Ok(good("drv_pcie_host is loaded"));
    }
    let remedy = if facts.version.is_some() {
        "modprobe drv_pcie_host; when that fails: dmesg | tail, and install the driver anew for this kernel"
            .into()
    } else {
        install(scope)
    };
    Ok(bad("drv_pcie_host is not in /proc/modules", remedy))
}

fn firmware_pair(scope: &Scope) -> Result<Outcome, NotLooked> {
    let facts = match installed(scope)? {
        Ok(facts) => facts,
        Err(skip) => return Ok(skip),
    };
    let running = scope.facts.board.as_ref().ok().and_then(|board| board.firmware.clone());
    // An upgraded firmware runs only after a reboot; until then the driver may answer -8005.
    if let (Some(running), Some(installed)) = (&running, &facts.firmware)
        && compare(running, installed).is_ne()
    {
        return Ok(bad(
            format!("firmware {installed} is installed, {running} runs"),
            "systemctl reboot: firmware takes effect at the start",
        ));
    }
    let compatibility = scope.facts.board.as_ref().ok().and_then(|board| board.compatibility.clone());
    if let Some(word) = compatibility.filter(|word| !word.eq_ignore_ascii_case("ok") && word != "NA") {
        return Ok(bad(
            format!("npu-smi says: Compatibility {word}"),
            "install the firmware that the driver names",
        ));
    }
    let Some(firmware) = running.as_ref().or(facts.firmware.as_ref()) else {
        let reason = match &scope.facts.board {
            Err(why) => format!("no firmware's version.info, and {}", why.reason),
            Ok(_) => "neither npu-smi nor a version.info names the firmware".into(),
        };
        return Err(reason.into());
    };
    let fits = facts.firmware_ranges.iter().any(|range| is_within(firmware, range));
    if running.is_none() && (fits || facts.firmware_ranges.is_empty()) {
        // What is installed is as it should be; what runs may be something else.
        looked(&scope.facts.board)?;
        return Err(format!("firmware {firmware} is installed, and npu-smi does not say which runs").into());
    }
    if facts.firmware_ranges.is_empty() {
        return Ok(skipped(format!("firmware {firmware}; the driver names no firmware that it goes with")));
    }
    let ranges = facts.firmware_ranges.iter().map(|(low, high)| format!("{low} to {high}"));
    let seen = format!("firmware {firmware}; the driver goes with {}", list(ranges));
    if fits {
        return Ok(good(seen));
    }
    Ok(bad(
        seen,
        "install firmware in that range, then reboot; for an upgrade firmware comes before the driver",
    ))
}

const LOG: &str =
    "tail /var/log/ascend_seclog/ascend_install.log; then run the driver's .run again with --full";

fn install_complete(scope: &Scope) -> Result<Outcome, NotLooked> {
    // Docker makes a directory where `-v` names a file that is not there; then no package can write that file.
    if let Some(path) = looked(&scope.facts.driver)?.directories.first() {
        let path = path.display();
        return Ok(bad(
            format!("{path} is a directory, as `docker run -v {path}:…` makes one where the file is missing"),
            format!("remove the container that mounts it, rmdir {path}, then {}", install(scope)),
        ));
    }
    let facts = match installed(scope)? {
        Ok(facts) => facts,
        Err(skip) => return Ok(skip),
    };
    // npu-smi says so itself, behind its table.
    let warnings = scope.facts.npu.as_ref().map(|npu| npu.facts.warnings.as_slice()).unwrap_or_default();
    if let Some(warning) = warnings.iter().find(|warning| warning.contains("may not be completely installed"))
    {
        return Ok(bad(format!("npu-smi says: {warning}"), LOG));
    }
    Ok(match facts.install_status.as_deref() {
        Some("complete") => {
            // An npu-smi that hangs warns of nothing.
            driver(scope)?;
            good("Driver_Install_Status=complete")
        }
        Some(status) => bad(format!("Driver_Install_Status={status}"), LOG),
        None if facts.is_of_a_release_without_status() => {
            driver(scope)?;
            good("/etc/ascend_install.info is of a release that notes no status; npu-smi warns of nothing")
        }
        None => bad("/etc/ascend_install.info does not say that the installation ended", LOG),
    })
}

fn kernel_headers(scope: &Scope) -> Result<Outcome, NotLooked> {
    let facts = looked(&scope.facts.driver)?;
    let kernel = &facts.kernel;
    if facts.headers {
        return Ok(good(format!("/lib/modules/{kernel}/build")));
    }
    let id = scope.facts.os.as_ref().map(|os| os.id.to_ascii_lowercase()).unwrap_or_default();
    let remedy = match id.as_str() {
        "debian" | "ubuntu" => format!("apt-get install linux-headers-{kernel}"),
        "" => format!("install the development package of kernel {kernel}"),
        // As bootstrap says.
        "euleros" | "centos" => format!("yum install kernel-devel-{kernel}"),
        _ => format!("dnf install kernel-devel-{kernel}"),
    };
    Ok(bad(format!("no /lib/modules/{kernel}/build"), remedy))
}

fn cann_pair(scope: &Scope) -> Result<Outcome, NotLooked> {
    let cann = looked(&scope.facts.cann)?;
    if cann.is_empty() {
        return Ok(skipped("no CANN on this node, and no image of the catalogue names one"));
    }
    let Some(version) = version_of(scope)? else {
        return Ok(skipped("no driver is installed"));
    };
    let Some(newest) = newest_cann_for(&version) else {
        return Ok(skipped(format!("berth's table does not know driver {version}")));
    };
    let newer: Vec<String> = cann
        .iter()
        .filter(|seen| is_newer_cann(&seen.version, newest))
        .map(|seen| format!("{} {}", seen.place, seen.version))
        .collect();
    let seen = list(cann.iter().map(|seen| format!("{} {}", seen.place, seen.version)));
    Ok(if newer.is_empty() {
        good(format!("driver {version}, up to CANN {newest}: {seen}"))
    } else {
        doubtful(
            format!("newer than CANN {newest}, the last for driver {version}: {}", list(newer)),
            "upgrade firmware and driver, or take an image with an older CANN",
        )
    })
}
