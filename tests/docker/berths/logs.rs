//! `berth logs`: what a berth's container wrote and what happened to it, for its owner and administrators alone.

use crate::machine::until;
use crate::rig::{ALICE, BOB, Rig};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn logs(rig: &Rig, args: &[&str]) -> Vec<Value> {
    let text = rig.ok(&[&["logs", "alice/dev", "--json"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_container_wrote_and_what_happened_to_it_come_by_time() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    rig.ssh_ok(&berth, "true");
    // Root inside may write there what it likes.
    rig.exec(&berth, "printf 'own \\033[2Jword\\n' > /proc/1/fd/1; printf 'on stderr\\n' > /proc/1/fd/2");
    let has = |text: &str| logs(&rig, &[]).iter().any(|line| line["text"].as_str().unwrap().contains(text));
    until("both lines and the login", Duration::from_secs(20), || {
        (has("own \u{fffd}[2Jword") && has("on stderr") && has("login ma-user")).then_some(())
    });
    let lines = logs(&rig, &[]);
    let times: Vec<&str> = lines.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(times.len() >= 4 && times.first() < times.last(), "{lines:?}");
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds[..2], ["berth.requested", "berth.live"], "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "ssh.login").count(), 1, "once, from one source");
    assert_eq!(logs(&rig, &["--last", "1"]).len(), 1);
    let text = rig.ok(&["logs", "alice/dev"]);
    assert!(!text.contains('\u{1b}') && text.contains("event      berth.requested"), "{text}");
    assert_eq!(rig.berth_as(ALICE, &["logs", "dev"]).code, 0);
    let said = rig.refused_as(BOB, 3, &["logs", "alice/dev"]);
    assert!(said.contains("alice's berths are not yours"), "{said}");
    rig.refused_as(BOB, 2, &["logs", "dev"]);
    rig.refused(2, &["logs", "alice/dev", "--last", "2001"]);
    rig.refused(2, &["logs", "alice/../dev"]);
    rig.ok(&["release", "alice/dev"]);
    let after = logs(&rig, &[]);
    assert!(after.iter().all(|line| line["source"] == "event"), "{after:?}");
    assert!(after.iter().any(|line| line["kind"] == "berth.released"), "{after:?}");
    assert!(after.iter().any(|line| line["kind"] == "ssh.login"), "the ledger still has it: {after:?}");
}

/// `berth logs --follow`, and its lines as they come.
fn follow(rig: &Rig, last: &str) -> (Child, Receiver<Value>) {
    let mut child = rig
        .command(&["logs", "alice/dev", "--follow", "--json", "--last", last])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (lines, seen) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if lines.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
        }
    });
    (child, seen)
}

/// The lines up to the one with this in its kind or its text.
fn until_line(seen: &Receiver<Value>, what: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let line =
            seen.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no {what}: {lines:?}"));
        let is_it = line["kind"] == what || line["text"].as_str().unwrap().contains(what);
        lines.push(line);
        if is_it {
            return lines;
        }
    }
}

#[test]
fn a_log_is_followed_over_a_stop_until_the_berth_ends() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let (mut child, seen) = follow(&rig, "1000");
    until_line(&seen, "berth.live");
    rig.exec(&berth, "echo from inside > /proc/1/fd/1");
    let lines = until_line(&seen, "from inside");
    assert_eq!(lines.last().unwrap()["source"], "container", "{lines:?}");
    rig.ssh_ok(&berth, "true");
    let lines = until_line(&seen, "ssh.end");
    let logins = |lines: &[Value]| lines.iter().filter(|line| line["kind"] == "ssh.login").count();
    assert_eq!(logins(&lines), 1, "once, from one source: {lines:?}");
    // Another card is another container, and another name the same berth.
    rig.ok(&["stop", "alice/dev"]);
    rig.ok(&["resize", "alice/dev", "--card-ids", "7"]);
    until_line(&seen, "berth.resized");
    let live = rig.json(&["start", "alice/dev"]);
    until_line(&seen, "berth.live");
    rig.ssh_ok(&live, "true");
    let lines = until_line(&seen, "ssh.end");
    assert_eq!(logins(&lines), 1, "{lines:?}");
    rig.ok(&["rename", "alice/dev", "other"]);
    until_line(&seen, "berth.renamed");
    rig.ok(&["release", "alice/other"]);
    until_line(&seen, "berth.released");
    assert!(child.wait().unwrap().success(), "it ends with the berth");
    assert!(seen.recv_timeout(Duration::from_secs(1)).is_err(), "and nothing comes after that");
    // What has ended has its log, and nothing to wait for.
    rig.ok(&["logs", "alice/other", "--follow"]);
}

#[test]
fn who_hangs_up_is_read_for_no_more() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--cards", "1"]);
    // A user has eight such answers: more would be refused, if one of these were still open.
    for round in 0..12 {
        let mut command = std::process::Command::new("setpriv");
        let id = ALICE.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", crate::rig::BERTH, "--config"]);
        command.arg(rig.path("berth.toml")).args(["logs", "dev", "--follow", "--last", "1"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("berth.live"), "{round}: {line}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = rig.refused_as(BOB, 3, &["logs", "alice/dev", "--follow"]);
    assert!(said.contains("alice's berths are not yours"), "{said}");
}
