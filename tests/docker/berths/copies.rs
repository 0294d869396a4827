//! Files go into a berth and come out of it, in an image that has no program for that.

use crate::machine::both;
use crate::rig::Rig;
use serde_json::Value;
use std::process::{Command, Output};

/// OpenSSH's scp, over SFTP or with `-O` in its old protocol.
fn scp(rig: &Rig, berth: &Value, words: &[&str]) -> Output {
    let mut scp = Command::new("timeout");
    scp.args(["60", "scp", "-F", "none", "-r", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    scp.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    scp.args(["-i", &rig.key("alice"), "-P", &berth["port"].to_string()]).args(words);
    scp.output().unwrap()
}

#[test]
fn files_are_copied_in_and_out_in_both_protocols() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "copies"]);
    assert_eq!(rig.ssh_ok(&berth, "command -v scp"), "/opt/berth/info/bin/scp");
    let tree = rig.path("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/中文"), "content").unwrap();
    let user = berth["ssh_user"].as_str().unwrap();
    for (number, protocol) in ["-s", "-O"].into_iter().enumerate() {
        let there = format!("{user}@127.0.0.1:work/copy{number}");
        let back = rig.path(&format!("back{number}"));
        for words in [[tree.to_str().unwrap(), &there], [&there, back.to_str().unwrap()]] {
            let output = scp(&rig, &berth, &[protocol, words[0], words[1]]);
            assert!(output.status.success(), "{protocol}: {}\n{}", both(&output), rig.log());
        }
        assert_eq!(std::fs::read(back.join("sub/中文")).unwrap(), b"content");
        let owner = rig.ssh_ok(&berth, &format!("ls -ld work/copy{number}/sub"));
        assert!(owner.contains(user) || owner.contains("1000"), "{owner}");
    }
    assert_eq!(rig.json(&["release", "alice/copies"])["state"], "released");
    rig.assert_nothing_left();
}
