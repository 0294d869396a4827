//! PuTTY's command line clients: `plink` and `psftp`.

use super::site::{Site, ok, same};
use std::fs;
use std::process::Command;

/// One of them with the key in PuTTY's own format, and the host's fingerprint, without which it would ask.
fn putty(site: &Site<'_>, name: &str, options: &[&str]) -> Command {
    let key = site.at("key.ppk");
    if !key.exists() {
        ok(site.program("puttygen").arg(site.server.key()).args(["-O", "private", "-o"]).arg(&key));
    }
    let print = ok(site.program("ssh-keygen").arg("-lf").arg(site.server.host_key_public()));
    let print = print.split_whitespace().nth(1).unwrap();
    let mut client = site.program(name);
    client.env("HOME", site.dir.path()).args(["-batch", "-noagent", "-l", &site.server.user, "-i"]).arg(key);
    client.args(["-P", &site.server.port.to_string(), "-hostkey", print]).args(options);
    client
}

/// Options of OpenSSH's kind (`-o`) are left out: it has none.
pub fn plink(site: &Site<'_>, options: &[&str], command: &[&str]) -> Command {
    let mut kept = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if *option == "-o" {
            options.next();
        } else {
            kept.push(*option);
        }
    }
    let mut client = putty(site, "plink", &kept);
    client.arg("127.0.0.1").args(command);
    client
}

/// Runs commands as a batch; the first that fails ends it.
fn psftp(site: &Site<'_>, batch: &str) -> String {
    let script = site.at("batch");
    fs::write(&script, batch).unwrap();
    ok(putty(site, "psftp", &["-b", script.to_str().unwrap()]).arg("127.0.0.1"))
}

pub fn psftp_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    psftp(site, &format!("put {0} {1}\nget {1} {2}\n", noise.display(), site.text("up"), site.text("down")));
    same(&noise, &site.at("up"));
    same(&noise, &site.at("down"));
}

pub fn psftp_list_and_rename(site: &Site<'_>) {
    fs::create_dir(site.at("d")).unwrap();
    fs::write(site.at("d/one"), "1").unwrap();
    let said = psftp(site, &format!("cd {}\nmv one two\nmkdir sub\nls\n", site.text("d")));
    assert!(said.contains("two") && said.contains("sub") && said.contains("-rw-r--r--"), "{said}");
    psftp(site, &format!("cd {}\ndel two\nrmdir sub\n", site.text("d")));
    assert_eq!(fs::read_dir(site.at("d")).unwrap().count(), 0);
}
