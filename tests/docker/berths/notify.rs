//! People are told: in open terminals, in the berth's own file, and by the administrator's program.

use crate::machine::{docker, until};
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_mins(1);

fn quick(grace: &str, config: Vec<(&'static str, String)>) -> Setup {
    let rules = format!(
        "[lease]\ngrace = \"{grace}\"\nprotected = \"0s\"\nfirst-warning = \"2h\"\nstop-time = \"5s\"\n\n[berth]"
    );
    Setup { profile: vec![("[berth]", rules)], config, ..Setup::default() }
}

/// A berth of alice's whose lease is over, with all cards of the node.
fn overdue(rig: &Rig) -> Value {
    let berth = rig.request(&["--cards", "8", "--name", "long", "--lease", "1s"]);
    until("the end of the lease", SOON, || rig.ok(&["list"]).contains("over, ").then_some(()));
    berth
}

/// Bob begins to wait for two cards.
fn bob_waits(rig: &Rig) -> Child {
    let args = ["request", "--user", "bob", "--name", "next", "--cards", "2", "--wait", "90s"];
    rig.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn told(rig: &Rig, kind: &str) -> Vec<String> {
    let of_kind = rig.events().into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

fn until_told(rig: &Rig, kind: &str, count: usize) {
    until(&format!("{count} of {kind}"), SOON, || (told(rig, kind).len() == count).then_some(()));
}

/// A session that is open, and what it has shown so far.
struct Open {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Open {
    fn start(rig: &Rig, berth: &Value, options: &[&str], command: &[&str]) -> Self {
        rig.ssh_ok(berth, "true");
        let known = rig.text(&format!("known-{}", berth["id"]));
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", &format!("UserKnownHostsFile={known}")]);
        ssh.args(["-i", &rig.key("alice"), "-p", &berth["port"].to_string()]).args(options);
        ssh.arg(format!("{}@127.0.0.1", berth["ssh_user"].as_str().unwrap())).args(command);
        let mut child =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (kept, mut output) = (Arc::clone(&shown), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn shows(&self, text: &str) {
        until(&format!("{text:?} in the terminal"), SOON, || self.shown().contains(text).then_some(()));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_sits_in_a_berth_that_is_asked_back_reads_it_there() {
    let Some(rig) = Rig::with(quick("20s", vec![])) else { return };
    let berth = overdue(&rig);
    let terminal = Open::start(&rig, &berth, &["-tt"], &["echo ready; cat"]);
    let plain = Open::start(&rig, &berth, &[], &["echo ready; cat"]);
    for open in [&terminal, &plain] {
        open.shows("ready");
    }
    let mut bob = bob_waits(&rig);
    terminal.shows("[berth] alice/long stops at ");
    terminal.shows("its lease is over, and bob waits for 2 cards. Keep it: berth renew long\r\n");
    let file: Value = serde_json::from_str(&rig.ssh_ok(&berth, "cat /opt/berth/info/lease.json")).unwrap();
    assert_eq!(
        (&file["schema"], &file["berth"], &file["reason"], &file["waiting"], &file["cards"]),
        (&json!(1), &json!("alice/long"), &json!("lease"), &json!(1), &berth["cards"])
    );
    let shown = rig.json(&["show", "alice/long"]);
    assert_eq!((&file["stops_at"], &file["until"]), (&shown["stops_at"], &shown["until"]));
    let text = file["message"]["text"].as_str().unwrap();
    assert!(terminal.shown().contains(&format!("\r\n[berth] {text}\r\n")), "{text}");
    // Who logs in now reads when it stops.
    let mut shell = Open::start(&rig, &berth, &["-tt"], &[]);
    shell.shows("berth alice/long: cards 0,1,2,3,4,5,6,7 of this node. Its lease was over at ");
    shell.shows("It stops at ");
    shell.child.stdin.as_mut().unwrap().write_all(b"exit\n").unwrap();
    assert!(!shell.shown().contains("[berth]"), "{}", shell.shown());
    // It is renewed: whoever read of its end reads that too, in the terminal and nowhere else.
    rig.ok(&["renew", "alice/long"]);
    terminal.shows("[berth] alice/long is not stopped: its lease was renewed");
    assert_eq!(plain.shown(), "ready\n");
    assert_eq!(terminal.shown().matches("[berth]").count(), 2, "{}", terminal.shown());
    bob.kill().unwrap();
    bob.wait().unwrap();
}

/// A directory that root alone can change, for an administrator's program, and what that wrote.
struct Admin(PathBuf);

impl Admin {
    fn new(name: &str) -> Self {
        let dir = Path::new("/usr/local/lib").join(format!("berth-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["got", "as"] {
            std::fs::write(dir.join(file), "").unwrap();
            std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(0o666)).unwrap();
        }
        Self(dir)
    }

    fn program(&self) -> PathBuf {
        self.0.join("told")
    }

    /// Another program in its place.
    fn put(&self, script: &str) {
        let new = self.0.join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, self.program()).unwrap();
    }

    /// A program that writes down what it reads, and who it is.
    fn records(&self) {
        let dir = self.0.display();
        self.put(&format!(
            "text=$(cat); echo \"$text\" >> {dir}/got; echo \"$(id -u):$(id -G) $#\" >> {dir}/as"
        ));
    }

    fn got(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.join("got")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.got().iter().map(|told| told["kind"].as_str().unwrap().to_owned()).collect()
    }

    fn config(&self) -> Vec<(&'static str, String)> {
        vec![("[ssh]", format!("[notify]\ncommand = \"{}\"", self.program().display()))]
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_program_of_the_administrator_is_told_what_owners_should_know() {
    let admin = Admin::new("told");
    admin.records();
    let Some(mut rig) = Rig::with(quick("2s", admin.config())) else { return };
    let berth = overdue(&rig);
    let mut bob = bob_waits(&rig);
    until_told(&rig, "berth.stopped", 1);
    assert!(bob.wait().unwrap().success(), "{}", rig.log());
    until("a stop that was told", SOON, || admin.kinds().contains(&"berth.stopped".into()).then_some(()));
    let of_long: Vec<Value> = admin.got().into_iter().filter(|told| told["berth"] == "long").collect();
    let asked = of_long.iter().find(|told| told["kind"] == "berth.asked-back").unwrap();
    assert_eq!((&asked["schema"], &asked["owner"]), (&json!(1), &json!("alice")));
    assert_eq!(asked["node"], "127.0.0.1");
    assert!(asked["text"].as_str().unwrap().starts_with("alice/long is stopped in "), "{asked}");
    // What its owner does is no news to them, and the next agent repeats nothing.
    rig.ok(&["release", "alice/long"]);
    let before = admin.kinds();
    rig.stop_agent();
    rig.start_agent();
    let again = rig.request(&["--cards", "1", "--name", "other"]);
    docker(&rig.engine, &rig.path("docker-config"), &["kill", again["container_id"].as_str().unwrap()]);
    until("a dead berth that was told", SOON, || admin.kinds().contains(&"berth.dead".into()).then_some(()));
    let (old, new) = (before.len(), admin.kinds());
    assert_eq!(new[..old], before, "nothing was told twice");
    assert_eq!(new[old..], ["berth.dead"]);
    let who = until("who it was", SOON, || {
        let who = std::fs::read_to_string(admin.0.join("as")).unwrap();
        (who.lines().count() == new.len()).then_some(who)
    });
    assert!(who.lines().all(|line| line == "65534:65534 0"), "{who}");
    assert_eq!(told(&rig, "agent.notify-failed"), Vec::<String>::new());
    assert_eq!(berth["owner"], "alice");
}

#[test]
fn a_program_that_fails_or_hangs_is_an_event_and_delays_nothing() {
    let admin = Admin::new("fails");
    admin.put("echo broken >&2; exit 3");
    let Some(mut rig) = Rig::with(quick("10m", admin.config())) else { return };
    overdue(&rig);
    let mut bob = bob_waits(&rig);
    until_told(&rig, "agent.notify-failed", 1);
    let failed = told(&rig, "agent.notify-failed").remove(0);
    assert!(failed.contains("failed: it ended with exit status: 3: broken"), "{failed}");
    let end = |bob: &mut Child, count| {
        bob.kill().unwrap();
        bob.wait().unwrap();
        until_told(&rig, "berth.not-asked-back", count);
    };
    end(&mut bob, 1);

    // One that hangs holds nobody up: the agent decides and answers meanwhile.
    let dir = admin.0.display().to_string();
    admin.put(&format!("echo begun >> {dir}/as; exec sleep 60"));
    bob = bob_waits(&rig);
    until_told(&rig, "berth.asked-back", 2);
    until("a program that runs", SOON, || {
        std::fs::read_to_string(admin.0.join("as")).unwrap().contains("begun").then_some(())
    });
    assert!(rig.ok(&["list"]).contains("alice/long"));
    end(&mut bob, 2);
    assert_eq!(told(&rig, "agent.notify-failed").len(), 1, "at most one an hour");

    // An agent that is killed before it could tell loses nothing.
    rig.kill_agent();
    std::fs::write(admin.0.join("as"), "").unwrap();
    admin.records();
    rig.start_agent();
    until("what could not be told", SOON, || {
        // They run at the same time, so either may be first.
        let mut last: Vec<String> = admin.kinds().into_iter().rev().take(2).collect();
        last.sort();
        (last == ["berth.asked-back", "berth.not-asked-back"]).then_some(())
    });

    // A program that others could have written is not run.
    std::fs::set_permissions(admin.program(), std::fs::Permissions::from_mode(0o757)).unwrap();
    let before = admin.kinds().len();
    let mut bob = bob_waits(&rig);
    until("an event of it", SOON, || {
        let all = told(&rig, "agent.notify-failed");
        all.last().is_some_and(|text| text.contains("can be written by others than root")).then_some(())
    });
    assert_eq!(admin.kinds().len(), before);
    bob.kill().unwrap();
    bob.wait().unwrap();
}
