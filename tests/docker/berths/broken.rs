//! What the agent stands on is broken: no agent, no Docker, a Docker that dies, a ledger that cannot be read.

use super::proxy::{Dies, Proxy};
use crate::machine::{both, try_run, until, variable};
use crate::rig::{ALICE, BERTH, Ran, Rig, Setup};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn without_an_agent_every_call_says_so() {
    let Some(mut rig) = Rig::start() else { return };
    rig.kill_agent();
    for args in [
        &["request", "--cards", "1"][..],
        &["list"],
        &["cards"],
        &["show", "x"],
        &["events"],
        &["user", "list"],
        &["image", "list"],
        &["release", "x"],
        &["ssh-config"],
        &["ssh", "x"],
    ] {
        for ran in [rig.berth(args), rig.berth_as(ALICE, args)] {
            assert_eq!(ran.code, 5, "{args:?}: {ran:?}");
            ran.assert_one_sentence();
            assert!(ran.err.contains("no agent answers at") && ran.err.contains("help: start it"), "{ran:?}");
        }
    }
    // The socket that a killed agent left is no obstacle to the next one.
    assert!(rig.path("run/berth.sock").exists());
    rig.start_agent();
    rig.ok(&["list"]);
}

#[test]
fn without_docker_the_agent_answers_what_it_can() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("docker.sock");
    let Some(mut rig) = Rig::with(Setup { proxy: Some(socket.clone()), image: "", ..Setup::default() })
    else {
        return;
    };
    for args in [&["list"][..], &["user", "list"], &["events"]] {
        rig.ok(args);
    }
    rig.ok(&["user", "key", "add", "alice", &format!("{}.pub", rig.key("more"))]);
    for args in [&["request", "--user", "alice", "--cards", "1"][..], &["cards"], &["image", "list"]] {
        let ran = rig.berth(args);
        assert!(ran.code == 6 || ran.code == 2, "{args:?}: {ran:?}");
        ran.assert_one_sentence();
    }
    let ran = rig.berth(&["cards"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("docker.sock") && ran.err.contains("help: "), "{ran:?}");
    // Docker comes: no restart of the agent is needed.
    let proxy = Proxy::start(&socket, &rig.engine, Dies::Never);
    rig.import("base", "workspace");
    assert_eq!(rig.request(&["--cards", "1"])["state"], "live");
    // And goes again.
    proxy.stop();
    let ran = rig.berth(&["request", "--user", "bob", "--cards", "1"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.assert_one_sentence();
    let ran = rig.berth(&["release", "alice/dev"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.assert_one_sentence();
    assert!(
        ran.err.contains("berth: the release of alice/dev is written down, but not done yet: "),
        "{ran:?}"
    );
    assert_eq!(rig.berths().len(), 1, "its container may still have its card");
    std::fs::remove_file(&socket).unwrap();
    let _proxy = Proxy::start(&socket, &rig.engine, Dies::Never);
    until("the release that was begun to be finished", PATIENCE, || rig.berths().is_empty().then_some(()));
    rig.assert_nothing_left();
}

/// Docker dies at one call of a request. Once it is back, nothing is left, and the cards are free.
fn dies_while_a_berth_is_made(dies: Dies) {
    let Some(engine) = variable("BERTH_TEST_DOCKER") else { return };
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("docker.sock");
    let proxy = Proxy::start(&socket, &engine, Dies::Never);
    let Some(mut rig) = Rig::with(Setup { proxy: Some(socket.clone()), ..Setup::default() }) else { return };
    // The look into the image is done before, and the engine's version is known.
    rig.ok(&["image", "check", "base"]);
    rig.ok(&["release", rig.request(&["--cards", "1"])["name"].as_str().unwrap()]);
    proxy.stop();
    std::fs::remove_file(&socket).unwrap();
    let proxy = Proxy::start(&socket, &rig.engine, dies);
    until("the agent to see the engine again", PATIENCE, || (rig.berth(&["cards"]).code == 0).then_some(()));
    assert!(!proxy.is_dead());

    let ran = rig.berth(&["request", "--user", "alice", "--cards", "2", "--name", "doomed"]);
    assert!(proxy.is_dead(), "{dies:?} was not reached: {ran:?}");
    assert_eq!(ran.code, 6, "{dies:?}: {ran:?}\n{}", rig.log());
    ran.assert_one_sentence();
    // While it is away, a container may have the cards: they stay reserved.
    let held = rig.berths();
    assert_eq!((held.len(), &held[0]["state"]), (1, &json!("creating")), "{held:?}");

    std::fs::remove_file(&socket).unwrap();
    let _proxy = Proxy::start(&socket, &rig.engine, Dies::Never);
    until("everything to be undone", PATIENCE, || {
        (rig.berths().is_empty() && rig.containers().is_empty()).then_some(())
    });
    rig.assert_nothing_left();
    assert_eq!(rig.json(&["list", "--all"])["berths"][0]["state"], "undone");
    assert_eq!(rig.request(&["--cards", "8"])["state"], "live", "all cards are there");
    rig.kill_agent();
}

#[test]
fn docker_dies_before_a_container_is_made() {
    dies_while_a_berth_is_made(Dies::Before("/containers/create"));
}

#[test]
fn docker_dies_when_a_container_was_made() {
    dies_while_a_berth_is_made(Dies::After("/containers/create"));
}

#[test]
fn docker_dies_between_create_and_start() {
    dies_while_a_berth_is_made(Dies::Before("/start"));
}

#[test]
fn docker_dies_when_a_container_was_started() {
    dies_while_a_berth_is_made(Dies::After("/start"));
}

/// The program that serves SSH ends at once, as a broken image makes it do.
#[test]
fn a_container_that_ends_at_once_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = home.path().join("server");
    std::fs::copy(BERTH, &server).unwrap();
    let config = vec![("[ssh]", format!("server = \"{}\"", server.display()))];
    let Some(rig) = Rig::with(Setup { config, ..Setup::default() }) else { return };
    rig.ok(&["image", "check", "base"]);
    // A static program that knows no `inside`.
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| std::path::Path::new(path).exists());
    std::fs::remove_file(&server).unwrap();
    std::fs::copy(busybox.expect("busybox-static is installed"), &server).unwrap();
    let ran = rig.berth(&["request", "--user", "alice", "--cards", "2"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.assert_one_sentence();
    assert!(
        ran.err.contains("making berth alice/dev: its container ended at once with status 127"),
        "{ran:?}"
    );
    assert!(ran.err.contains("applet not found"), "with its last words: {ran:?}");
    rig.assert_nothing_left();
    let event = rig.events().pop().unwrap();
    assert_eq!((&event["kind"], &event["berth"]), (&json!("berth.undone"), &json!("dev")), "{event}");
}

/// How `berth agent` ends when it cannot start.
fn fails_to_start(rig: &Rig) -> Ran {
    let mut agent = rig.agent_command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("the end of an agent that cannot start", PATIENCE, || agent.try_wait().unwrap());
    }));
    if ended.is_err() {
        agent.kill().unwrap();
        panic!("the agent runs: {}", both(&agent.wait_with_output().unwrap()));
    }
    Ran::of(&agent.wait_with_output().unwrap())
}

#[test]
fn a_second_agent_on_one_directory_is_refused() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--cards", "1"]);
    let ran = fails_to_start(&rig);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("another agent uses the state directory"), "{ran:?}");
    // Also with a socket elsewhere: the state is what counts.
    let config = std::fs::read_to_string(rig.path("berth.toml")).unwrap();
    std::fs::write(rig.path("berth.toml"), config.replace("run = \"run\"", "run = \"run2\"")).unwrap();
    let ran = fails_to_start(&rig);
    assert!(ran.code == 5 && ran.err.contains("another agent uses the state directory"), "{ran:?}");
    std::fs::write(rig.path("berth.toml"), config).unwrap();
    assert_eq!(rig.berths().len(), 1, "the first one goes on");
}

#[test]
fn a_ledger_that_cannot_be_trusted_stops_the_agent() {
    let Some(mut rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "2"]);
    rig.kill_agent();
    let ledger = rig.path("state/ledger.db");
    // Whole, without its journal beside it.
    let dump = crate::machine::run("python3", &["-c", CHECKPOINT, ledger.to_str().unwrap()]);
    assert_eq!(dump, "7");
    let good = std::fs::read(&ledger).unwrap();
    let mut newer = good.clone();
    // Where SQLite keeps user_version and application_id.
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    let mut other = good.clone();
    other[68..72].copy_from_slice(&7u32.to_be_bytes());
    let mut corrupt = good.clone();
    for byte in corrupt.iter_mut().skip(100).step_by(7) {
        *byte ^= 0x5a;
    }
    for (content, text) in [
        (newer, "the ledger has schema 99, this berth knows 7"),
        (other, "not a ledger of berth"),
        (corrupt, "the ledger is corrupt"),
        (b"not a database at all, but long enough to be looked at".repeat(20), "the ledger is corrupt"),
        (good[..good.len() / 2].to_vec(), "the ledger is corrupt"),
        (Vec::new(), "the file is empty"),
    ] {
        std::fs::write(&ledger, &content).unwrap();
        let ran = fails_to_start(&rig);
        assert_eq!(ran.code, 5, "{text}: {ran:?}");
        assert!(ran.err.contains(text) && ran.err.contains("help: "), "{text}: {ran:?}");
        assert!(ran.err.contains("nothing was changed") || ran.err.contains("restore"), "{ran:?}");
        assert!(std::fs::read(&ledger).unwrap() == content, "{text}: it is not left as it was");
        for beside in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = std::fs::remove_file(rig.path("state").join(beside));
        }
    }
    std::fs::write(&ledger, good).unwrap();
    rig.start_agent();
    assert_eq!(rig.berths(), [berth_without_host(berth)]);
}

const CHECKPOINT: &str = "import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute('pragma wal_checkpoint(truncate)')
c.execute('pragma journal_mode=delete')
print(c.execute('pragma user_version').fetchone()[0])";

fn berth_without_host(mut berth: serde_json::Value) -> serde_json::Value {
    for key in ["ssh_host", "ssh_jump"] {
        berth.as_object_mut().unwrap().remove(key);
    }
    berth
}

#[test]
fn a_config_with_a_typing_error_stops_the_agent() {
    let Some(rig) = Rig::prepare(&Setup::default()) else { return };
    let path = rig.path("berth.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (old, new, text, help) in [
        ("ports = ", "prots = ", "berth.toml:15:1: unknown field `prots`", "help: did you mean `ports`?"),
        ("[docker]", "[dokcer]", "berth.toml:10:2: unknown field `dokcer`", "help: did you mean `docker`?"),
        ("address = \"127.0.0.1\"", "address = \"localhost\"", "berth.toml:16:11: ", ""),
        ("[docker]", "[docker", "berth.toml:10:", ""),
        ("node.toml", "none.toml", "none.toml cannot be read", "help: set `profile` in the config"),
    ] {
        assert!(good.contains(old), "{old}");
        std::fs::write(&path, good.replace(old, new)).unwrap();
        let ran = fails_to_start(&rig);
        assert!(ran.code == 2 || ran.code == 5, "{ran:?}");
        assert!(ran.err.contains(text) && ran.err.contains(help), "{new}: {ran:?}");
        assert!(!rig.path("state").exists(), "{new}: nothing was made");
    }
}

#[test]
fn an_agent_without_root_is_refused() {
    let Some(rig) = Rig::prepare(&Setup::default()) else { return };
    let ran = rig.berth_as(ALICE, &["agent"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("the agent must run as root"), "{ran:?}");
    assert!(try_run(&mut rig.command(&["list"])).status.code() == Some(5));
}
