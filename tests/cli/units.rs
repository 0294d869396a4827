//! The systemd units: a directive that would make the agent a "container" for the Ascend driver must never get in.
//!
//! Every directive has to be in the reviewed list below. That also refuses those that systemd invents later.

use std::path::Path;

/// Directives of which somebody made sure that they give the service no mount namespace, no device policy and no
/// smaller set of capabilities.
const REVIEWED: &[&str] = &[
    "Unit.Description",
    "Unit.Wants",
    "Unit.After",
    "Unit.RequiresMountsFor",
    "Unit.ConditionPathExists",
    "Unit.StartLimitIntervalSec",
    "Unit.StartLimitBurst",
    "Service.Type",
    "Service.ExecStart",
    "Service.ExecReload",
    "Service.Restart",
    "Service.RestartSec",
    "Service.RestartPreventExitStatus",
    "Service.KillMode",
    "Service.TimeoutStartSec",
    "Service.SuccessExitStatus",
    "Service.TimeoutStopSec",
    "Service.StandardOutput",
    "Service.RuntimeDirectory",
    "Service.RuntimeDirectoryMode",
    "Service.RuntimeDirectoryPreserve",
    "Service.StateDirectory",
    "Service.StateDirectoryMode",
    "Service.UMask",
    "Service.Environment",
    "Service.LimitNOFILE",
    "Service.OOMScoreAdjust",
    "Socket.ListenStream",
    "Socket.SocketMode",
    "Socket.DirectoryMode",
    "Socket.RemoveOnStop",
    "Install.WantedBy",
    "Install.Also",
];

/// `Section.Key` and its value, for each directive; a line that is none is an error.
fn directives(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in text.replace("\\\n", " ").lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            found.push((format!("{section}.{}", key.trim()), value.trim().to_owned()));
        } else {
            return Err(format!("line {}: `{line}` is no directive", number + 1));
        }
    }
    Ok(found)
}

fn not_reviewed(text: &str) -> Result<Vec<String>, String> {
    let keys = directives(text)?.into_iter().map(|(key, _)| key);
    Ok(keys.filter(|key| !REVIEWED.contains(&key.as_str())).collect())
}

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

fn values<'a>(all: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    all.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_units_have_only_reviewed_directives() {
    for name in ["berth.service", "berth.socket", "berth-bootstrap.service"] {
        assert_eq!(not_reviewed(&unit(name)), Ok(vec![]), "{name}");
    }
}

#[test]
fn what_would_claim_cards_is_refused() {
    for line in [
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "PrivateDevices=yes",
        "DevicePolicy=closed",
        "DeviceAllow=/dev/davinci0",
        "User=berth",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
        "ProtectClock=yes",
        "  PrivateMounts = yes",
        "ReadOnlyPaths=\\\n  /etc",
        "LogNamespace=berth",
        "NoNewPrivileges=yes",
    ] {
        let text = unit("berth.service").replace("[Service]\n", &format!("[Service]\n{line}\n"));
        let key = line.split('=').next().unwrap().trim();
        assert_eq!(not_reviewed(&text), Ok(vec![format!("Service.{key}")]));
    }
    assert!(not_reviewed("[Service]\nPrivateTmp\n").is_err());
}

#[test]
fn each_directive_that_is_left_out_has_its_reason() {
    let text = unit("berth.service");
    for key in [
        "PrivateTmp=",
        "ProtectSystem=",
        "PrivateDevices=",
        "DevicePolicy=",
        "User=",
        "CapabilityBoundingSet=",
    ] {
        assert!(text.lines().any(|line| line.starts_with('#') && line.contains(key)), "{key}");
    }
}

#[test]
fn the_two_units_agree_on_the_socket() {
    let service = directives(&unit("berth.service")).unwrap();
    let socket = directives(&unit("berth.socket")).unwrap();
    assert_eq!(values(&socket, "Socket.ListenStream"), ["/run/berth/berth.sock"]);
    assert_eq!(values(&service, "Service.RuntimeDirectory"), ["berth"]);
    // Else the end of the service would remove the socket that systemd listens on.
    assert_eq!(values(&service, "Service.RuntimeDirectoryPreserve"), ["yes"]);
}
