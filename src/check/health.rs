//! The cards' health, and memory in use on cards that no process has.

use super::answer::shown;
use super::outcome::{Outcome, bad, doubtful, good, list, looked, skipped};
use super::{Check, Need, On, Scope};
use crate::check::report::Severity;
use crate::model::Health;
use crate::model::check_facts::NotLooked;
use crate::model::facts::NpuDevice;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "npu.health",
        title: "Health of the cards",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Npu, Need::Driver],
        wants: |_| Ok("every card OK".into()),
        judge: health,
    },
    Check {
        id: "npu.hbm-held",
        title: "HBM in use without a process",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Npu, Need::Driver],
        wants: |_| Ok("HBM is used only by processes that npu-smi lists".into()),
        judge: hbm_held,
    },
];

fn health(scope: &Scope) -> Result<Outcome, NotLooked> {
    let facts = shown(scope)?;
    let npu = looked(&scope.facts.npu)?;
    let unwell: Vec<&NpuDevice> = facts.devices.iter().filter(|device| device.health != Health::Ok).collect();
    let Some(first) = unwell.first() else {
        return Ok(good(format!("{} cards OK", facts.devices.len())));
    };
    let say = |device: &&NpuDevice| {
        let error = npu.errors.iter().find(|(id, _)| *id == device.npu);
        let error = error.map(|(_, text)| format!(" ({text})")).unwrap_or_default();
        format!("card {} {}{error}", device.id, device.health)
    };
    let seen = list(unwell.iter().map(say));
    let remedy = format!(
        "npu-smi info -t health -i {0}; look the code up in the vendor's fault list; {2}: npu-smi set -t reset -i {0} -c {1}",
        first.npu,
        first.chip,
        scope.accel().before_reset()
    );
    let usable = unwell.iter().all(|device| device.health.usable());
    Ok(if usable { doubtful(seen, remedy) } else { bad(seen, remedy) })
}

/// What an idle card of this size uses at most, in percent: the driver's own part is about 5.
const IDLE_PERCENT: u64 = 15;

fn hbm_held(scope: &Scope) -> Result<Outcome, NotLooked> {
    let facts = shown(scope)?;
    let known =
        |device: &NpuDevice| device.hbm_used_mib.zip(device.hbm_total_mib).filter(|(_, total)| *total > 0);
    if facts.devices.iter().all(|device| known(device).is_none()) {
        return Ok(skipped("npu-smi shows no HBM of these cards"));
    }
    let held: Vec<String> = facts
        .devices
        .iter()
        .filter(|device| device.processes.is_empty())
        .filter_map(|device| {
            let (used, total) = known(device)?;
            (used.saturating_mul(100) / total > IDLE_PERCENT)
                .then(|| format!("card {}: {used} MiB", device.id))
        })
        .collect();
    if held.is_empty() {
        return Ok(good("no card has more in use than an idle one"));
    }
    // A process whose container is gone can survive it and keep its memory.
    let remedy = format!(
        "ps -eo pid,ppid,stat,comm | awk '$3 ~ /^[DZ]/'; what kill -9 does not end goes when its parent (ppid) is killed; {}",
        scope.accel().before_reset()
    );
    Ok(bad(format!("in use, and no process is listed: {}", list(held)), remedy))
}
