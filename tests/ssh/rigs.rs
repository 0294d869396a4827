//! What the SSH tests stand on: the clients that `scripts/test` installed are here and start.

use std::process::Command;

/// The system's Python: another one on the PATH would not see Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn every_client_starts() {
    if std::env::var_os("BERTH_TEST_IMAGES").is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI runs tests through scripts/test");
        eprintln!("SKIPPED: run scripts/test ssh");
        return;
    }
    let clients: [&[&str]; 10] = [
        &["ssh", "-V"],
        &["ssh-keygen", "-l", "-f", "/dev/null"],
        &["dbclient", "-V"],
        &["rsync", "--version"],
        &["git", "--version"],
        &["tmux", "-V"],
        &["chromium", "--version"],
        &["chromedriver", "--version"],
        &[PYTHON, "-c", "import paramiko, asyncssh"],
        &[PYTHON, "-c", "import selenium, terminado"],
    ];
    for client in clients {
        let output = Command::new(client[0]).args(&client[1..]).output();
        let output = output.unwrap_or_else(|error| panic!("{client:?}: {error}"));
        // ssh-keygen has no harmless call that ends well; that it started is enough.
        let fine = output.status.success() || client[0] == "ssh-keygen";
        assert!(fine, "{client:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
