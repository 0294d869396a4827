//! The changes to russh (`scripts/lib/russh-*.diff`) belong to the version that is built.

use std::fs;
use std::path::Path;
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn locked_version() -> String {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let (_, after) = lock.split_once("name = \"russh\"\nversion = \"").unwrap();
    after.split('"').next().unwrap().to_owned()
}

#[test]
fn there_is_one_diff_and_it_is_for_the_locked_version() {
    let files = fs::read_dir(repository().join("scripts/lib")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let diffs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "diff")).collect();
    let wanted = repository().join(format!("scripts/lib/russh-{}.diff", locked_version()));
    assert_eq!(diffs, [wanted], "make it anew, or drop it");
}

#[test]
fn with_another_version_the_scripts_stop_and_plain_cargo_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let made = root.path().join("target/patched");
    fs::create_dir_all(&made).unwrap();
    fs::write(made.join("config.toml"), "paths = [\"patched/russh-0.0.1\"]\n").unwrap();
    fs::create_dir_all(root.path().join("scripts/lib")).unwrap();
    fs::write(root.path().join("scripts/lib/russh-0.0.1.diff"), "").unwrap();
    fs::write(root.path().join("Cargo.lock"), "[[package]]\nname = \"russh\"\nversion = \"0.0.2\"\n")
        .unwrap();
    let script = "set -euo pipefail; cd \"$1\"; for part in say packages build patched; do . scripts/lib/$part.sh; done; \
                  patch_russh \"$2\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(repository())
        .arg(root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let sentence = "error: Cargo.lock has russh 0.0.2, and scripts/lib/russh-0.0.1.diff is not for it: ";
    assert!(said.starts_with(sentence) && said.lines().count() == 1, "{said}");
    assert!(!made.exists(), "cargo would go on with the old one");
}
