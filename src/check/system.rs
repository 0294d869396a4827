//! The operating system: release, architecture, kernel, kernel settings, and the driver's account.

use super::outcome::{Outcome, bad, doubtful, good, list, looked};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::model::check_facts::NotLooked;
use crate::model::version::compare;
use crate::profile::Profile;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "os.supported",
        title: "Operating system",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Os],
        wants: |wants| match wants.profile.check.os.as_slice() {
            [] => Err("the profile names no operating systems".into()),
            some => Ok(some.join(", ")),
        },
        judge: supported,
    },
    Check {
        id: "os.arch",
        title: "Architecture",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Os],
        wants: |wants| named(wants.profile.check.arch.as_ref(), "architecture"),
        judge: arch,
    },
    Check {
        id: "kernel.version",
        title: "Kernel",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Os],
        wants: |wants| {
            named(wants.profile.check.kernel.as_ref(), "kernel").map(|oldest| format!("{oldest} or newer"))
        },
        judge: kernel,
    },
    Check {
        id: "kernel.ip-forward",
        title: "IP forwarding",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Sysctl],
        wants: |_| Ok(format!("{FORWARD} = 1")),
        judge: forward,
    },
    Check {
        id: "kernel.limits",
        title: "Limits of the kernel",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Sysctl],
        wants: limits_wanted,
        judge: limits,
    },
    Check {
        id: "user.hwhiaiuser",
        title: "Account of the driver",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Account, Need::Nodes],
        wants: |_| {
            Ok("the account that the driver was installed for, in the group of the device nodes".into())
        },
        judge: account,
    },
];

/// A setting that is read in addition to those of the profile.
pub const FORWARD: &str = "net.ipv4.ip_forward";

fn named(value: Option<&String>, what: &str) -> Result<String, String> {
    value.cloned().ok_or_else(|| format!("the profile names no {what}"))
}

fn supported(scope: &Scope) -> Result<Outcome, NotLooked> {
    let os = looked(&scope.facts.os)?;
    let (id, version) = (os.id.as_str(), os.version.as_deref().unwrap_or_default());
    let seen = format!("{id} {version} ({})", os.pretty_name.as_deref().unwrap_or("no name"));
    if scope.profile.check.fits_os(id, version) {
        return Ok(good(seen));
    }
    if scope.profile.check.is_untested_os(id, version) {
        return Ok(doubtful(
            format!("{seen}: the driver supports it, and nobody has tried berth on it"),
            "go through the plan of berth bootstrap line by line before you apply it; tell us how it went",
        ));
    }
    Ok(bad(seen, "install a system that the driver supports, or add this one to check.os in the profile"))
}

fn arch(scope: &Scope) -> Result<Outcome, NotLooked> {
    let os = looked(&scope.facts.os)?;
    if scope.profile.check.arch.as_ref() == Some(&os.arch) {
        return Ok(good(&os.arch));
    }
    Ok(bad(&os.arch, "choose the profile that fits this node: berth check --profile NAME"))
}

fn kernel(scope: &Scope) -> Result<Outcome, NotLooked> {
    let os = looked(&scope.facts.os)?;
    let oldest = scope.profile.check.kernel.as_deref().unwrap_or_default();
    if compare(&os.kernel, oldest).is_ge() {
        return Ok(good(&os.kernel));
    }
    Ok(bad(&os.kernel, "update the system and reboot; the driver is built anew for the new kernel"))
}

fn forward(scope: &Scope) -> Result<Outcome, NotLooked> {
    let values = looked(&scope.facts.sysctl)?;
    let value = match values.get(FORWARD) {
        Some(value) => *looked(value)?,
        None => return Err(format!("{FORWARD} was not read").into()),
    };
    if value == 1 {
        return Ok(good(format!("{FORWARD} = 1")));
    }
    Ok(bad(
        format!("{FORWARD} = {value}: containers reach no network"),
        format!("sysctl -w {FORWARD}=1; to stay: {}", forward_to_stay(scope.profile)),
    ))
}

/// The command that switches forwarding on for every boot. It does not write to bootstrap's own file. Of several files
/// with the setting, the last one read counts.
fn forward_to_stay(profile: &Profile) -> String {
    let by_hand = format!("echo '{FORWARD} = 1' >> /etc/sysctl.conf");
    if profile.bootstrap.sysctl.contains_key(FORWARD) {
        return format!("berth bootstrap --apply, which names files that say otherwise; or {by_hand}");
    }
    by_hand
}

fn limits_wanted(wants: &Wants) -> Result<String, String> {
    let limits: Vec<_> = limits_of(wants.profile).map(|(name, least)| format!("{name} >= {least}")).collect();
    if limits.is_empty() {
        return Err("the profile names no limits in bootstrap.sysctl".into());
    }
    Ok(list(limits))
}

/// The kernel settings that bootstrap sets, without the one that has its own check.
fn limits_of(profile: &Profile) -> impl Iterator<Item = (&String, &u64)> {
    profile.bootstrap.sysctl.iter().filter(|(name, _)| *name != FORWARD)
}

fn limits(scope: &Scope) -> Result<Outcome, NotLooked> {
    let values = looked(&scope.facts.sysctl)?;
    let mut low = Vec::new();
    let mut commands = Vec::new();
    let mut silent = None;
    for (name, least) in limits_of(scope.profile) {
        match values.get(name) {
            Some(Ok(value)) if value >= least => {}
            Some(Ok(value)) => {
                low.push(format!("{name} = {value}"));
                commands.push(format!("{name}={least}"));
            }
            Some(Err(why)) => silent = silent.or(Some(why.clone())),
            None => silent = silent.or(Some(format!("{name} was not read").into())),
        }
    }
    match (low.is_empty(), silent) {
        (false, _) => {
            Ok(bad(list(low), format!("sysctl -w {}; to stay: berth bootstrap --apply", commands.join(" "))))
        }
        (true, Some(why)) => Err(why),
        (true, None) => Ok(good("all as high as wanted")),
    }
}

/// Huawei's advice, which the images of its hub rely on.
const USUAL_ID: u32 = 1000;

fn account(scope: &Scope) -> Result<Outcome, NotLooked> {
    let account = looked(&scope.facts.account)?;
    let name = &account.name;
    let Some((uid, gid)) = account.ids else {
        let make = format!(
            "groupadd -g {USUAL_ID} {name}; useradd -g {name} -u {USUAL_ID} -d /home/{name} -m -s /bin/bash {name}"
        );
        return Ok(bad(format!("there is no {name}"), make));
    };
    let seen = format!("{name} is {uid}:{gid}");
    let of_nodes = looked(&scope.facts.nodes)?.gid;
    if let Some(other) = of_nodes.filter(|other| *other != gid) {
        return Ok(bad(
            format!("{seen}, and the device nodes belong to group {other}"),
            "install the driver anew with --install-username and --install-usergroup of this account",
        ));
    }
    if gid != USUAL_ID {
        let advice =
            format!("images that expect {USUAL_ID} need --group-add {gid}; berth adds the group by itself");
        return Ok(doubtful(seen, advice));
    }
    Ok(good(seen))
}
