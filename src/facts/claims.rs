//! Others that use a mount point, although nothing is mounted there in the machine's own namespace: units of systemd,
//! and processes with a mount in their namespaces.

use super::docker_unit::Unit;
use super::mounts::{self, MountLine};
use crate::host::{Host, Tool, read_text};
use crate::model::observed::Claim;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,UnitFileState,FragmentPath,SourcePath,What";
const TIMEOUT: Duration = Duration::from_secs(30);
/// The source of units that systemd makes from fstab. These are left out here: the fstab line itself is judged.
const FSTAB: &str = super::fstab::PATH;

/// `own`: what is mounted in the machine's own namespace. `uuids`: file systems by device number.
pub fn gather(
    host: &dyn Host,
    target: &Path,
    own: &[MountLine],
    uuids: &BTreeMap<String, String>,
) -> Result<Vec<Claim>, String> {
    let mut claims =
        if host.exists(Path::new("/run/systemd/system")) { units(host, target)? } else { Vec::new() };
    for (pid, line) in mounts::only_elsewhere(host, own, target)? {
        let comm = read_text(host, Path::new(&format!("/proc/{pid}/comm"))).unwrap_or_default();
        let program = comm.trim().chars().take(40).collect();
        claims.push(Claim::Namespace { pid, program, uuid: uuids.get(&line.device).cloned() });
    }
    Ok(claims)
}

/// A unit of that name comes before the one that systemd would make of a line in fstab, whether it is enabled or not;
/// one that is masked keeps it from being mounted.
fn units(host: &dyn Host, target: &Path) -> Result<Vec<Claim>, String> {
    let name = escape(target);
    let (mount, automount) = (format!("{name}.mount"), format!("{name}.automount"));
    let cmd = Tool::Systemctl.cmd().args(["show", &mount, &automount, PROPERTIES]).timeout(TIMEOUT);
    let output = host.run(&cmd).map_err(|error| error.to_string())?;
    let units = output.stdout.split("\n\n").map(Unit::parse);
    Ok(units.filter_map(|unit| claim_of(&unit)).collect())
}

fn claim_of(unit: &Unit) -> Option<Claim> {
    let file = unit.one("FragmentPath");
    let is_masked = unit.one("LoadState") == "masked";
    // Without an automount it is mounted all the same.
    if is_masked && unit.one("Id").ends_with(".automount") {
        return None;
    }
    // One that is only mounted has no file.
    if !is_masked && (file.is_empty() || unit.one("SourcePath") == FSTAB) {
        return None;
    }
    let what = Some(unit.one("What")).filter(|what| !what.is_empty());
    Some(Claim::Unit {
        name: unit.one("Id").to_owned(),
        is_masked,
        is_active: unit.one("ActiveState") == "active",
        is_enabled: unit.one("UnitFileState") == "enabled",
        uuid: what.and_then(|what| what.strip_prefix("/dev/disk/by-uuid/")).map(str::to_owned),
    })
}

/// As systemd-escape(1) writes a path: `/data/big-one` is `data-big\x2done`.
fn escape(path: &Path) -> String {
    let mut escaped = String::new();
    for (at, byte) in path.as_os_str().as_encoded_bytes().iter().skip(1).enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => escaped.push(char::from(*byte)),
            other => escaped.extend(["\\x".to_owned(), format!("{other:02x}")]),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    fn of(show: &str) -> Vec<Claim> {
        let command = format!("systemctl show data.mount data.automount {PROPERTIES}");
        units(&FakeHost::default().with_output(&command, 0, show, ""), Path::new("/data")).unwrap()
    }

    #[test]
    fn units_that_fstab_did_not_make_are_claims() {
        assert_eq!(escape(Path::new("/data")), "data");
        assert_eq!(escape(Path::new("/.x/big-one.d")), "\\x2ex-big\\x2done.d");
        let none = "Id=data.mount\nLoadState=not-found\nActiveState=inactive\n\n\
            Id=data.automount\nLoadState=not-found\nActiveState=inactive\n";
        let of_fstab = "Id=data.mount\nLoadState=loaded\nActiveState=active\nUnitFileState=generated\n\
            FragmentPath=/run/systemd/generator/data.mount\nSourcePath=/etc/fstab\nWhat=/dev/disk/by-uuid/u\n";
        let mounted_by_hand =
            "Id=data.mount\nLoadState=loaded\nActiveState=active\nSourcePath=/proc/self/mountinfo\n";
        for show in [none, of_fstab, mounted_by_hand] {
            assert_eq!(of(show), []);
        }
        let enabled = "Id=data.mount\nLoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\n\
            FragmentPath=/etc/systemd/system/data.mount\nWhat=/dev/disk/by-uuid/theirs\n\n\
            Id=data.automount\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n";
        let found = of(enabled);
        let mount = Claim::Unit {
            name: "data.mount".into(),
            is_masked: false,
            is_active: false,
            is_enabled: true,
            uuid: Some("theirs".into()),
        };
        assert_eq!(found[0], mount);
        assert_eq!(found.len(), 1, "a masked automount is in nobody's way");
        let masked = of("Id=data.mount\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n");
        assert!(matches!(masked.as_slice(), [Claim::Unit { is_masked: true, .. }]), "{masked:?}");
        // Of another generator.
        let zfs = of_fstab.replace("/etc/fstab", "/etc/zfs/zfs-list.cache/pool");
        assert_eq!(of(&zfs).len(), 1);
    }
}
