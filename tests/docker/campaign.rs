//! `scripts/campaign` in a small form, by its own command: the agent and Docker are killed and stalled.

use std::process::Command;

/// It has namespaces and an engine of its own, which take what is left of the processor.
#[test]
fn a_small_campaign_breaks_nothing_alone() {
    if std::env::var_os("BERTH_TEST_DOCKER").is_none() {
        assert!(std::env::var_os("CI").is_none(), "no engine in BERTH_TEST_DOCKER");
        eprintln!("SKIPPED: the campaign, which starts an engine where BERTH_TEST_DOCKER names another");
        return;
    }
    let dir = tempfile::Builder::new().prefix("camp").tempdir().unwrap();
    let output = Command::new("scripts/campaign")
        .args(["--keep-docs", "--people", "6", "--n", "3", "kills", "docker"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("BERTH_BIN", env!("CARGO_BIN_EXE_berth"))
        .env("BERTH_CAMPAIGN_DIR", dir.path())
        .env_remove("BERTH_CONFIG")
        .output()
        .unwrap();
    // The seed is in there, which plays it again.
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    for part in ["==> kills", "==> docker"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
