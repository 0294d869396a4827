//! The Python libraries: one script each, one function a feature.

use super::openssh::Agent;
use super::site::Site;

/// The system's Python: another one on the PATH would not see Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

fn cell(site: &Site<'_>, client: &str, feature: &str) {
    let _agent = (feature == "agent").then(|| Agent::start(site));
    let script = format!("{}/tests/ssh/matrix/{client}_cells.py", env!("CARGO_MANIFEST_DIR"));
    let mut python = site.program(PYTHON);
    python.args(["-W", "ignore", &script, feature, &site.server.port.to_string()]);
    let output = python
        .arg(site.server.key())
        .arg(site.dir.path())
        .env("SSH_AUTH_SOCK", site.at("agent"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(6).collect();
    assert!(output.status.success(), "{:?}: {last:#?}", output.status);
}

pub fn paramiko(site: &Site<'_>, feature: &str) {
    cell(site, "paramiko", feature);
}
pub fn asyncssh(site: &Site<'_>, feature: &str) {
    cell(site, "asyncssh", feature);
}
