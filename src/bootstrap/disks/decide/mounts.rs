//! Mounts of our volumes: what fstab should contain, and when bootstrap must not edit it.

use super::layout::Wanted;
use crate::bootstrap::observed::{Mount, Observed};
use crate::bootstrap::plan::{AddMount, Format, Part, Step};
use crate::model::disk::has_project_quotas;
use crate::model::observed::{Claim, FstabEntry};

/// `nofail`: a server whose data disk is gone must still boot. `pquota`: personal storage has limits.
const XFS_OPTIONS: &str = "defaults,nofail,pquota,x-systemd.device-timeout=60s";
const BTRFS_OPTIONS: &str = "defaults,nofail,x-systemd.device-timeout=60s";
/// With `nofail` alone users could log in before their homes are mounted, and write to the directory below the mount.
const BEFORE_LOGINS: &str = "x-systemd.before=systemd-user-sessions.service";
const NEEDED: &str = "nofail";
const MARK: &str = "# berth: volume ";

pub(super) fn plan_mount(seen: &Observed, wanted: &Wanted, uuid: &str, part: &mut Part) {
    let target = wanted.target.display().to_string();
    let options = if wanted.format == Format::Btrfs { BTRFS_OPTIONS } else { XFS_OPTIONS };
    let options = match wanted.name {
        "home" => format!("{options},{BEFORE_LOGINS}"),
        _ => options.to_owned(),
    };
    let mut step = AddMount {
        name: wanted.name.into(),
        uuid: uuid.to_owned(),
        kind: wanted.format.file_system().into(),
        target: wanted.target.clone(),
        options,
    };
    if !is_free(seen, &target, uuid, part) {
        return;
    }
    if let Some(mount) = seen.mounted_at(&target)
        && mount.uuid.as_deref() != Some(uuid)
    {
        part.refuse(
            format!("something else is mounted at {target} ({})", mount.kind),
            "unmount it and take it out of /etc/fstab, or name another mount point in [bootstrap.disks]",
        );
        return;
    }
    let spec = format!("UUID={uuid}");
    for entry in &seen.fstab.entries {
        if entry.target == target && entry.spec != spec {
            part.refuse(
                format!("/etc/fstab line {} mounts {} at {target}", entry.line, entry.spec),
                "remove that line, or name another mount point in [bootstrap.disks]",
            );
            return;
        }
        if entry.spec == spec && entry.target != target {
            part.refuse(
                format!("/etc/fstab line {} mounts volume {} at {}", entry.line, wanted.name, entry.target),
                "remove that line, or name this mount point in [bootstrap.disks]",
            );
            return;
        }
    }
    let mounted = seen.mounted_at(&target);
    let entry = seen.fstab.entries.iter().find(|entry| entry.spec == spec);
    if let Some(entry) = entry {
        step.options = with_theirs(&step.options, &entry.options);
    }
    let lacks_quotas = |mount: &Mount| !has_project_quotas(&mount.options);
    if wanted.format != Format::Btrfs && mounted.is_some_and(lacks_quotas) {
        part.notes
            .push(format!("{target} is mounted without project quotas: they begin with the next mount"));
    }
    match (mounted.is_some(), entry.is_some_and(|entry| is_safe(entry, wanted.format))) {
        (true, true) => part.is_right(format!("volume {} is mounted at {target}", wanted.name)),
        (true, false) => part.add(Step::AddMount(step), "/etc/fstab does not say so for the next boot"),
        (false, _) => part.add(Step::AddMount(step), "it is not mounted"),
    }
}

/// Whether the volume can be mounted there. It cannot where something else is configured to use that mount point.
fn is_free(seen: &Observed, target: &str, uuid: &str, part: &mut Part) -> bool {
    let Some(directory) = seen.directories.iter().find(|known| known.path == target) else { return true };
    let before = part.refusals.len();
    if directory.is_no_directory {
        part.refuse(
            format!("a volume is to be mounted at {target}, and that is no directory, or not in one"),
            "move what is there away, or name another mount point in [bootstrap.disks]",
        );
    }
    let is_of_ours = |of: &Option<String>| of.as_deref().is_some_and(|of| of.eq_ignore_ascii_case(uuid));
    // An automount goes with the mount beside it.
    let has_own_unit = directory.claims.iter().any(|claim| match claim {
        Claim::Unit { uuid, is_masked, .. } => is_of_ours(uuid) && !is_masked,
        Claim::Namespace { .. } => false,
    });
    for claim in &directory.claims {
        match claim {
            Claim::Unit { name, is_masked: true, .. } => part.refuse(
                format!("{name} of systemd is masked: nothing would be mounted at {target} after a boot"),
                format!("systemctl unmask {name}, or name another mount point in [bootstrap.disks]"),
            ),
            Claim::Unit { name, is_enabled, is_active, .. } if !has_own_unit => {
                let is_enabled = if *is_enabled { "enabled" } else { "not enabled" };
                let is_active = if *is_active { "active" } else { "not active now" };
                part.refuse(
                    format!("{name} of systemd means {target} for something else ({is_enabled}, {is_active})"),
                    format!(
                        "look at it (systemctl cat {name}); disable and remove it if nobody needs it, or name another \
                         mount point in [bootstrap.disks]"
                    ),
                );
            }
            Claim::Namespace { pid, program, uuid } if !is_of_ours(uuid) => part.refuse(
                format!(
                    "{program} (process {pid}) has something mounted at {target}, in a namespace of its own"
                ),
                format!(
                    "look at it (nsenter -t {pid} -m findmnt {target}); end it, or name another mount point"
                ),
            ),
            Claim::Unit { .. } | Claim::Namespace { .. } => {}
        }
    }
    part.refusals.len() == before
}

/// Our mount options, followed by those that an admin had added, without options that would undo ours.
fn with_theirs(ours: &str, theirs: &[String]) -> String {
    const AGAINST: [&str; 6] = ["noauto", "fail", "noquota", "nopquota", "prjquota", "pqnoenforce"];
    let key = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
    let known: Vec<String> = ours.split(',').chain(AGAINST).map(key).collect();
    let kept = theirs.iter().map(String::as_str).filter(|option| !known.contains(&key(option)));
    std::iter::once(ours).chain(kept).collect::<Vec<_>>().join(",")
}

fn is_safe(entry: &FstabEntry, format: Format) -> bool {
    let has_needed = entry.options.iter().any(|option| option == NEEDED);
    has_needed && (format == Format::Btrfs || has_project_quotas(&entry.options))
}

/// Returns fstab with the mount in it: in place of a line for the same file system, else at the end.
pub fn edit_fstab(text: &str, mount: &AddMount) -> String {
    let line = mount.fstab_line();
    let spec = format!("UUID={}", mount.uuid);
    let is_old = |old: &str| old.split_whitespace().next() == Some(&spec);
    if text.lines().any(is_old) {
        let lines = text.lines().map(|old| if is_old(old) { line.as_str() } else { old });
        return lines.flat_map(|line| [line, "\n"]).collect();
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{MARK}{}\n{line}\n", mount.name)
}

#[cfg(test)]
mod tests {
    use super::super::volumes::Existing;
    use super::*;
    use crate::bootstrap::samples;
    use crate::facts::fstab;

    /// What the plan of a volume with the UUID `own`, to be mounted at /data, refuses.
    fn refused(change: impl Fn(&mut Observed)) -> Vec<String> {
        let mut seen = samples::machine(Vec::new());
        change(&mut seen);
        let format = Format::XfsLinear;
        let wanted = Wanted { name: "data", target: "/data".into(), format, existing: Existing::No };
        let mut part = Part::default();
        plan_mount(&seen, &wanted, "own", &mut part);
        assert_eq!(part.steps.is_empty(), !part.refusals.is_empty());
        part.refusals.into_iter().map(|refusal| refusal.what).collect()
    }

    #[test]
    fn a_mount_point_that_others_mean_is_refused() {
        let unit = |is_masked: bool, uuid: Option<&str>| Claim::Unit {
            name: "data.mount".into(),
            is_masked,
            is_active: false,
            is_enabled: true,
            uuid: uuid.map(str::to_owned),
        };
        let elsewhere = |uuid: Option<&str>| Claim::Namespace {
            pid: 77,
            program: "their".into(),
            uuid: uuid.map(str::to_owned),
        };
        let with = |claim: Claim| refused(|seen| seen.directories[0].claims = vec![claim.clone()]);
        for (claim, why) in [
            (
                unit(false, None),
                "data.mount of systemd means /data for something else (enabled, not active now)",
            ),
            (unit(false, Some("theirs")), "for something else"),
            (unit(true, Some("own")), "data.mount of systemd is masked"),
            (elsewhere(None), "their (process 77) has something mounted at /data"),
            (elsewhere(Some("theirs")), "process 77"),
        ] {
            let all = with(claim);
            assert!(all.len() == 1 && all[0].contains(why), "{why}: {all:?}");
        }
        for claim in [unit(false, Some("OWN")), elsewhere(Some("own"))] {
            assert_eq!(with(claim), [""; 0]);
        }
        let all = refused(|seen| seen.directories[0].is_no_directory = true);
        assert!(all[0].contains("/data, and that is no directory"), "{all:?}");
        let line = "UUID=root / ext4\nLABEL=old /data/ xfs nofail 0 0\n";
        let all = refused(|seen| seen.fstab = fstab::parse(line));
        assert!(all[0].contains("line 2 mounts LABEL=old at /data"), "{all:?}");
    }

    #[test]
    fn fstab_keeps_every_line_of_others() {
        let mount = AddMount {
            name: "data".into(),
            uuid: "fs".into(),
            kind: Format::XfsLinear.file_system().into(),
            target: "/data".into(),
            options: "defaults,nofail".into(),
        };
        let old = "# mine\nUUID=root / ext4 defaults 0 1";
        let new = edit_fstab(old, &mount);
        assert_eq!(new, format!("{old}\n# berth: volume data\nUUID=fs /data xfs defaults,nofail 0 0\n"));
        assert_eq!(edit_fstab(&new, &mount), new);
        let changed = new.replace("defaults,nofail", "defaults");
        assert_eq!(edit_fstab(&changed, &mount), new);
    }
}
