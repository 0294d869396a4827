//! Who gets in: keys, names, the host key.

use crate::rig::{Server, keygen, wait_until};
use crate::server::start;
use std::fs;
use std::process::Command;

#[test]
fn only_authorized_keys_open_and_removed_ones_close_at_once() {
    let server = start();
    let other = server.dir.path().join("other");
    keygen("ed25519", &other);
    let with_other = || {
        let options = ["-i", other.to_str().unwrap()];
        server.client(&options, &["true"]).output().unwrap().status.success()
    };
    assert!(!with_other());
    wait_until("the refusal is logged", || server.log().contains("is not authorized"));
    let mine = fs::read_to_string(server.dir.path().join("key.pub")).unwrap();
    let others = fs::read_to_string(server.dir.path().join("other.pub")).unwrap();
    server.replace_keys(&format!("# both\n{mine}{others}"));
    assert!(with_other() && server.run("true").status.success());
    server.replace_keys(&mine);
    assert!(!with_other() && server.run("true").status.success());
    fs::remove_file(server.etc().join("authorized_keys")).unwrap();
    assert!(!server.run("true").status.success());
}

#[test]
fn only_the_session_users_name_is_let_in() {
    let mut server = start();
    server.user = "anna".into();
    assert_eq!(server.run("true").status.code(), Some(255));
    wait_until("the reason is logged", || server.log().contains("sessions of this berth run as root"));
}

#[test]
fn rsa_and_ecdsa_keys_work_but_not_with_sha1() {
    let server = start();
    for kind in ["rsa", "ecdsa"] {
        let key = server.dir.path().join(kind);
        keygen(kind, &key);
        server.replace_keys(&fs::read_to_string(key.with_extension("pub")).unwrap());
        let options = ["-i", key.to_str().unwrap()];
        let output = server.client(&options, &["echo in"]).output().unwrap();
        assert_eq!(output.stdout, b"in\n", "{kind}: {output:?}");
    }
    let key = server.dir.path().join("rsa");
    server.replace_keys(&fs::read_to_string(key.with_extension("pub")).unwrap());
    let old = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa", "-i", key.to_str().unwrap()];
    assert!(!server.client(&old, &["true"]).output().unwrap().status.success());
}

#[test]
fn the_host_key_stays_over_a_restart() {
    let mut server = start();
    let key = |server: &Server| {
        let scan = Command::new("ssh-keyscan").args(["-p", &server.port.to_string(), "127.0.0.1"]).output();
        let text = String::from_utf8(scan.unwrap().stdout).unwrap();
        text.split_whitespace().last().unwrap().to_owned()
    };
    let before = key(&server);
    server.restart();
    assert_eq!(key(&server), before);
}
