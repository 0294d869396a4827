//! Disks: the data volume, the root file system, mounts at boot, and the disks' health by SMART.

use super::outcome::{Outcome, bad, good, list, looked, skipped};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::check::seen::{CheckFacts, Mounted};
use crate::model::check_facts::{NotLooked, Space};
use crate::model::disk::has_project_quotas;
use crate::model::facts::BlockDevice;
use crate::model::observed::FstabEntry;
use crate::model::{FullPlace, Kept, Size};
use std::path::Path;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "disk.data",
        title: "Data volume",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Space, Need::Disks],
        wants: |wants| match wants.profile.check.data {
            Some(least) => Ok(format!(
                "{least} or more for {}, apart from the root",
                wants.config.paths.storage.display()
            )),
            None => Err("the profile names no data volume".into()),
        },
        judge: data,
    },
    Check {
        id: "disk.quota",
        title: "Quotas on the data volume",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Mounts],
        wants: |wants| {
            if wants.profile.check.quota {
                Ok("project quotas (prjquota), or btrfs".into())
            } else {
                Err("the profile asks for no quotas".into())
            }
        },
        judge: quota,
    },
    Check {
        id: "disk.root-space",
        title: "Room on the root file system",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Space, Need::Mounts],
        wants: |wants| Ok(format!("{} free, and 5 % of the inodes", wants.profile.check.root_free)),
        judge: root_space,
    },
    Check {
        id: "disk.full",
        title: "Room for storage and ledger",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Space],
        wants: |wants| {
            let paths = &wants.config.paths;
            Ok(format!("room at {} and {}", paths.storage.display(), paths.state.display()))
        },
        judge: full,
    },
    Check {
        id: "disk.fstab-nofail",
        title: "Mounts that can stop the boot",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Fstab],
        wants: |_: &Wants| Ok("data disks by UUID and with nofail".into()),
        judge: fstab,
    },
    Check {
        id: "disk.smart",
        title: "Health of the disks",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Smart],
        wants: |wants| {
            if wants.profile.check.smart {
                Ok("no disk expects to fail".into())
            } else {
                Err("the profile says smart = false".into())
            }
        },
        judge: smart,
    },
];

/// The file system that a path is on, or will be.
pub(super) fn space_of<'a>(facts: &'a CheckFacts, path: &Path) -> Result<&'a Space, NotLooked> {
    let all = looked(&facts.space)?;
    let best =
        all.iter().filter(|space| path.starts_with(&space.target)).max_by_key(|space| space.target.len());
    best.ok_or_else(|| format!("df shows no file system of {}", path.display()).into())
}

fn mount_of<'a>(mounts: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    // Of mounts at one place the last is seen.
    mounts.iter().filter(|mount| path.starts_with(&mount.target)).max_by_key(|mount| mount.target.len())
}

pub(super) fn describe(space: &Space) -> String {
    format!(
        "{} on {} ({}, {}), {} free",
        space.target,
        space.source,
        space.fs_type,
        Size(space.size),
        Size(space.available)
    )
}

fn data(scope: &Scope) -> Result<Outcome, NotLooked> {
    let storage = &scope.config.paths.storage;
    let space = space_of(scope.facts, storage)?;
    let least = scope.profile.check.data.unwrap_or_default();
    if space.target == "/" {
        let empty = empty_disks(scope.facts.disks.as_deref().unwrap_or_default(), least);
        let seen = format!("{} is on the root file system", storage.display());
        return Ok(if empty.is_empty() {
            bad(seen, "add a disk, and run berth bootstrap")
        } else {
            bad(
                format!("{seen}; empty disks: {}", list(&empty)),
                "berth bootstrap makes the data volume of them",
            )
        });
    }
    let seen = describe(space);
    if Size(space.size) < least {
        return Ok(bad(seen, "berth bootstrap grows it by a disk that was added"));
    }
    Ok(good(seen))
}

/// Empty disks, from which a data volume could be made.
fn empty_disks(disks: &[BlockDevice], least: Size) -> Vec<String> {
    let empty = |disk: &&BlockDevice| {
        disk.kind == "disk"
            && disk.children.is_empty()
            && disk.fs_type.is_none()
            && disk.mountpoints.is_empty()
    };
    // Several may be merged: each alone need not be large enough.
    let large = |disk: &&BlockDevice| disk.size_bytes >= least.0 / 16 && disk.size_bytes > 0;
    disks
        .iter()
        .filter(empty)
        .filter(large)
        .map(|disk| format!("{} {}", disk.name, Size(disk.size_bytes)))
        .collect()
}

fn quota(scope: &Scope) -> Result<Outcome, NotLooked> {
    let mounts = looked(&scope.facts.mounts)?;
    let storage = &scope.config.paths.storage;
    let mount = mount_of(mounts, storage)
        .ok_or_else(|| NotLooked::from(format!("there is no mount of {}", storage.display())))?;
    if mount.target == "/" {
        return Ok(skipped("there is no data volume"));
    }
    let seen = format!("{} is {} with {}", mount.target, mount.fs_type, mount.options.join(","));
    if has_project_quotas(&mount.options) || mount.fs_type == "btrfs" {
        return Ok(good(seen));
    }
    Ok(bad(
        seen,
        format!(
            "add pquota to {} in /etc/fstab and mount it anew: a remount does not switch it on",
            mount.target
        ),
    ))
}

const MAKE_ROOM: &str = "du -xhd1 / | sort -h | tail; Docker's data belongs on the data volume";

fn root_space(scope: &Scope) -> Result<Outcome, NotLooked> {
    let space = space_of(scope.facts, Path::new("/"))?;
    let mounts = looked(&scope.facts.mounts)?;
    let read_only =
        mounts.iter().find(|mount| mount.target == "/" && mount.options.iter().any(|option| option == "ro"));
    if read_only.is_some() {
        return Ok(bad(
            "/ is mounted read-only",
            "dmesg | grep -i 'remount\\|error'; a disk with errors turns read-only",
        ));
    }
    let seen = describe(space);
    if Size(space.available) < scope.profile.check.root_free {
        return Ok(bad(seen, MAKE_ROOM));
    }
    if space.inodes > 0 && space.inodes_free < space.inodes / 20 {
        return Ok(bad(format!("{seen}, {} of {} inodes free", space.inodes_free, space.inodes), MAKE_ROOM));
    }
    Ok(good(seen))
}

fn full(scope: &Scope) -> Result<Outcome, NotLooked> {
    let paths = &scope.config.paths;
    let mut seen = Vec::new();
    for (kept, path) in [(Kept::Storage, &paths.storage), (Kept::State, &paths.state)] {
        let space = space_of(scope.facts, path)?;
        if space.available == 0 || space.inodes > 0 && space.inodes_free == 0 {
            let full = FullPlace { kept, path: path.clone(), file_system: space.target.clone().into() };
            return Ok(bad(full.to_string(), full.help()));
        }
        seen.push(format!("{} free at {}", Size(space.available), space.target));
    }
    Ok(good(list(&seen)))
}

/// Mounts that the system needs: without one of them, the boot may stop.
const SYSTEM: [&str; 8] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/tmp", "/var/log"];

fn fstab(scope: &Scope) -> Result<Outcome, NotLooked> {
    let fstab = looked(&scope.facts.fstab)?;
    if let Some(error) = &fstab.error {
        let seen = format!("/etc/fstab line {}: {}", error.line, error.why);
        return Ok(bad(seen, "mend the line, then: findmnt --verify"));
    }
    let of_a_disk = |entry: &&FstabEntry| {
        let named = ["/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];
        entry.target.starts_with('/') && named.iter().any(|start| entry.spec.starts_with(start))
    };
    let may_fail = |entry: &FstabEntry| {
        entry.options.iter().any(|option| matches!(option.as_str(), "nofail" | "noauto"))
    };
    let stops = |entry: &&FstabEntry| {
        of_a_disk(entry) && !SYSTEM.contains(&entry.target.as_str()) && !may_fail(entry)
    };
    if let Some(FstabEntry { line, target, .. }) = fstab.entries.iter().find(stops) {
        let seen =
            format!("line {line} mounts {target} without nofail: without that disk the node does not boot");
        return Ok(bad(seen, format!("add nofail to the options of line {line} in /etc/fstab")));
    }
    let by_name = |entry: &&FstabEntry| entry.spec.strip_prefix("/dev/").is_some_and(is_kernel_name);
    if let Some(FstabEntry { line, target, spec, .. }) = fstab.entries.iter().find(by_name) {
        let seen =
            format!("line {line} mounts {target} by its name {spec}, which another disk may have tomorrow");
        return Ok(bad(seen, format!("blkid -o value -s UUID {spec}; write UUID=… in its place")));
    }
    Ok(good(format!("nothing among {} entries", fstab.entries.len())))
}

/// Whether the kernel gave this name, by the order in which it found disks. Chosen names, such as those of LVM, are in
/// a subdirectory or begin with other letters.
fn is_kernel_name(name: &str) -> bool {
    let numbered = |start: &str| {
        name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    // sda, vdb1, xvdc, hda: letters in the order of discovery.
    let lettered = |start: &str| {
        name.strip_prefix(start).is_some_and(|rest| {
            let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            (1..=3).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_lowercase())
        })
    };
    ["nvme", "mmcblk", "dm-", "nbd", "pmem"].iter().any(|start| numbered(start))
        || ["sd", "vd", "xvd", "hd"].iter().any(|start| lettered(start))
}

fn smart(scope: &Scope) -> Result<Outcome, NotLooked> {
    let disks = looked(&scope.facts.smart)?;
    let mut passed = Vec::new();
    let mut silent = None;
    for disk in disks {
        match &disk.healthy {
            Ok(Some(true)) => passed.push(disk.name.as_str()),
            Ok(Some(false)) => {
                let remedy = format!("smartctl -a /dev/{0}; replace it while it can be read", disk.name);
                return Ok(bad(format!("{} expects to fail", disk.name), remedy));
            }
            Ok(None) => {}
            Err(why) => silent = silent.or(Some(why.clone())),
        }
    }
    match silent {
        Some(why) => Err(why),
        None if passed.is_empty() => Ok(skipped("no disk here has SMART")),
        None => Ok(good(format!("passed: {}", list(passed)))),
    }
}
