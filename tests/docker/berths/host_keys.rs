//! Host keys: one for all berths of a user and for nobody else, root's alone on the node, and nothing that the agent
//! or Docker says has a piece of the private half.

use crate::machine::both;
use crate::rig::{ALICE, Rig};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// As a person types it: the client asks about a key that it does not know, and refuses one that has changed.
fn ssh_line(rig: &Rig, berth: &Value) -> String {
    let known = format!("UserKnownHostsFile={}", rig.text("known_hosts"));
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        &known,
    ]);
    ssh.args(["-o", "IdentitiesOnly=yes", "-i", &rig.key(berth["owner"].as_str().unwrap())]);
    ssh.args(["-p", &berth["port"].to_string(), "ma-user@127.0.0.1", "echo $BERTH_NAME"]);
    both(&crate::machine::try_run(ssh.stdin(Stdio::null())))
}

#[test]
fn the_ssh_line_of_the_second_berth_works_and_no_other_user_has_the_key() {
    let Some(rig) = Rig::start() else { return };
    let first = rig.request(&["--cards", "1", "--name", "train"]);
    let said = ssh_line(&rig, &first);
    assert!(said.starts_with("train\n"), "{said}");
    rig.ok(&["release", "alice/train"]);
    // Somebody else's berth is not where alice's client knows hers.
    let other = rig.json(&["request", "--user", "bob", "--cards", "1", "--name", "train"]);
    assert_ne!((&other["port"], &other["host_key"]), (&first["port"], &first["host_key"]));
    assert_ne!(other["port"], first["port"]);
    let new = rig.request(&["--cards", "1", "--name", "new"]);
    assert_eq!((&new["port"], &new["host_key"]), (&first["port"], &first["host_key"]));
    let said = ssh_line(&rig, &new);
    assert!(said.starts_with("new\n"), "{said}");
    let second = rig.request(&["--cards", "1", "--name", "second"]);
    assert_eq!(second["host_key"], first["host_key"]);
    rig.ok(&["release", "alice/new"]);
    rig.ok(&["release", "alice/second"]);
    // The name has its port again, although a lower one is free.
    let again = rig.request(&["--cards", "1", "--name", "second"]);
    assert_eq!((&again["port"], &again["host_key"]), (&second["port"], &first["host_key"]));
    rig.ok(&["release", "alice/second"]);

    // Whoever gets the name later is somebody else.
    rig.ok(&["user", "remove", "alice"]);
    let owners = || std::fs::read_dir(rig.path("state/owners")).unwrap().count();
    assert_eq!(owners(), 1, "bob's alone");
    rig.ok(&["user", "add", "alice", "--key", &format!("{}.pub", rig.key("alice")), "--no-login"]);
    let stranger = rig.request(&["--cards", "1", "--name", "train"]);
    assert_ne!(stranger["host_key"], first["host_key"]);
    assert!(stranger["port"] != first["port"] && stranger["port"] != second["port"], "{stranger}");
    assert_eq!(owners(), 2);
}

#[test]
fn an_administrator_gives_a_user_another_host_key() {
    let Some(rig) = Rig::start() else { return };
    let before = rig.request(&["--cards", "1", "--name", "train"]);
    let said = ssh_line(&rig, &before);
    assert!(said.starts_with("train\n"), "{said}");
    let refused = rig.refused_as(ALICE, 3, &["user", "rotate-host-key", "alice"]);
    assert!(refused.contains("is for administrators"), "{refused}");
    rig.refused(2, &["user", "rotate-host-key", "nobody"]);

    let ran = rig.berth(&["user", "rotate-host-key", "alice"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let after = rig.json(&["show", "train"]);
    assert_ne!(after["host_key"], before["host_key"]);
    assert_eq!(after["container_id"], before["container_id"], "it goes on");
    // The server has it at once, and a client that knows the old one refuses.
    let said = ssh_line(&rig, &after);
    assert!(said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{said}");
    // What was printed mends that.
    let place = format!("[127.0.0.1]:{}", before["port"]);
    assert!(ran.out.starts_with(&format!("ssh-keygen -R '{place}'\n")), "{ran:?}");
    crate::machine::run("ssh-keygen", &["-q", "-f", &rig.text("known_hosts"), "-R", &place]);
    let lines: Vec<&str> = ran.out.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(lines.len(), 2, "a key of each type: {ran:?}");
    let known = std::fs::read_to_string(rig.path("known_hosts")).unwrap();
    std::fs::write(rig.path("known_hosts"), format!("{known}{}\n", lines.join("\n"))).unwrap();
    let said = ssh_line(&rig, &after);
    assert!(said.starts_with("train\n"), "{said}");
    // Those that come later have it too, and the user's events say so.
    let next = rig.request(&["--cards", "1", "--name", "next"]);
    assert_eq!(next["host_key"], after["host_key"]);
    let events = rig.berth_as(ALICE, &["events"]).out;
    assert!(events.contains("the host key of alice's berths is new: SHA256:"), "{events}");
}

#[test]
fn a_private_host_key_stays_where_it_was_made() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "keyed"]);
    rig.ssh_ok(&berth, "true");
    let etc = rig.path(&format!("state/berths/{}/etc", berth["id"]));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&etc), 0o700);
    let owners = rig.path("state/owners");
    assert_eq!(mode(&owners), 0o700);
    let owner = std::fs::read_dir(&owners).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&owner), 0o700);
    for entry in [&etc, &owner].iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()) {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let private = std::fs::read_to_string(etc.join("host_key")).unwrap();
    let secrets: Vec<&str> = private.lines().filter(|line| !line.starts_with("-----")).collect();
    // The first lines hold the public half too; each line is long enough to be nothing else.
    assert!(secrets.len() > 3 && secrets[..3].iter().all(|line| line.len() > 40), "{}", secrets.len());

    let container = berth["container_id"].as_str().unwrap();
    let ledger = std::fs::read(rig.path("state/ledger.db")).unwrap();
    let journal = std::fs::read(rig.path("state/ledger.db-wal")).unwrap_or_default();
    let said = [
        rig.log(),
        crate::machine::both(&rig.try_docker(&["logs", container])),
        rig.docker(&["inspect", container]),
        rig.docker(&["top", container, "-o", "pid,args"]),
        rig.ok(&["show", "keyed", "--json"]),
        rig.ok(&["ssh-config", "keyed"]),
        rig.ok(&["events", "--last", "1000", "--json"]),
        String::from_utf8_lossy(&ledger).into_owned(),
        String::from_utf8_lossy(&journal).into_owned(),
    ]
    .concat();
    assert!(said.contains("keyed"));
    assert!(!said.contains("PRIVATE KEY"));
    assert!(!secrets.iter().any(|line| line.len() > 20 && said.contains(line)));
}
