//! Who gets in, and what strangers may cause.

use super::visitor::{event, events, fingerprint, port, ssh, ssh_with, start_with};
use crate::machine::{both, run, try_run};
use crate::rig::Setup;
use std::process::Command;

#[test]
fn only_a_user_s_own_key_opens() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let eve = rig.key("eve");
    for (user, key) in
        [("alice", &eve), ("bob", &rig.key("alice")), ("root", &rig.key("alice")), ("nobody-here", &eve)]
    {
        let output = try_run(ssh_with(&rig, user, key).arg("list"));
        assert_eq!(output.status.code(), Some(255), "{user}");
        let said = both(&output);
        assert!(said.contains("Permission denied (publickey)."), "{said}");
    }
    event(
        &rig,
        "gateway.refused",
        &["alice", &fingerprint(&rig, "eve"), "the key is not this user's", "127.0.0.1:"],
    );
    event(&rig, "gateway.refused", &["root", "there is no such user"]);
    // Without a key at all, and with passwords, which are not even asked for.
    let mut bare = Command::new("ssh");
    bare.args([
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    bare.args(["-o", "PubkeyAuthentication=no", "-p", &port(&rig).to_string(), "alice@127.0.0.1", "list"]);
    assert!(both(&try_run(&mut bare)).contains("Permission denied (publickey)."));
    event(&rig, "gateway.refused", &["alice", "no key was offered"]);
    // A refusal of hers is hers to see; one of nobody is an administrator's.
    let seen = both(&try_run(ssh(&rig, "alice").arg("events --last 1000")));
    assert!(seen.contains("the key is not this user's") && !seen.contains("no such user"), "{seen}");
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_ledger() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let script = r#"
import paramiko, socket, sys
port = int(sys.argv[1])
key = paramiko.RSAKey.generate(2048)
for _ in range(150):
    transport = paramiko.Transport(("127.0.0.1", port))
    transport.start_client(timeout=20)
    try:
        transport.auth_publickey("alice", key)
    except paramiko.AuthenticationException:
        pass
    transport.close()
"#;
    run("/usr/bin/python3", &["-c", script, &port(&rig).to_string()]);
    let refused = events(&rig, "gateway.refused").len();
    assert!((1..80).contains(&refused), "{refused} events");
    assert!(try_run(ssh(&rig, "alice").arg("list")).status.success());
}

/// A second agent on a node has another ledger, and so another gateway key.
#[test]
fn the_host_key_is_the_gateway_s_own() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let scanned = run("ssh-keyscan", &["-p", &port(&rig).to_string(), "127.0.0.1"]);
    let key = rig.api("/v1/gateway")["host_key"].as_str().unwrap().to_owned();
    assert_eq!(key.lines().count(), 2, "one of each type: {key}");
    assert!(key.lines().all(|line| scanned.contains(line)), "{scanned}");
    let private = std::fs::read_to_string(rig.path("state/gateway/host_key")).unwrap();
    assert!(private.contains("PRIVATE KEY"));
    assert!(!rig.log().contains(private.lines().nth(1).unwrap()));
}
