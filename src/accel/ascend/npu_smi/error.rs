//! The meaning of npu-smi's errors, when it gives no table, and their remedies. Pure.
//!
//! Where npu-smi hangs, is missing or is not permitted, the text says "could not look", and nothing about the cards.

use crate::host::{Output, RunError};
use crate::model::facts::{NpuError, NpuTrouble};

fn error(code: Option<i32>, meaning: impl Into<String>, remedy: &str) -> NpuError {
    let trouble = match code {
        Some(-8005) => NpuTrouble::NoDriver,
        Some(-8020) => NpuTrouble::Held,
        _ => NpuTrouble::Other,
    };
    NpuError { trouble, code, meaning: meaning.into(), remedy: remedy.into() }
}

/// The tool did not run to its end.
pub fn from_run(run: &RunError) -> NpuError {
    let remedy = match run {
        RunError::Missing { .. } => {
            "install the driver (HDK), or set tools.npu-smi in the config to where it is"
        }
        RunError::TimedOut { .. } => {
            "look for processes in state D and at dmesg; a driver that hangs usually needs a reboot, \
             and a slow one a longer tools.npu-smi-timeout"
        }
        RunError::NotStarted { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run as root, or make npu-smi executable for this user"
        }
        RunError::NotStarted { .. } => "check that tools.npu-smi names a program for this machine",
        RunError::Failed { .. } => "run npu-smi info by hand and look at what it prints",
    };
    let cause = match run {
        RunError::NotStarted { source, .. } => format!("{run}: {source}"),
        _ => run.to_string(),
    };
    error(None, format!("could not look at the cards: {cause}"), remedy)
}

/// The tool ended, and its output has no card in it.
pub fn from_output(output: &Output) -> NpuError {
    let text = format!("{}\n{}", output.stdout, output.stderr);
    if let Some(code) = code_in(&text) {
        return from_code(code);
    }
    if let Some(line) = text.lines().find(|line| line.contains("error while loading shared libraries")) {
        let library = line.split(':').nth(2).unwrap_or("a library").trim();
        return error(
            None,
            format!("could not look at the cards: npu-smi does not find its library {library}"),
            "mount or install the driver's lib64, lib64/common and lib64/driver and name them in \
             LD_LIBRARY_PATH or in /etc/ld.so.conf.d, then run ldconfig",
        );
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains("permission denied") || lower.contains("not permitted") {
        return error(
            None,
            format!("could not look at the cards: {}", first_line(&text)),
            "run as root, or as a member of the group that owns /dev/davinci_manager",
        );
    }
    if lower.contains("no npu card") {
        let error = error(
            None,
            "npu-smi says that there is no NPU card on this server",
            "look for the cards with lspci | grep accelerators; cards that fell off the bus need a reboot",
        );
        return NpuError { trouble: NpuTrouble::NoCard, ..error };
    }
    let status = output.status;
    if text.trim().is_empty() {
        return error(
            code_of_status(status),
            format!("could not look at the cards: npu-smi printed nothing (status {status}{})", hint(status)),
            "run npu-smi info by hand; check dmesg and that the driver is loaded (lsmod | grep drv)",
        );
    }
    error(
        code_of_status(status),
        format!(
            "could not look at the cards: npu-smi printed no table (status {status}{}): {}",
            hint(status),
            first_line(&text)
        ),
        "run npu-smi info by hand and look at what it prints",
    )
}

/// npu-smi exits with DCMI's code, of which a shell sees the low byte.
fn code_of_status(status: i32) -> Option<i32> {
    Some(status - 8192).filter(|code| (-8023..=-8001).contains(code))
}

fn hint(status: i32) -> String {
    code_of_status(status).map(|code| format!(", as with DCMI error {code}")).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(200).collect()
}

/// DCMI's codes are -8001 to -8255; npu-smi prints `ret is -8005`.
fn code_in(text: &str) -> Option<i32> {
    text.split(|c: char| !c.is_ascii_digit() && c != '-')
        .filter_map(|word| word.parse().ok())
        .find(|code| (-8255..=-8001).contains(code))
}

pub fn from_code(code: i32) -> NpuError {
    const BY_HAND: &str = "run npu-smi info by hand as root on the host and look at dmesg";
    const RETRY: &str = "try again; when it stays, look at dmesg and reboot the node";
    let (meaning, remedy) = match code {
        -8001 => ("DCMI was given an invalid parameter", BY_HAND),
        -8002 => (
            "the operation is not permitted",
            "run as root, or as a member of the group that owns /dev/davinci_manager",
        ),
        -8003 => ("DCMI ran out of memory or could not copy it", RETRY),
        -8004 => ("a checked C function failed inside DCMI", BY_HAND),
        -8005 => (
            "the driver does not answer: it is not loaded, this user may not use it, device nodes or libraries \
             are missing, or the firmware was upgraded without a reboot",
            "on the host: check lsmod | grep drv and /dev/davinci_manager, run as root or as a member of its \
             group, and reboot after a firmware upgrade; in a container: give it the device nodes and the driver",
        ),
        -8006 => ("the driver did not answer in time", RETRY),
        -8007 => ("a device id is not valid", BY_HAND),
        -8008 => (
            "a device does not exist",
            "compare lspci with the cards that should be there; reboot when one fell off the bus",
        ),
        -8009 => ("a call into the driver failed", RETRY),
        -8010 | -8011 => ("a message to or from the device was lost", RETRY),
        -8012 => ("a device is not ready", "wait until the cards have started, then try again"),
        -8013 => ("the query is not supported in a container", "run it on the host"),
        -8014 => ("a file could not be read or written", BY_HAND),
        -8015 => ("resetting a device failed", RETRY),
        -8016 => ("the operation was aborted", RETRY),
        -8017 => ("firmware is being upgraded", "wait for the upgrade, then reboot"),
        -8020 => (
            "a card that this process sees is in use by another container, so the driver shows none of them",
            "find the other container (berth cards on the host) and give each card to one container only",
        ),
        -8022 => ("a partition is wrong", BY_HAND),
        -8023 => ("a configuration is missing", BY_HAND),
        -8255 => ("the device does not support the query", BY_HAND),
        _ => ("DCMI failed with a code that berth does not know", BY_HAND),
    };
    error(Some(code), meaning, remedy)
}
