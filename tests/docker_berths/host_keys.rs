//! A berth's private host key is root's alone on the node, and nothing that the agent or Docker says has a piece of it.

use crate::rig::Rig;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_private_host_key_stays_where_it_was_made() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "keyed"]);
    rig.ssh_ok(&berth, "true");
    let etc = rig.path(&format!("state/berths/{}/etc", berth["id"]));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&etc), 0o700);
    for entry in std::fs::read_dir(&etc).unwrap() {
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
