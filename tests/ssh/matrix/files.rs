//! Clients that carry files: scp in both protocols, sftp, rsync, sshfs, git.

use super::site::{NOISE, Site, ok, same};
use crate::rig::wait_until;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

fn remote(site: &Site<'_>, path: &Path) -> String {
    format!("{}@127.0.0.1:{}", site.server.user, path.display())
}

/// A tree with what a project has: names in Chinese and with blanks, an empty file, links, modes and times.
pub fn make_tree(at: &Path) {
    fs::create_dir_all(at.join("深/ a b")).unwrap();
    fs::write(at.join("深/ a b/文件'.txt"), "text\n").unwrap();
    fs::write(at.join("noise"), &*NOISE).unwrap();
    fs::write(at.join("empty"), "").unwrap();
    fs::write(at.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::File::open(at.join("empty"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
        .unwrap();
    fs::create_dir(at.join("hollow")).unwrap();
    symlink("run.sh", at.join("link")).unwrap();
}

pub fn same_trees(one: &Path, other: &Path, with_links: bool) {
    for name in ["noise", "empty", "run.sh", "深/ a b/文件'.txt"] {
        same(&one.join(name), &other.join(name));
    }
    assert!(other.join("hollow").is_dir());
    if with_links {
        assert_eq!(fs::read_link(other.join("link")).unwrap(), Path::new("run.sh"));
    }
}

pub fn same_times_and_modes(one: &Path, other: &Path) {
    for name in ["empty", "run.sh"] {
        let (a, b) = (fs::metadata(one.join(name)).unwrap(), fs::metadata(other.join(name)).unwrap());
        assert_eq!((a.mtime(), a.mode()), (b.mtime(), b.mode()), "{name}");
    }
}

fn scp(site: &Site<'_>, options: &[&str]) -> Command {
    let mut scp = site.program("scp");
    scp.args(["-q", "-P", &site.server.port.to_string()]).args(site.options()).args(options);
    scp
}

pub fn scp_both_ways(site: &Site<'_>, options: &[&str]) {
    let noise = site.noise("noise");
    ok(scp(site, options).arg(&noise).arg(remote(site, &site.at("up"))));
    same(&noise, &site.at("up"));
    ok(scp(site, options).arg(remote(site, &noise)).arg(site.at("down")));
    same(&noise, &site.at("down"));
    let absent = scp(site, options).arg(remote(site, &site.at("absent"))).arg(site.at("x")).output().unwrap();
    assert!(!absent.status.success() && String::from_utf8_lossy(&absent.stderr).contains("No such file"));
}

pub fn scp_trees(site: &Site<'_>, options: &[&str]) {
    make_tree(&site.at("tree"));
    let options: Vec<&str> = ["-r", "-p"].iter().chain(options).copied().collect();
    ok(scp(site, &options).arg(site.at("tree")).arg(remote(site, &site.at("up"))));
    ok(scp(site, &options).arg(remote(site, &site.at("up"))).arg(site.at("down")));
    same_trees(&site.at("tree"), &site.at("down"), false);
    same_times_and_modes(&site.at("tree"), &site.at("down"));
}

/// Runs commands as a batch; each has to succeed.
fn sftp(site: &Site<'_>, batch: &str) -> String {
    let mut command = site.program("sftp");
    command.args(["-q", "-b", "-", "-P", &site.server.port.to_string()]).args(site.options());
    command.arg(format!("{}@127.0.0.1", site.server.user));
    let output = super::sessions::feed(&mut command, batch.as_bytes());
    assert!(output.status.success(), "{batch}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn sftp_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    sftp(site, &format!("put {0} {1}\nget {1} {2}\n", noise.display(), site.text("up"), site.text("down")));
    same(&noise, &site.at("up"));
    same(&noise, &site.at("down"));
}

pub fn sftp_list_and_rename(site: &Site<'_>) {
    fs::create_dir(site.at("d")).unwrap();
    fs::write(site.at("d/one"), "1").unwrap();
    fs::write(site.at("d/over"), "old").unwrap();
    let d = site.text("d");
    let said = sftp(site, &format!("cd {d}\nrename one over\nmkdir sub\nln -s over soft\nls -l\npwd\n"));
    assert!(said.contains("over") && said.contains("sub") && said.contains("soft"), "{said}");
    assert_eq!(fs::read_to_string(site.at("d/over")).unwrap(), "1");
    assert_eq!(fs::read_link(site.at("d/soft")).unwrap(), Path::new("over"));
    sftp(site, &format!("cd {d}\nrm over\nrm soft\nrmdir sub\ndf\n"));
    assert_eq!(fs::read_dir(site.at("d")).unwrap().count(), 0);
}

pub fn sftp_trees(site: &Site<'_>) {
    make_tree(&site.at("tree"));
    sftp(site, &format!("put -pR {} {}\n", site.text("tree"), site.text("up")));
    sftp(site, &format!("get -pR {} {}\n", site.text("up"), site.text("down")));
    same_trees(&site.at("tree"), &site.at("down"), false);
    same_times_and_modes(&site.at("tree"), &site.at("down"));
}

fn rsync(site: &Site<'_>, from: &str, to: &str) {
    let mut rsync = site.program("rsync");
    ok(rsync.args(["-a", "--partial", "-e", &site.transport(), from, to]));
}

pub fn rsync_both_ways(site: &Site<'_>) {
    let noise = site.noise("noise");
    rsync(site, &site.text("noise"), &remote(site, &site.at("up")));
    same(&noise, &site.at("up"));
    // Only what changed.
    fs::OpenOptions::new().append(true).open(&noise).unwrap().write_all(b"more").unwrap();
    rsync(site, &site.text("noise"), &remote(site, &site.at("up")));
    rsync(site, &remote(site, &site.at("up")), &site.text("down"));
    same(&noise, &site.at("down"));
}

pub fn rsync_trees(site: &Site<'_>) {
    make_tree(&site.at("tree"));
    rsync(site, &format!("{}/", site.text("tree")), &remote(site, &site.at("up")));
    rsync(site, &format!("{}/", remote(site, &site.at("up"))), &site.text("down"));
    same_trees(&site.at("tree"), &site.at("down"), true);
    same_times_and_modes(&site.at("tree"), &site.at("down"));
}

/// A mounted directory; unmounted when it goes.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn start(site: &Site<'_>) -> Self {
        for name in ["served", "mounted"] {
            fs::create_dir(site.at(name)).unwrap();
        }
        let mut sshfs = site.program("sshfs");
        sshfs.args(["-p", &site.server.port.to_string()]);
        let options = site.options();
        for pair in options.chunks(2).filter(|pair| pair[0] == "-o") {
            sshfs.args(pair);
        }
        ok(sshfs.args(["-F", "none"]).arg(remote(site, &site.at("served"))).arg(site.at("mounted")));
        Self(site.at("mounted"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.0).stderr(Stdio::null()).status();
    }
}

pub fn sshfs_both_ways(site: &Site<'_>) {
    let mounted = Mounted::start(site);
    let noise = site.noise("noise");
    fs::copy(&noise, mounted.0.join("up")).unwrap();
    same(&noise, &site.at("served/up"));
    fs::copy(mounted.0.join("up"), site.at("down")).unwrap();
    same(&noise, &site.at("down"));
}

pub fn sshfs_list_and_rename(site: &Site<'_>) {
    let mounted = Mounted::start(site);
    for number in 0..300 {
        fs::write(site.at("served").join(number.to_string()), "x").unwrap();
    }
    assert_eq!(fs::read_dir(&mounted.0).unwrap().count(), 300);
    fs::rename(mounted.0.join("1"), mounted.0.join("2")).unwrap();
    fs::remove_file(mounted.0.join("3")).unwrap();
    symlink("4", mounted.0.join("soft")).unwrap();
    assert_eq!(fs::read_link(mounted.0.join("soft")).unwrap(), Path::new("4"));
    let mut appended = fs::OpenOptions::new().append(true).open(mounted.0.join("5")).unwrap();
    appended.write_all(b"y").unwrap();
    drop(appended);
    wait_until("it is all there", || fs::read_to_string(site.at("served/5")).unwrap() == "xy");
    assert_eq!(fs::read_dir(site.at("served")).unwrap().count(), 299);
}

pub fn sshfs_trees(site: &Site<'_>) {
    let mounted = Mounted::start(site);
    make_tree(&site.at("tree"));
    ok(site.program("cp").arg("-a").arg(site.at("tree")).arg(mounted.0.join("tree")));
    same_trees(&site.at("tree"), &site.at("served/tree"), true);
    same_times_and_modes(&site.at("tree"), &site.at("served/tree"));
}

fn git(site: &Site<'_>, directory: &Path, words: &[&str]) -> String {
    let mut git = site.program("git");
    git.env("GIT_SSH_COMMAND", site.transport()).env("HOME", site.dir.path()).current_dir(directory);
    ok(git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]).args(words))
}

pub fn git_both_ways(site: &Site<'_>) {
    let root = site.dir.path();
    git(site, root, &["init", "-q", "--bare", "served.git"]);
    git(site, root, &["init", "-q", "mine"]);
    make_tree(&site.at("mine/tree"));
    git(site, &site.at("mine"), &["add", "."]);
    git(site, &site.at("mine"), &["commit", "-q", "-m", "first"]);
    let url = remote(site, &site.at("served.git"));
    git(site, &site.at("mine"), &["push", "-q", &url, "HEAD:refs/heads/main"]);
    git(site, root, &["clone", "-q", "-b", "main", &url, "other"]);
    same(&site.at("mine/tree/noise"), &site.at("other/tree/noise"));
}
