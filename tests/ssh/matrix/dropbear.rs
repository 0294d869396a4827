//! dropbear's `dbclient`, as OpenWrt and small images have it.

use super::site::{Site, ok};
use std::path::PathBuf;
use std::process::Command;

/// The server's key in dropbear's own format.
fn key(site: &Site<'_>) -> PathBuf {
    let key = site.at("dropbear-key");
    if !key.exists() {
        let mut convert = site.program("dropbearconvert");
        ok(convert.args(["openssh", "dropbear"]).args([&site.server.key(), &key]));
    }
    key
}

pub fn dbclient(site: &Site<'_>, options: &[&str], command: &[&str]) -> Command {
    let mut client = site.program("dbclient");
    client.args(["-y", "-y", "-i"]).arg(key(site)).args(["-p", &site.server.port.to_string()]);
    client.args(options).arg(format!("{}@127.0.0.1", site.server.user)).args(command);
    client
}

pub fn keepalive(site: &Site<'_>) {
    let output = dbclient(site, &["-K", "1"], &["sleep 3; echo still here"]).output().unwrap();
    assert_eq!(output.stdout, b"still here\n", "{output:?}");
}

/// Two servers in one word, as docs/ssh.md has it for the gateway. It starts itself for the first, by the path that it
/// was called with.
pub fn two_hops(site: &Site<'_>) {
    let (user, port) = (&site.server.user, site.server.port);
    let path = ok(site.program("which").arg("dbclient"));
    let mut client = site.program(path.trim());
    client.args(["-y", "-y", "-i"]).arg(key(site));
    let output =
        client.arg(format!("{user}@127.0.0.1^{port},{user}@127.0.0.1^{port}")).arg("exit 7").output();
    assert_eq!(output.as_ref().unwrap().status.code(), Some(7), "{output:?}");
}

pub fn agent(site: &Site<'_>) {
    let _agent = super::openssh::Agent::start(site);
    let mut client = dbclient(site, &["-A"], &["ssh-add -l"]);
    let output = client.env("SSH_AUTH_SOCK", site.at("agent")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("(ED25519)"), "{output:?}");
}
