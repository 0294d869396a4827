//! What berth must not do: remove what is not its own, let in whom nobody lets in, hold on when it is to stop.

use crate::machine::{both, until};
use crate::rig::Rig;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// `docker commit` copies labels into the image: what is run from it is somebody's, not the berth.
#[test]
fn a_copy_of_a_berth_is_reported_and_never_removed() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "mine"]);
    let (copy, image) = (format!("copy-{}", rig.slot.major()), rig.reference("copy"));
    rig.docker(&["commit", berth["container_id"].as_str().unwrap(), &image]);
    let run = ["run", "-d", "--network", "none", "--entrypoint", "/bin/busybox", "--name", &copy, &image];
    rig.docker(&[&run[..], &["sleep", "600"]].concat());
    let reported = until("a report of the copy", PATIENCE, || {
        let mut events = rig.events().into_iter();
        events.find(|event| event["kind"] == json!("container.unknown"))
    });
    rig.ok(&["release", "mine"]);
    let state = rig.docker(&["inspect", "--format", "{{.State.Status}}", &copy]);
    rig.docker(&["rm", "-f", &copy]);
    rig.docker(&["rmi", "-f", &image]);
    assert_eq!(state, "running", "{reported}");
    assert!(reported["text"].as_str().unwrap().contains(&copy), "{reported}");
    rig.kill_agent();
}

#[test]
fn a_key_that_was_removed_while_its_request_waited_opens_nothing() {
    let Some(mut rig) = Rig::start() else { return };
    let (old, new) = (rig.key("old"), rig.key("new"));
    rig.ok(&[
        "user",
        "add",
        "erin",
        "--no-login",
        "--key",
        &format!("{old}.pub"),
        "--key",
        &format!("{new}.pub"),
    ]);
    rig.request(&["--card-ids", "0", "--name", "first"]);
    let wait = ["request", "--user", "erin", "--card-ids", "0", "--wait", "60s", "--json"];
    let mut waiting = rig.command(&wait).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It waits when it says so.
    let mut said = std::io::BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting for cards") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it did not wait");
    }
    let keys = rig.json(&["user", "show", "erin"])["keys"].as_array().unwrap().clone();
    let gone = keys.iter().find(|key| key["line"].as_str().unwrap().ends_with(" old")).unwrap();
    rig.ok(&["user", "key", "remove", "erin", gone["fingerprint"].as_str().unwrap()]);
    rig.ok(&["release", "alice/first"]);
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    let berth: Value = serde_json::from_slice(&waiting.wait_with_output().unwrap().stdout).unwrap();
    let refused = rig.ssh_with(&berth, &old, "true");
    assert!(both(&refused).contains("Permission denied (publickey)"), "{}", both(&refused));
    assert!(rig.ssh_with(&berth, &new, "true").status.success(), "the other key opens it");
    rig.ok(&["release", "erin/dev"]);
    rig.kill_agent();
}

#[test]
fn an_agent_that_is_told_to_stop_does_not_wait_for_those_who_listen() {
    let Some(mut rig) = Rig::start() else { return };
    let mut follower = rig.command(&["events", "--follow"]).stdout(Stdio::null()).spawn().unwrap();
    rig.request(&["--cards", "8", "--name", "all"]);
    let wait = ["request", "--user", "alice", "--cards", "1", "--wait", "30m"];
    let mut waiting = rig.command(&wait).stderr(Stdio::null()).spawn().unwrap();
    let agent = rig.agent.as_ref().unwrap().id().to_string();
    std::process::Command::new("kill").args(["-TERM", &agent]).status().unwrap();
    until("the agent's end", PATIENCE, || rig.agent.as_mut().unwrap().try_wait().unwrap());
    assert!(!waiting.wait().unwrap().success());
    let _ = follower.wait();
    rig.agent = None;
    rig.start_agent();
    rig.ok(&["release", "all"]);
    rig.kill_agent();
}
