//! ssh-audit (PyPI) finds nothing wrong with the algorithms but what docs/ssh.md explains. Needs root, ssh-keygen,
//! and ssh-audit, which scripts/test installs.

use crate::rig::{PATIENCE, Setup};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const NOT_QUANTUM_SAFE: &str = "does not provide protection against post-quantum attacks";
const NOT_ENCRYPT_THEN_MAC: &str = "using encrypt-and-MAC mode";

/// What is explained: the classical exchange beside the one that resists quantum computers, for clients older than
/// OpenSSH 9.9.
const STRICT: [(&str, &str); 2] =
    [("curve25519-sha256", NOT_QUANTUM_SAFE), ("curve25519-sha256@libssh.org", NOT_QUANTUM_SAFE)];

/// And what clients of today's distributions need besides.
const COMPATIBLE: [(&str, &str); 6] = [
    STRICT[0],
    STRICT[1],
    ("diffie-hellman-group14-sha256", "2048-bit modulus only provides 112-bits of symmetric strength"),
    ("diffie-hellman-group14-sha256", NOT_QUANTUM_SAFE),
    ("hmac-sha2-256", NOT_ENCRYPT_THEN_MAC),
    ("hmac-sha2-512", NOT_ENCRYPT_THEN_MAC),
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
    let Some(audit) = ssh_audit() else {
        eprintln!("SKIPPED: ssh-audit is not here; pip install ssh-audit");
        return;
    };
    let server = Setup { rsa: true, ..Setup::default() }.start();
    finds(audit, server.port, &COMPATIBLE);
}

#[test]
fn with_strict_algorithms_it_finds_less() {
    let Some(audit) = ssh_audit() else {
        eprintln!("SKIPPED: ssh-audit is not here; pip install ssh-audit");
        return;
    };
    let session = r#"{"schema": 1, "algorithms": "strict"}"#;
    let server = Setup { session, rsa: true, ..Setup::default() }.start();
    let report = finds(audit, server.port, &STRICT);
    let keys: Vec<_> = report["key"].as_array().unwrap().iter().map(|key| &key["algorithm"]).collect();
    assert_eq!(keys, ["ssh-ed25519"], "the key of RSA is there, and not offered");
}

/// Asks ssh-audit, and wants to hear of the explained warnings and of no others.
fn finds(mut audit: Command, port: u16, explained: &[(&str, &str)]) -> Value {
    let timeout = PATIENCE.as_secs().to_string();
    audit.args(["-j", "-t", &timeout, "-p", &port.to_string(), "127.0.0.1"]);
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
    let wanted: Vec<_> =
        explained.iter().map(|(name, warning)| ((*name).to_owned(), (*warning).to_owned())).collect();
    assert_eq!(found, wanted, "{report:#}");
    assert_eq!(report["cves"].as_array().map_or(0, Vec::len), 0, "{report:#}");
    recommends(&report["recommendations"], explained);
    // Two notes are about every server with these algorithms; both are explained.
    for note in report["additional_notes"].as_array().unwrap() {
        let note = note.as_str().unwrap();
        assert!(
            note.contains("properly supports the strict key exchange") || note.contains("DHEat"),
            "{note}"
        );
    }
    let words = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ssh.md")).unwrap();
    for word in explained.iter().map(|(name, _)| *name).chain(["strict key exchange", "DHEat"]) {
        assert!(words.contains(word), "docs/ssh.md does not explain {word}");
    }
    report
}

/// It recommends to remove no more than what it warns of, and to add what is known to be missing.
fn recommends(recommendations: &Value, explained: &[(&str, &str)]) {
    for (level, changes) in recommendations.as_object().unwrap() {
        for (change, kinds) in changes.as_object().unwrap() {
            for entry in kinds.as_object().unwrap().values().flat_map(|entries| entries.as_array().unwrap()) {
                let name = entry["name"].as_str().unwrap();
                let expected = match (level.as_str(), change.as_str()) {
                    ("warning", "del") => explained.iter().any(|(known, _)| *known == name),
                    // The library has not the first; `strict` leaves the others out.
                    ("informational", "add") => {
                        name.starts_with("sntrup761x25519-sha512") || name.starts_with("rsa-sha2-")
                    }
                    _ => false,
                };
                assert!(expected, "{level}: {change} {name}");
            }
        }
    }
}
