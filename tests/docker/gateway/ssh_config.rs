//! `berth ssh-config` as a person uses it: a fresh home, a generated config, and the real client.

use super::visitor::{fewer_ports, ok, port, start_with};
use crate::machine::{both, try_run};
use crate::rig::{ALICE, Rig, Setup};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home with a key that `ssh` finds by itself.
fn home(rig: &Rig, name: &str) -> PathBuf {
    let ssh = rig.path(name).join(".ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    std::fs::copy(rig.key("alice"), ssh.join("id_ed25519")).unwrap();
    std::fs::set_permissions(ssh.join("id_ed25519"), std::fs::Permissions::from_mode(0o600)).unwrap();
    rig.path(name)
}

/// The client of whoever lives there. OpenSSH takes its home from the account, so the container of root's is replaced.
fn ssh_at(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /root && cd /root && exec ssh -o BatchMode=yes \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(home).args(args);
    try_run(command.stdin(Stdio::null()).env("HOME", "/root").env_remove("SSH_AUTH_SOCK"))
}

#[test]
fn a_config_over_the_gateway_works_in_a_fresh_home() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    rig.request(&["--cards", "1", "--name", "train"]);
    let home = home(&rig, "home");
    let blocks = ok(&rig, "alice", "ssh-config");
    let known = ok(&rig, "alice", "ssh-config --known-hosts");
    // The gateway and the berth, each with a key of each type.
    assert_eq!(known.lines().count(), 4, "{known}");
    assert!(
        blocks.contains(&format!(
            "Host berth-gateway-127.0.0.1\n  HostName 127.0.0.1\n  Port {}\n  User alice\n",
            port(&rig)
        )),
        "{blocks}"
    );
    std::fs::write(home.join(".ssh/berth_config"), blocks).unwrap();
    std::fs::write(home.join(".ssh/berth_known_hosts"), known).unwrap();
    std::fs::write(home.join(".ssh/config"), "Include berth_config\n").unwrap();
    let output = ssh_at(&home, &["berth-alice-train", "id -un; hostname"]);
    assert_eq!(both(&output), "ma-user\ntrain\n");
    assert!(both(&ssh_at(&home, &["berth-gateway-127.0.0.1", "list"])).contains("alice/train"));
    assert!(!home.join(".ssh/known_hosts").exists(), "every key was pinned");
    // Another host key than the pinned one is not accepted.
    let wrong = ok(&rig, "alice", "ssh-config --known-hosts").replace("berth-gateway", "berth-other");
    std::fs::write(home.join(".ssh/berth_known_hosts"), wrong).unwrap();
    assert!(both(&ssh_at(&home, &["berth-alice-train", "true"])).contains("Host key verification failed"));
}

fn install(rig: &Rig, home: &Path, args: &[&str]) -> Output {
    let mut command = rig.command(&[&["ssh-config", "--install"], args].concat());
    try_run(command.env("HOME", home))
}

#[test]
fn an_installed_block_is_kept_up_to_date_and_nothing_else_is_touched() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    rig.request(&["--cards", "1", "--name", "train"]);
    let home = home(&rig, "home");
    let config = home.join(".ssh/config");
    let theirs = "ServerAliveInterval 7\n# mine\r\nHost *\n  Port 9\n  User nobody\n\tForwardX11 no";
    std::fs::write(&config, theirs).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o640)).unwrap();
    for args in [&[][..], &["--gateway"]] {
        let installed = install(&rig, &home, args);
        assert!(installed.status.success(), "{}", both(&installed));
        assert!(both(&installed).contains("has one berth\nssh berth-alice-train\n"), "{}", both(&installed));
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(text.ends_with(&format!("Match all\n# <<< berth <<<\n{theirs}")), "{text}");
        assert_eq!(both(&ssh_at(&home, &["berth-alice-train", "hostname"])), "train\n", "{args:?}: {text}");
    }
    assert_eq!(std::fs::metadata(&config).unwrap().mode() & 0o777, 0o640);
    // What stood above all hosts still does.
    let other = both(&ssh_at(&home, &["-G", "elsewhere"]));
    assert!(other.contains("serveraliveinterval 7\n") && other.contains("port 9\n"), "{other}");
    rig.ok(&["release", "alice/train"]);
    assert!(install(&rig, &home, &[]).status.success());
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains("berth-alice-train") && text.ends_with(theirs), "{text}");
    assert_eq!(std::fs::read_to_string(home.join(".ssh/berth_known_hosts")).unwrap(), "");
}

#[test]
fn files_that_are_not_one_s_own_are_left_alone() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let home = home(&rig, "home");
    let config = home.join(".ssh/config");
    let refuse = |why: &str| {
        let output = install(&rig, &home, &[]);
        assert_eq!(output.status.code(), Some(3), "{}", both(&output));
        assert!(both(&output).contains(why), "{}", both(&output));
        assert!(!home.join(".ssh/berth_known_hosts").exists());
    };
    std::fs::write(&config, "Host x\n").unwrap();
    std::os::unix::fs::chown(&config, Some(ALICE), None).unwrap();
    refuse(&format!("belongs to uid {ALICE}, not to you (uid 0)"));
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(rig.path("berth.toml"), &config).unwrap();
    std::os::unix::fs::lchown(&config, Some(ALICE), None).unwrap();
    refuse(&format!("belongs to uid {ALICE}"));
    std::fs::remove_file(&config).unwrap();
    std::fs::write(&config, "# >>> berth >>>\nHost x\n").unwrap();
    refuse("has the beginning of berth's block, but not its end");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# >>> berth >>>\nHost x\n");
    std::fs::remove_dir_all(home.join(".ssh")).unwrap();
    // As with sudo -E: the whole home is somebody's, who may put a link in at any time.
    std::os::unix::fs::chown(&home, Some(ALICE), None).unwrap();
    refuse(&format!("which belongs to uid {ALICE}, not to you (uid 0)"));
    assert!(!home.join(".ssh").exists());
    std::os::unix::fs::chown(&home, Some(0), None).unwrap();
    assert!(install(&rig, &home, &[]).status.success());
    let mode = |path: &str| std::fs::metadata(home.join(path)).unwrap().mode() & 0o777;
    assert_eq!((mode(".ssh"), mode(".ssh/config"), mode(".ssh/berth_known_hosts")), (0o700, 0o600, 0o600));
}
