//! What only a container shows of sessions: its first process, and what the node shows in it.

use crate::machine::{run, until};
use crate::rig::{Rig, Setup};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn orphans_are_reaped_and_what_is_detached_stays() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    // Their parents end first; so whoever is the first process has to wait for them.
    rig.ssh_ok(
        &berth,
        "{ for n in 1 2 3 4 5 6 7 8; do sh -c 'sleep 0.2 & exec true'; done; (setsid sleep 300 &); } >/dev/null 2>&1",
    );
    let sleeping = "cat /proc/[0-9]*/stat | grep -c '(sleep) '";
    until("only the detached one is there", Duration::from_secs(20), || {
        (rig.ssh_ok(&berth, sleeping).trim() == "1").then_some(())
    });
    let zombies = rig.ssh_ok(&berth, "cat /proc/[0-9]*/stat | grep -c ') Z ' || true");
    assert_eq!(zombies.trim(), "0");
}

/// A server as an editor's makers pack it, in place a minute ago.
fn put_archive(rig: &Rig) {
    let top = rig.path("pack/vscode-server-linux");
    std::fs::create_dir_all(top.join("bin")).unwrap();
    let product = format!(
        r#"{{"commit": "{COMMIT}", "serverApplicationName": "code-server", "serverDataFolderName": ".vscode-server"}}"#
    );
    std::fs::write(top.join("product.json"), product).unwrap();
    let server = top.join("bin/code-server");
    std::fs::write(&server, "#!/bin/sh\necho served from \"$(readlink -f \"$0\")\"\n").unwrap();
    std::fs::set_permissions(&server, PermissionsExt::from_mode(0o755)).unwrap();
    let archive = rig.text("editors/vscode-server-linux.tar.gz");
    run("tar", &["-czf", &archive, "-C", &rig.text("pack"), "vscode-server-linux"]);
    run("touch", &["-d", "1 minute ago", &archive]);
}

#[test]
fn an_archive_on_the_node_is_a_server_in_every_berth() {
    let setup = Setup { config: vec![("[paths]", "editors = \"editors\"".into())], ..Setup::default() };
    let Some(mut rig) = Rig::with(setup) else { return };
    let without = rig.request(&["--cards", "1"]);
    assert!(!rig.ssh(&without, "ls /opt/berth/editors").status.success(), "no directory, no mount");
    std::fs::create_dir(rig.path("editors")).unwrap();
    put_archive(&rig);
    std::fs::write(rig.path("editors/other.tar.gz"), "no archive").unwrap();
    run("touch", &["-d", "1 minute ago", &rig.text("editors/other.tar.gz")]);
    // It looks when it starts, and every minute.
    rig.kill_agent();
    rig.start_agent();
    let kinds = ["editor.added", "editor.refused"];
    let told = until("both archives were looked at", Duration::from_secs(30), || {
        let events = rig.events();
        let told: Vec<String> = events
            .iter()
            .filter(|event| kinds.iter().any(|kind| event["kind"] == *kind))
            .map(|event| event["text"].as_str().unwrap().to_owned())
            .collect();
        (told.len() == 2).then_some(told)
    });
    assert!(told[0].starts_with("other.tar.gz: "), "{told:?}");
    assert!(told[1].ends_with(&format!("is unpacked as server-{COMMIT}")), "{told:?}");
    let berth = rig.request(&["--cards", "1"]);
    let home = Path::new(".vscode-server");
    for place in [format!("bin/{COMMIT}"), format!("cli/servers/Stable-{COMMIT}/server")] {
        let server = home.join(place).join("bin/code-server");
        let said = rig.ssh_ok(&berth, &server.display().to_string());
        assert_eq!(said, format!("served from /opt/berth/editors/server-{COMMIT}/bin/code-server"));
    }
    rig.ssh_ok(&berth, &format!("touch ~/.vscode-server/bin/{COMMIT}/lock && test -O ~/.vscode-server"));
    let output = rig.ssh(&berth, &format!("echo x >> ~/.vscode-server/bin/{COMMIT}/bin/code-server"));
    assert!(!output.status.success(), "what all berths run is written by none: {output:?}");
}
