//! dropbear's `dbclient`, as OpenWrt and small images have it.

use crate::site::{Site, ok};
use std::process::Command;

pub fn dbclient(site: &Site<'_>, options: &[&str], command: &[&str]) -> Command {
    let key = site.at("dropbear-key");
    if !key.exists() {
        let mut convert = site.program("dropbearconvert");
        ok(convert.args(["openssh", "dropbear"]).args([&site.server.key(), &key]));
    }
    let mut client = site.program("dbclient");
    client.args(["-y", "-y", "-i"]).arg(key).args(["-p", &site.server.port.to_string()]);
    client.args(options).arg(format!("{}@127.0.0.1", site.server.user)).args(command);
    client
}

pub fn keepalive(site: &Site<'_>) {
    let output = dbclient(site, &["-K", "1"], &["sleep 3; echo still here"]).output().unwrap();
    assert_eq!(output.stdout, b"still here\n", "{output:?}");
}

pub fn agent(site: &Site<'_>) {
    let _agent = crate::openssh::Agent::start(site);
    let mut client = dbclient(site, &["-A"], &["ssh-add -l"]);
    let output = client.env("SSH_AUTH_SOCK", site.at("agent")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("(ED25519)"), "{output:?}");
}
