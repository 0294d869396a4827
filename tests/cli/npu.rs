//! What the tests of the cards share: a directory with a config and an npu-smi, and fixtures.

use berth::model::facts::Facts;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/npu")
}

pub fn fixture(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(name)).unwrap()
}

/// Captured output lies beside the project, where there is any.
pub fn captures(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("BERTH_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let dir = shared.join("npu-smi");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED {test}: no captures in {}; set BERTH_SHARED", dir.display());
    None
}

/// A directory with a config whose npu-smi is a file in it.
pub fn node() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = "profile = \"none\"\n[tools]\nnpu-smi = \"npu-smi\"\nnpu-smi-timeout = \"300ms\"\n";
    // Scripts that answer get more time than the one that hangs: two cores may be busy.
    std::fs::write(dir.path().join("hang.toml"), config).unwrap();
    std::fs::write(dir.path().join("berth.toml"), config.replace("300ms", "20s")).unwrap();
    dir
}

/// Written by another process: a file that this one has open for writing could be inherited by a program that
/// another test starts at that moment, and then it cannot be executed.
pub fn script(node: &TempDir, body: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(node.path().join("npu-smi"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

pub fn run_with(config: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_berth")).arg("--config").arg(config).args(args).output().unwrap()
}

pub fn run(node: &TempDir, args: &[&str]) -> Output {
    run_with(&node.path().join("berth.toml"), args)
}

pub fn facts_with(config: &Path) -> Facts {
    let output = run_with(config, &["facts", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn facts(node: &TempDir) -> Facts {
    facts_with(&node.path().join("berth.toml"))
}
