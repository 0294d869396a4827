//! The clock, and the registries that the node must reach.

use super::outcome::{Outcome, bad, good, list, looked};
use super::{Check, Need, On, Scope};
use crate::check::report::Severity;
use crate::model::check_facts::NotLooked;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "net.time-sync",
        title: "Clock",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Clock],
        wants: |_| Ok("kept right over the network".into()),
        judge: time_sync,
    },
    Check {
        id: "net.registry",
        title: "Image registries",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Registries],
        wants: |wants| match wants.profile.check.registries.as_slice() {
            [] => Err("the profile names no registries".into()),
            some => Ok(format!("the engine reaches {}", some.join(", "))),
        },
        judge: registry,
    },
];

fn time_sync(scope: &Scope) -> Result<Outcome, NotLooked> {
    let clock = looked(&scope.facts.clock)?;
    if clock.synchronised {
        return Ok(good(format!("{}: synchronised", clock.source)));
    }
    Ok(bad(
        format!("{}: not synchronised; leases and certificates go by this clock", clock.source),
        "systemctl enable --now chronyd (or systemd-timesyncd); timedatectl set-ntp true",
    ))
}

fn registry(scope: &Scope) -> Result<Outcome, NotLooked> {
    let asked = looked(&scope.facts.registries)?;
    let away: Vec<String> = asked
        .iter()
        .filter_map(|(registry, reached)| reached.as_ref().err().map(|why| format!("{registry}: {why}")))
        .collect();
    if away.is_empty() {
        return Ok(good(format!("reached: {}", list(asked.iter().map(|(registry, _)| registry)))));
    }
    Ok(bad(
        list(away),
        "curl -v https://REGISTRY/v2/; behind a proxy: systemctl edit docker, Environment=HTTPS_PROXY=…",
    ))
}
