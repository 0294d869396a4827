//! A plan as a file, and whether it is still valid for the machine on which it is applied.

use super::{Plan, SCHEMA};
use crate::bootstrap::observed::Observed;
use crate::error::Fault;
use crate::host::{Host, read_text};
use crate::model::disk::Disk;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::path::Path;

/// An older plan is refused: the machine may have changed too much.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(12);

pub fn write_plan(host: &dyn Host, path: &Path, plan: &Plan) -> Result<(), Fault> {
    let wrong = |what: String| Fault::host(format!("writing the plan to {}: {what}", path.display()));
    let text = serde_json::to_string_pretty(plan).map_err(|error| wrong(error.to_string()))?;
    host.write_atomic(path, text.as_bytes(), 0o600).map_err(|error| wrong(error.to_string()))
}

pub fn read_plan(host: &dyn Host, path: &Path) -> Result<Plan, Fault> {
    let shown = path.display();
    let text = read_text(host, path)
        .map_err(|error| Fault::host(format!("plan {shown} cannot be read: {error}")))?;
    let no_plan = |why: String| Fault::usage(format!("{shown} is no plan of berth bootstrap: {why}"));
    let value: Value = serde_json::from_str(&text).map_err(|error| no_plan(error.to_string()))?;
    match value.get("schema").and_then(Value::as_u64) {
        // Those of schema 1 have words where there are codes now.
        Some(schema) if (1..=u64::from(SCHEMA)).contains(&schema) => {}
        Some(schema) => {
            return Err(Fault::refused(format!(
                "plan {shown} has schema {schema}, this berth knows {SCHEMA}"
            ))
            .help("make a new plan with this berth: berth bootstrap --out FILE"));
        }
        None => return Err(no_plan("it has no schema".into())),
    }
    serde_json::from_value(value).map_err(|error| no_plan(error.to_string()))
}

fn outdated(what: String) -> Result<(), Fault> {
    Err(Fault::refused(what).help("look again and make a new plan: berth bootstrap --out FILE"))
}

/// Refuses a plan that was made on another machine, or too long ago.
pub fn check_made_for(plan: &Plan, now: &Observed, at: Timestamp) -> Result<(), Fault> {
    if plan.seen.machine.id != now.machine.id {
        return outdated("the plan was made on another machine".into());
    }
    let age = at.duration_since(plan.made_at);
    if age > MAX_AGE || age < -SignedDuration::from_mins(5) {
        return outdated(format!("the plan was made at {}, and holds for 12 hours", plan.made_at));
    }
    Ok(())
}

/// Refuses a plan for a machine that has changed since.
pub fn check_still_true(plan: &Plan, now: &Observed) -> Result<(), Fault> {
    let changed = differences(&plan.seen, now);
    if changed.is_empty() {
        return Ok(());
    }
    outdated(format!("the machine has changed since the plan was made: {}", changed.join("; ")))
}

/// Describes the differences for people. Disks are not named by their kernel names.
fn differences(then: &Observed, now: &Observed) -> Vec<String> {
    let mut found = Vec::new();
    for disk in &then.disks {
        match same(disk, &now.disks) {
            None => found.push(format!("disk {} has gone", serial(disk))),
            Some(other) if !is_same(disk, other) => {
                found.push(format!("disk {} has other contents or uses", serial(disk)));
            }
            Some(_) => {}
        }
    }
    let new = now.disks.iter().filter(|disk| same(disk, &then.disks).is_none());
    found.extend(new.map(|disk| format!("disk {} is new", serial(disk))));
    let parts = [
        (then.groups != now.groups, "LVM volume groups"),
        (then.btrfs != now.btrfs, "btrfs volumes"),
        (then.mounts != now.mounts, "mounts"),
        (then.fstab != now.fstab, "/etc/fstab"),
        (then.directories != now.directories, "directories to mount at"),
        (then.own != now.own, "what of berth itself is there"),
        (then.machine != now.machine, "the operating system"),
        (then.driver != now.driver, "the driver, its account or its packages"),
        (then.hccn != now.hccn, "the addresses of the cards"),
        (then.docker != now.docker, "Docker"),
        (then.packages != now.packages, "packages"),
        (then.kernel != now.kernel, "settings of the kernel"),
    ];
    found.extend(parts.iter().filter(|(differs, _)| *differs).map(|(_, what)| (*what).to_owned()));
    found
}

fn serial(disk: &Disk) -> &str {
    disk.id.as_ref().map_or("without a serial number", |id| &id.serial)
}

/// Finds the disk with the same id. A disk without an id is the same as one that looks the same.
fn same<'a>(disk: &Disk, among: &'a [Disk]) -> Option<&'a Disk> {
    match &disk.id {
        Some(id) => among.iter().find(|other| other.id.as_ref() == Some(id)),
        None => among.iter().find(|other| is_same(disk, other)),
    }
}

/// Compares two disks without their kernel names, and without processes that may end at any time: the guard looks for
/// those again.
fn is_same(a: &Disk, b: &Disk) -> bool {
    let lasting = |disk: &Disk| {
        let mut lasting = Disk { name: String::new(), ..disk.clone() };
        lasting.uses.retain(|used| !used.is_passing());
        lasting
    };
    lasting(a) == lasting(b)
}
