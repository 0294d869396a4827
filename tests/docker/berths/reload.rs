//! A config that changes under a running agent: SIGHUP makes what can change count, names what cannot, and refuses a wrong
//! one as a whole. The agent's loops go on.

use crate::machine::{run, until};
use crate::rig::{ALICE, Rig};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Replaces text in a file of the rig.
pub(super) fn edit(rig: &Rig, file: &str, old: &str, new: &str) {
    let text = std::fs::read_to_string(rig.path(file)).unwrap();
    assert!(text.contains(old), "{file} has no {old:?}");
    std::fs::write(rig.path(file), text.replacen(old, new, 1)).unwrap();
}

/// Events about the config, as the agent tells them: the command line could not read a config with a mistake.
fn told(rig: &Rig) -> Vec<Value> {
    let socket = rig.text("run/berth.sock");
    let url = "http://berth/v1/events?last=1000";
    let lines = run("curl", &["-sS", "--max-time", "60", "--unix-socket", &socket, url]);
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"].as_str().unwrap().starts_with("config.")).collect()
}

/// Tells the agent to read its config again; the event that says what came of it.
pub(super) fn hang_up(rig: &Rig) -> Value {
    let before = told(rig).len();
    run("kill", &["-HUP", &rig.agent.as_ref().unwrap().id().to_string()]);
    until("an event about the config", PATIENCE, || told(rig).get(before).cloned())
}

fn open_files(rig: &Rig, berth: &Value) -> Value {
    rig.inspect(berth["container_id"].as_str().unwrap())["HostConfig"]["Ulimits"][0]["Hard"].clone()
}

fn holders(rig: &Rig, card: usize) -> Value {
    rig.cards()[card]["holders"].clone()
}

#[test]
fn a_change_counts_and_what_has_to_wait_is_named() {
    let Some(mut rig) = Rig::start() else { return };
    let monitor =
        rig.foreign("monitor", &["--device", &rig.path("state/sim/dev/davinci6").display().to_string()]);
    let first = rig.request(&["--cards", "1", "--name", "first", "--lease", "20days"]);
    assert_eq!((open_files(&rig, &first), holders(&rig, 6) == json!([])), (json!(16_384), false));
    let asks = ["request", "--user", "alice", "--lease", "20days", "--cards", "1", "--name", "third"];

    edit(&rig, "node.toml", "nofile = 16384", "nofile = 20000");
    edit(&rig, "node.toml", "max-lease = \"30days\"", "max-lease = \"10days\"");
    edit(&rig, "berth.toml", "[docker]\n", &format!("[docker]\nexempt = [\"{monitor}\"]\n"));
    edit(&rig, "berth.toml", "storage = \"storage\"", "storage = \"elsewhere\"");
    edit(&rig, "berth.toml", "gateway = \"\"", "gateway = \"127.0.0.1:1\"\nalgorithms = \"strict\"");
    // Nothing counts before it is read.
    assert_eq!(open_files(&rig, &rig.request(&["--cards", "1", "--name", "second"])), json!(16_384));
    let event = hang_up(&rig);
    assert_eq!(event["kind"], "config.read", "{event}");
    assert_eq!(
        event["text"],
        "config and profile were read again; counts now: docker.exempt, berth.max-lease, berth.nofile; counts now for new \
         berths, and for the gateway at the next start: ssh.algorithms; changes at the next start: paths.storage, \
         ssh.gateway: systemctl restart berth (berths go on)"
    );
    assert!(rig.log().contains("changes at the next start: paths.storage, ssh.gateway"), "{}", rig.log());

    assert!(rig.refused(3, &asks).contains("the longest lease on this node is 10days"));
    assert_eq!(holders(&rig, 6), json!([]));
    assert_eq!(rig.cards()[6]["exempt"][0]["name"], json!(monitor));
    let third = rig.request(&["--card-ids", "6", "--name", "third"]);
    assert_eq!(open_files(&rig, &third), json!(20_000));
    let session =
        std::fs::read_to_string(rig.path(&format!("state/berths/{}/etc/session.json", third["id"])));
    assert!(session.unwrap().contains("\"strict\""));
    assert!(!rig.ssh_ok(&third, "pwd").is_empty());
    assert!(!rig.path("elsewhere").exists() && rig.path("storage/alice").exists());
    // Who was there is as before.
    rig.ssh_ok(&first, "true");
    assert_eq!(open_files(&rig, &first), json!(16_384));

    // The next start has all of it.
    edit(&rig, "berth.toml", "gateway = \"127.0.0.1:1\"", "gateway = \"\"");
    assert!(hang_up(&rig)["text"].as_str().unwrap().contains("changes at the next start: paths.storage: "));
    rig.kill_agent();
    rig.start_agent();
    assert!(hang_up(&rig)["text"].as_str().unwrap().ends_with("; nothing in them has changed"));
    rig.kill_agent();
}

#[test]
fn a_wrong_config_is_refused_with_its_place_and_the_agent_goes_on() {
    let Some(mut rig) = Rig::start() else { return };
    edit(&rig, "node.toml", "nofile = 16384", "nofile = 20000");
    edit(&rig, "berth.toml", "address = \"127.0.0.1\"", "adress = \"127.0.0.1\"");
    let text = std::fs::read_to_string(rig.path("berth.toml")).unwrap();
    let line = text.lines().position(|line| line.starts_with("adress")).unwrap() + 1;
    let place = format!("{}:{line}:1: unknown field `adress`", rig.text("berth.toml"));

    let event = hang_up(&rig);
    assert_eq!(event["kind"], "config.refused");
    let said = event["text"].as_str().unwrap();
    assert!(said.starts_with(&format!("the agent goes on with the config it has: {place}")), "{said}");
    assert!(said.ends_with("(did you mean `address`?)"), "{said}");
    assert!(rig.log().contains(&place), "{}", rig.log());
    // Nothing of it counts, not even the profile, in which nothing is wrong. The command line reads the same file.
    edit(&rig, "berth.toml", "adress", "address");
    let berth = rig.request(&["--cards", "1"]);
    assert_eq!(open_files(&rig, &berth), json!(16_384));

    edit(&rig, "node.toml", "nofile = 20000", "nofile = 5");
    let event = hang_up(&rig);
    assert_eq!(event["kind"], "config.refused");
    let said = event["text"].as_str().unwrap();
    assert!(said.contains(&format!("{}: berth.nofile is 5", rig.text("node.toml"))), "{said}");

    edit(&rig, "node.toml", "nofile = 5", "nofile = 20000");
    assert_eq!(hang_up(&rig)["text"], "config and profile were read again; counts now: berth.nofile");
    rig.kill_agent();
}

#[test]
fn the_agents_loops_are_counted_for_everybody_who_is_registered() {
    let Some(mut rig) = Rig::start() else { return };
    let tasks = || rig.api("/v1/health")["tasks"].as_array().unwrap().clone();
    let all = [
        "admins",
        "berths-apart",
        "berths-events",
        "cards",
        "config",
        "containers",
        "data-disk",
        "doors",
        "editors",
        "events",
        "leases",
        "metadata",
        "notify",
        "ports",
        "room",
        "samples",
        "tickets",
    ];
    let names = |tasks: &[Value]| tasks.iter().map(|task| task["name"].clone()).collect::<Vec<_>>();
    until("every loop to have looked", PATIENCE, || (names(&tasks()) == all).then_some(()));
    let count = |name: &str| {
        let tasks = tasks();
        tasks.iter().find(|task| task["name"] == name).unwrap()["turns"].as_u64().unwrap()
    };
    let before = count("containers");
    rig.request(&["--cards", "1"]);
    until("a look at the new container", PATIENCE, || (count("containers") > before).then_some(()));
    assert!(tasks().iter().all(|task| task["restarts"] == 0 && task["failing"] == false), "{:?}", tasks());
    let socket = rig.text("run/berth.sock");
    let call = ["-sS", "--max-time", "20", "--unix-socket", &socket, "http://berth/v1/health"];
    let id = ALICE.to_string();
    let as_alice = [&["--reuid", &id, "--regid", &id, "--clear-groups", "curl"][..], &call].concat();
    assert!(run("setpriv", &as_alice).contains("\"containers\""));
    rig.kill_agent();
}
