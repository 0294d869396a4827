//! Programs that carry files over SFTP with a library or a client of their own: curl (libssh2), lftp, rclone (Go's
//! x/crypto), Ansible.

use super::files::{make_tree, same_times_and_modes, same_trees};
use super::site::{Site, ok, same};
use std::fs;
use std::path::Path;

fn curl(site: &Site<'_>, words: &[&str], path: &str) -> String {
    let mut curl = site.program("curl");
    curl.args(["-q", "-sS", "--insecure", "--user", &format!("{}:", site.server.user), "--key"]);
    curl.arg(site.server.key()).arg("--pubkey").arg(site.server.key().with_extension("pub")).args(words);
    ok(curl.arg(format!("sftp://127.0.0.1:{}{path}", site.server.port)))
}

pub fn curl_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    curl(site, &["-T", &site.text("noise")], &site.text("up"));
    same(&noise, &site.at("up"));
    curl(site, &["-o", &site.text("down")], &site.text("up"));
    same(&noise, &site.at("down"));
}

pub fn curl_list_and_rename(site: &Site<'_>) {
    let d = site.text("d");
    fs::create_dir(&d).unwrap();
    fs::write(site.at("d/one"), "1").unwrap();
    let (rename, link) = (format!("rename {d}/one {d}/two"), format!("ln {d}/two {d}/soft"));
    let listed = curl(site, &["-Q", &rename, "-Q", &link], &format!("{d}/"));
    assert!(listed.contains(" two") && listed.contains(" soft") && listed.contains("-rw-r--r--"), "{listed}");
    // A link called `soft` that leads to `two`, and not the other way round.
    assert_eq!(fs::read_link(site.at("d/soft")).unwrap(), site.at("d/two"));
    curl(site, &["-Q", &format!("rm {d}/soft"), "-Q", &format!("rm {d}/two")], &format!("{d}/"));
    assert_eq!(fs::read_dir(d).unwrap().count(), 0);
}

fn lftp(site: &Site<'_>, commands: &str) -> String {
    let connect = format!("ssh -a -x {}", site.options().join(" "));
    let script = format!(
        "set cmd:fail-exit yes; set net:max-retries 1; set sftp:connect-program '{connect}'; \
         open -u {},x -p {} sftp://127.0.0.1; {commands}",
        site.server.user, site.server.port
    );
    ok(site.program("lftp").env("HOME", site.dir.path()).args(["--norc", "-c", &script]))
}

pub fn lftp_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    lftp(
        site,
        &format!("put {0} -o {1}; get {1} -o {2}", noise.display(), site.text("up"), site.text("down")),
    );
    same(&noise, &site.at("up"));
    same(&noise, &site.at("down"));
}

pub fn lftp_list_and_rename(site: &Site<'_>) {
    fs::create_dir(site.at("d")).unwrap();
    fs::write(site.at("d/one"), "1").unwrap();
    let d = site.text("d");
    let said = lftp(site, &format!("cd {d}; mv one two; mkdir sub; ln -s two soft; cls -l"));
    assert!(said.contains("two") && said.contains("sub"), "{said}");
    assert_eq!(fs::read_link(site.at("d/soft")).unwrap(), Path::new("two"));
    lftp(site, &format!("cd {d}; rm two soft; rmdir sub"));
    assert_eq!(fs::read_dir(d).unwrap().count(), 0);
}

pub fn lftp_trees(site: &Site<'_>) {
    make_tree(&site.at("tree"));
    lftp(site, &format!("mirror -R {} {}", site.text("tree"), site.text("up")));
    lftp(site, &format!("mirror {} {}", site.text("up"), site.text("down")));
    same_trees(&site.at("tree"), &site.at("down"), true);
    same_times_and_modes(&site.at("tree"), &site.at("down"));
}

fn rclone(site: &Site<'_>, words: &[&str]) -> String {
    let mut rclone = site.program("rclone");
    rclone.env("HOME", site.dir.path()).args(["--config", "/dev/null", "--sftp-host", "127.0.0.1"]);
    rclone.args(["--sftp-port", &site.server.port.to_string(), "--sftp-user", &site.server.user]);
    ok(rclone.arg("--sftp-key-file").arg(site.server.key()).args(words))
}

pub fn rclone_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    rclone(site, &["copyto", &site.text("noise"), &format!(":sftp:{}", site.text("up"))]);
    same(&noise, &site.at("up"));
    rclone(site, &["copyto", &format!(":sftp:{}", site.text("up")), &site.text("down")]);
    same(&noise, &site.at("down"));
    make_tree(&site.at("tree"));
    let tree = format!(":sftp:{}", site.text("tree-up"));
    rclone(site, &["copy", "--create-empty-src-dirs", &site.text("tree"), &tree]);
    // It compares sizes and what `md5sum` in the berth says.
    rclone(site, &["check", &site.text("tree"), &tree]);
    rclone(site, &["copy", "--create-empty-src-dirs", &tree, &site.text("tree-down")]);
    same_trees(&site.at("tree"), &site.at("tree-down"), false);
}

pub fn rclone_list_and_rename(site: &Site<'_>) {
    fs::create_dir(site.at("d")).unwrap();
    fs::write(site.at("d/one"), "1").unwrap();
    let d = format!(":sftp:{}", site.text("d"));
    rclone(site, &["moveto", &format!("{d}/one"), &format!("{d}/two")]);
    assert_eq!(rclone(site, &["lsf", &d]), "two\n");
    rclone(site, &["purge", &d]);
    assert!(!site.at("d").exists());
}

/// A play of two tasks: a file there, and back.
pub fn ansible_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    let play = serde_json::json!([{
        "hosts": "all",
        "gather_facts": false,
        "tasks": [
            {"copy": {"src": site.text("noise"), "dest": site.text("up"), "mode": "0640"}},
            {"fetch": {"src": site.text("up"), "dest": site.text("down"), "flat": true}},
        ],
    }]);
    // JSON is YAML.
    fs::write(site.at("play.yml"), play.to_string()).unwrap();
    let mut ansible = site.slow_program("ansible-playbook");
    ansible.env("HOME", site.dir.path()).env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3");
    // Its temporary files too: the home is the servers', and shared.
    ansible.env("ANSIBLE_REMOTE_TEMP", site.at("remote")).env("ANSIBLE_SSH_ARGS", site.options().join(" "));
    ansible.args(["-i", &format!("127.0.0.1:{},", site.server.port), "-u", &site.server.user]);
    ok(ansible.arg(site.at("play.yml")));
    same(&noise, &site.at("up"));
    same(&noise, &site.at("down"));
}
