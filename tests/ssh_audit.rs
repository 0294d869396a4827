//! ssh-audit (PyPI) finds nothing wrong with the algorithms but what docs/ssh.md explains. Needs root, ssh-keygen,
//! and ssh-audit, which scripts/test installs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that starts real programs and may fail"
)]
#![allow(dead_code, reason = "the rig has more than this test needs")]

#[path = "ssh/rig.rs"]
mod rig;

use rig::{PATIENCE, Setup};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What is explained: the classical exchange beside the one that resists quantum computers, for clients older than
/// OpenSSH 9.9.
const EXPLAINED: [(&str, &str); 2] = [
    ("curve25519-sha256", "does not provide protection against post-quantum attacks"),
    ("curve25519-sha256@libssh.org", "does not provide protection against post-quantum attacks"),
];

/// Where `scripts/test` puts it, or on the path.
fn ssh_audit() -> Option<Command> {
    let named = std::env::var_os("BERTH_TEST_SSH_AUDIT").filter(|path| !path.is_empty());
    let program = named.unwrap_or_else(|| "ssh-audit".into());
    let there = Command::new(&program).arg("--help").output().is_ok();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "ssh-audit is not here, and in CI it must be"
    );
    there.then(|| Command::new(program))
}

#[test]
fn ssh_audit_finds_only_what_the_documentation_explains() {
    let Some(mut audit) = ssh_audit() else {
        eprintln!("SKIPPED: ssh-audit is not here; pip install ssh-audit");
        return;
    };
    let server = Setup::default().start();
    let timeout = PATIENCE.as_secs().to_string();
    audit.args(["-j", "-t", &timeout, "-p", &server.port.to_string(), "127.0.0.1"]);
    let output = audit.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let mut found = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        let algorithms = report[kind].as_array().unwrap();
        assert!(!algorithms.is_empty(), "{report:#}");
        for algorithm in algorithms {
            let name = algorithm["algorithm"].as_str().unwrap();
            assert!(algorithm["notes"]["fail"].is_null(), "{algorithm:#}");
            for warning in algorithm["notes"]["warn"].as_array().into_iter().flatten() {
                found.push((name.to_owned(), warning.as_str().unwrap().to_owned()));
            }
        }
    }
    assert_eq!(report["cves"].as_array().map_or(0, Vec::len), 0, "{report:#}");
    assert_eq!(report["recommendations"], serde_json::json!({}), "{report:#}");
    let explained = EXPLAINED.map(|(name, warning)| (name.to_owned(), warning.to_owned()));
    assert_eq!(found, explained, "{report:#}");
    // Two notes are about every server with these algorithms; both are explained.
    for note in report["additional_notes"].as_array().unwrap() {
        let note = note.as_str().unwrap();
        assert!(
            note.contains("properly supports the strict key exchange") || note.contains("DHEat"),
            "{note}"
        );
    }
    let words = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ssh.md")).unwrap();
    for word in EXPLAINED.map(|(name, _)| name).into_iter().chain(["strict key exchange", "DHEat"]) {
        assert!(words.contains(word), "docs/ssh.md does not explain {word}");
    }
}
