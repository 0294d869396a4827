//! Libraries of node, PHP and Ruby: one script each, one function a feature.

use super::site::Site;
use std::path::{Path, PathBuf};

/// Where `scripts/test` puts node's packages.
pub fn node_modules() -> Option<PathBuf> {
    std::env::var_os("BERTH_TEST_NODE").map(PathBuf::from).filter(|path| path.join("ssh2").is_dir())
}

fn cell(site: &Site<'_>, program: &str, script: &str, feature: &str, key: &Path) {
    let script = format!("{}/tests/ssh/matrix/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = site.program(program);
    command.args([&script, feature, &site.server.port.to_string()]).arg(key).arg(site.dir.path());
    command.env("NODE_PATH", node_modules().unwrap_or_default()).env("HOME", site.dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let first: Vec<&str> = said.lines().take(8).collect();
    assert!(output.status.success(), "{:?}: {first:#?}", output.status);
}

pub fn ssh2(site: &Site<'_>, feature: &str) {
    cell(site, "node", "node_cells.js", feature, &site.server.key());
}
pub fn phpseclib(site: &Site<'_>, feature: &str) {
    cell(site, "php", "phpseclib_cells.php", feature, &site.server.rsa_key());
}
pub fn net_ssh(site: &Site<'_>, feature: &str) {
    cell(site, "ruby", "netssh_cells.rb", feature, &site.server.key());
}
