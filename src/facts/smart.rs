//! The health of disks by SMART, from smartctl.

use crate::host::{Host, Output, RunError, Tool};
use crate::model::check_facts::{Look, NotLooked};
use std::path::Path;
use std::time::Duration;

/// Whole disks that may have SMART: SCSI, SATA and NVMe. Virtual ones have none.
pub fn disks(host: &dyn Host) -> Result<Vec<String>, String> {
    let dir = Path::new("/sys/block");
    let paths = host.list(dir).map_err(|error| format!("{} cannot be read: {error}", dir.display()))?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    // A path of a multipath NVMe disk (nvme0c0n1) is the same disk again.
    let real = |name: &String| name.starts_with("sd") || name.starts_with("nvme") && !name.contains('c');
    Ok(names.filter(real).take(64).collect())
}

/// `Ok(None)`: the disk has no SMART.
pub fn gather_disk(host: &dyn Host, name: &str) -> Look<Option<bool>> {
    let cmd =
        Tool::Smartctl.cmd().args(["-H".to_owned(), format!("/dev/{name}")]).timeout(Duration::from_secs(10));
    let output = host.run(&cmd.allow_any_exit()).map_err(|error| match error {
        RunError::Missing { .. } => NotLooked::new(
            "smartctl is not on this machine",
            "apt-get install smartmontools, or dnf install smartmontools",
        ),
        other => NotLooked::from(other.to_string()),
    })?;
    judge(name, &output)
}

/// Judges smartctl's answer. Its exit status is a set of bits: bit 1 says that the disk could not be opened, bit 3 that
/// it is failing.
pub fn judge(name: &str, output: &Output) -> Look<Option<bool>> {
    const FAILING: i32 = 1 << 3;
    const NOT_OPENED: i32 = 1 << 1;
    let text = format!("{}\n{}", output.stdout, output.stderr);
    let result = ["self-assessment test result:", "SMART Health Status:"].iter().find_map(|mark| {
        let (_, rest) = text.split_once(mark)?;
        rest.lines().next().map(str::trim)
    });
    // From 128 on it may be a signal that ended smartctl, which says nothing of the disk.
    let failing = output.status < 128 && output.status & FAILING != 0;
    if failing || result.is_some_and(|word| word.starts_with("FAIL")) {
        return Ok(Some(false));
    }
    match result {
        Some("PASSED" | "OK") => Ok(Some(true)),
        _ if text.contains("Permission denied") => {
            Err(NotLooked::new(format!("smartctl may not open {name}"), "sudo berth check --only disk.smart"))
        }
        // Behind a RAID controller smartctl must be told more than a name.
        _ if output.status < 128 && output.status & NOT_OPENED != 0
            || text.contains("Unavailable")
            || text.contains("lacks SMART") =>
        {
            Ok(None)
        }
        _ => Err(NotLooked::from(format!("smartctl says nothing of the health of {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    fn said(status: i32, stdout: &str) -> Look<Option<bool>> {
        judge("sda", &Output { status, stdout: stdout.into(), stderr: String::new() })
    }

    #[test]
    fn verdicts_of_disks() {
        assert_eq!(said(0, "SMART overall-health self-assessment test result: PASSED\n"), Ok(Some(true)));
        assert_eq!(said(0, "SMART Health Status: OK\n"), Ok(Some(true)));
        assert_eq!(said(8, "SMART overall-health self-assessment test result: FAILED!\n"), Ok(Some(false)));
        assert_eq!(said(8, ""), Ok(Some(false)));
        assert!(said(128 + 9, "").is_err(), "killed");
        assert_eq!(said(4, "SMART support is: Unavailable - device lacks SMART capability.\n"), Ok(None));
        assert!(said(2, "Smartctl open device: /dev/sda failed: Permission denied\n").is_err());
        assert!(said(0, &"\u{0}garbage".repeat(1000)).is_err());
    }

    #[test]
    fn only_real_disks_are_asked() {
        let mut host = FakeHost::default();
        for name in ["sda", "nvme0n1", "nvme0c0n1", "vda", "loop0", "dm-0", "md127"] {
            host = host.with_file(&format!("/sys/block/{name}/size"), "1\n");
        }
        assert_eq!(disks(&host).unwrap(), ["nvme0n1", "sda"]);
        assert!(disks(&FakeHost::default()).is_err());
    }
}
