//! What the server inside a berth tells reaches the ledger, once, and root in a berth cannot fill the ledger with it.

use crate::machine::until;
use crate::rig::Rig;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

fn told(rig: &Rig, kind: &str) -> Vec<Value> {
    rig.events().into_iter().filter(|event| event["kind"] == kind).collect()
}

fn until_told(rig: &Rig, kind: &str, count: usize) -> Vec<Value> {
    until(kind, PATIENCE, || Some(told(rig, kind)).filter(|events| events.len() >= count))
}

/// Without the command line, which would read the broken config.
fn events_text(rig: &Rig) -> String {
    crate::machine::run(
        "curl",
        &["-sS", "--unix-socket", &rig.text("run/berth.sock"), "http://berth/v1/events"],
    )
}

#[test]
fn logins_and_refusals_are_events_also_over_a_restart_of_the_agent() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "watched"]);
    rig.ssh_ok(&berth, "true");
    let login = &until_told(&rig, "ssh.login", 1)[0];
    let text = login["text"].as_str().unwrap();
    let key = rig.key("alice");
    let shown = crate::machine::run("ssh-keygen", &["-lf", &format!("{key}.pub")]);
    let fingerprint = shown.split_whitespace().nth(1).unwrap();
    let user = berth["ssh_user"].as_str().unwrap();
    let owner = login["owner"].as_str().unwrap();
    assert!(text.starts_with(&format!("{owner}/watched: login {user} {fingerprint} from ")), "{login}");
    assert_eq!(login["actor"], "berth:watched");
    until_told(&rig, "ssh.end", 1);

    let stranger = rig.key("stranger");
    assert!(!rig.ssh_with(&berth, &stranger, "true").status.success());
    let refused = &until_told(&rig, "ssh.refused", 1)[0];
    assert!(refused["text"].as_str().unwrap().contains("is not authorized"), "{refused}");

    // What happens while the agent is away is told later, and nothing twice.
    rig.kill_agent();
    rig.ssh_ok(&berth, "true");
    // The newest event is of a clock that went a year ahead: order is not by clock.
    let ahead = "INSERT INTO events (at, kind, actor, owner, berth, text) SELECT '2099-01-01T00:00:00Z', 'ssh.more', actor, \
                 owner, berth, 'ahead' FROM events WHERE kind = 'ssh.refused'";
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    crate::machine::run("python3", &["-c", script, &rig.text("state/ledger.db"), ahead]);
    rig.start_agent();
    until_told(&rig, "ssh.end", 2);
    // Told to look at its config again, it goes on, whatever is in the file.
    let config = std::fs::read_to_string(rig.path("berth.toml")).unwrap();
    for (text, kind) in
        [("nonsense = 1\n".to_owned() + &config, "config.refused"), (config.clone(), "config.read")]
    {
        std::fs::write(rig.path("berth.toml"), text).unwrap();
        crate::machine::run("kill", &["-HUP", &rig.agent.as_ref().unwrap().id().to_string()]);
        until(kind, PATIENCE, || events_text(&rig).contains(kind).then_some(()));
    }
    let kinds: Vec<String> = rig
        .events()
        .iter()
        .filter_map(|event| event["kind"].as_str().filter(|kind| kind.starts_with("ssh.")).map(str::to_owned))
        .collect();
    assert_eq!(kinds, ["ssh.login", "ssh.end", "ssh.refused", "ssh.more", "ssh.login", "ssh.end"]);
}

#[test]
fn root_in_a_berth_can_write_events_but_not_many_and_not_of_others() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "liar"]);
    let lie = r#"{\"berth-event\":1,\"at\":\"2000-01-01T00:00:00Z\",\"user\":\"x\\u001b[2Jy\",\"kind\":\"login\",\"owner\":\"bob\"}"#;
    let long = "x".repeat(100_000);
    // The server is the child of the container's init.
    let script = format!(
        "out=/proc/1/fd/1; echo '{long}' >$out; i=0; while [ $i -lt 5000 ]; do echo \"{lie}\"; i=$((i+1)); done >$out"
    );
    rig.exec(&berth, &script);
    let more = &until_told(&rig, "ssh.more", 1)[0];
    let lies = told(&rig, "ssh.login");
    assert!((60..80).contains(&lies.len()), "{}", lies.len());
    assert!(more["text"].as_str().unwrap().contains("more events"), "{more}");
    for event in &lies {
        let text = event["text"].as_str().unwrap();
        assert_eq!(event["actor"], "berth:liar");
        assert!(text.contains("/liar: login x\u{fffd}[2Jy"), "{event}");
        // The engine's time.
        assert!(!event["at"].as_str().unwrap().starts_with("2000"), "{event}");
    }
}
