//! The verbs of the command line over the gateway: the same answers, errors and exit codes.

use super::visitor::{Talk, event, fewer_ports, fingerprint, ok, port, run, ssh, start_with};
use crate::machine::{try_run, until};
use crate::rig::{Rig, Setup};
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_day_with_nothing_but_ssh() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let made = run(&rig, "alice", "request --cards 2 --name train --lease 90m");
    assert_eq!(made.code, 0, "{made:?}\n{}", rig.log());
    assert!(made.out.starts_with("alice/train has cards 0,1, image base\nssh -p "), "{made:?}");
    let jump = format!("\nssh -J alice@127.0.0.1:{} ma-user@train\n", port(&rig));
    assert!(made.out.ends_with(&jump), "{made:?}");
    assert!(made.err.contains("  waiting for SSH to answer"), "progress: {made:?}");
    let berth = rig.json(&["show", "alice/train"]);
    // From here on the same for a minute: what is compared is not asked at the same time.
    until("a minute that has begun", Duration::from_secs(10), || {
        rig.ok(&["list"]).contains("in 1h 29m").then_some(())
    });

    for verb in
        ["list", "list --all --json", "show train --json", "image list", "cards --json", "user key list"]
    {
        let words: Vec<&str> = verb.split(' ').collect();
        let here = match verb {
            "user key list" => rig.ok(&["user", "show", "alice"]),
            "show train --json" => rig.ok(&["show", "alice/train", "--json"]),
            _ => rig.ok(&words),
        };
        assert_eq!(ok(&rig, "alice", verb), here, "{verb}");
    }
    let before: jiff::Timestamp = berth["until"].as_str().unwrap().parse().unwrap();
    let renewed: Value = serde_json::from_str(&ok(&rig, "alice", "renew train --lease 5h --json")).unwrap();
    let after: jiff::Timestamp = renewed["until"].as_str().unwrap().parse().unwrap();
    assert!(after.as_second() - before.as_second() > 3 * 3600, "{before} {after}");
    let said = ok(&rig, "alice", "renew train --lease 3h");
    assert!(
        said == "the lease of alice/train ends in 2h 59m\n"
            || said == "the lease of alice/train ends in 3h\n",
        "{said}"
    );
    event(&rig, "berth.renewed", &["the lease of alice/train is renewed for 5h"]);

    let events = ok(&rig, "alice", "events --last 1000");
    assert!(events.contains("berth.live") && events.contains("gateway.login"), "{events}");
    assert_eq!(ok(&rig, "alice", "release train"), "alice/train is released; cards 0,1 are free\n");
    rig.assert_nothing_left();
    // Who did it is the user, not the agent or root.
    let actors: Vec<Value> = rig
        .events()
        .into_iter()
        .filter(|event| event["berth"] == "train")
        .map(|event| event["actor"].clone())
        .collect();
    assert!(actors.iter().all(|actor| actor == "alice"), "{actors:?}");
    event(&rig, "gateway.login", &["login alice", &fingerprint(&rig, "alice"), "from 127.0.0.1:"]);
}

#[test]
fn errors_and_exit_codes_are_those_of_the_command_line() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    rig.json(&["request", "--user", "bob", "--cards", "1", "--name", "his"]);
    for (code, line, said) in [
        (2, "show nothing", "there is no berth nothing"),
        (2, "request --cards -1", ""),
        (2, "request", "--cards"),
        (2, "release ../x", "is not a berth's name"),
        (2, "show his", "there is no berth his"),
        (3, "release bob/his", "bob's berths are not yours"),
        (3, "renew bob/his", "bob's berths are not yours"),
        (3, "request --cards 1 --user bob", "bob's berths are not yours"),
        (3, "request --cards 1 --lease 1000days", "longest lease"),
        (2, "renew x --lease 0s", "over at once"),
        (7, "request --card-ids 0", "card 0"),
    ] {
        let ran = run(&rig, "alice", line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.out.is_empty() && ran.err.contains(said), "{line}: {ran:?}");
    }
    let help = run(&rig, "alice", "show nothing").err;
    let prefix = format!("ssh -p {} alice@127.0.0.1", port(&rig));
    assert!(help.contains(&format!("help: `{prefix} list` shows the berths there are")), "{help}");
    let note = run(&rig, "alice", "list");
    assert_eq!((note.code, note.out.as_str()), (0, ""));
    assert_eq!(note.err, format!("no berths; ask for one: {prefix} request --cards 1\n"));
}

#[test]
fn what_a_client_sends_is_words_and_never_more() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let before = rig.footprint();
    let long = format!("list {}", "x ".repeat(30_000));
    for line in [
        "list 'open",
        "list \"open",
        "list \\",
        "list; rm -rf /",
        "list && id",
        "list | cat /etc/shadow",
        "$(id)",
        "`id`",
        "--config /etc/shadow list",
        "list --config /etc/shadow",
        "agent",
        "ssh x",
        "facts",
        "sim list",
        "inside serve",
        "gateway --login bob@x --port 1 run -- list",
        "image pull x y",
        "user add eve",
        "user key add alice /etc/passwd",
        "ssh-config --install",
        "bash",
        "sh -c id",
        "scp -t /tmp",
        "rsync --server . /",
        "internal-sftp",
        &long,
    ] {
        let ran = run(&rig, "alice", line);
        let shown: String = line.chars().take(40).collect();
        assert_eq!(ran.code, 2, "{shown}: {ran:?}");
        assert!(!ran.err.is_empty() && ran.err.len() < 3000, "{shown}: {ran:?}");
        for secret in ["root:", "uid=", "panicked"] {
            assert!(!ran.err.contains(secret) && !ran.out.contains(secret), "{shown}: {ran:?}");
        }
    }
    assert_eq!(before, rig.footprint());
    let scp = run(&rig, "alice", "scp -t /tmp").err;
    assert!(scp.contains(&format!("ssh -J alice@127.0.0.1:{} ma-user@NAME", port(&rig))), "{scp}");
}

/// paramiko sends what OpenSSH would not.
#[test]
fn bytes_that_no_shell_would_send_are_refused_too() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let script = r#"
import paramiko, sys
port, key = int(sys.argv[1]), sys.argv[2]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, "alice", pkey=paramiko.Ed25519Key.from_private_key_file(key), allow_agent=False, look_for_keys=False)
for line in [b"list\0--json", b"list \xff\xfe", b"x " * 100000, b"\0", b"\x1b[2J", b"-", b"--"]:
    channel = client.get_transport().open_session()
    channel.exec_command(line)
    print(channel.recv_exit_status(), len(channel.makefile_stderr("rb").read()) < 3000)
channel = client.get_transport().open_session()
channel.exec_command(b"list --json")
print(channel.recv_exit_status(), channel.makefile("rb").read().decode().split())
try:
    client.get_transport().open_session().exec_command(b"x " * 500000)
except Exception:
    print("too much for one packet")
"#;
    let mut python = std::process::Command::new("/usr/bin/python3");
    let output = try_run(python.args(["-c", script, &port(&rig).to_string(), &rig.key("alice")]));
    let said = crate::machine::both(&output);
    let expected = "2 True\n".repeat(7)
        + "0 ['{', '\"berths\":', '[],', '\"idle\":', '{},', '\"full\":', '[]', '}']\ntoo much for one packet\n";
    assert!(said.starts_with("2 True") && said.contains(&expected), "{said}\nagent:\n{}", rig.log());
    assert_eq!(run(&rig, "alice", "list").code, 0);
}

#[test]
fn commands_run_as_nobody_with_nothing_of_the_node() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let mut following = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.arg("events --follow --last 1");
        command
    });
    following.expect("\n");
    let agent = rig.agent.as_ref().unwrap().id().to_string();
    let child = crate::machine::run("pgrep", &["-P", &agent, "-f", "berth gateway"]);
    let child = child.lines().next().unwrap().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(status.contains("Groups:\t \n") || status.contains("Groups:\t\n"), "{status}");
    // Nothing of the agent is open in it but its streams and its door.
    let open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    for entry in open {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string();
        assert!(
            ["pipe:", "socket:", "anon_inode:", "/dev/null"].iter().any(|kind| target.starts_with(kind)),
            "{target}"
        );
    }
    let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
    assert!(!environment.contains("BERTH") && !environment.contains("PATH"), "{environment:?}");
    // Not even a process of its uid gets at its door or its memory, which are root's.
    assert_eq!(std::fs::metadata(format!("/proc/{child}/mem")).unwrap().uid(), 0);
    let look = format!("readlink /proc/{child}/fd/0; head -c 0 /proc/{child}/mem; readlink /proc/self/fd/0");
    let looked = try_run(as_nobody(&["sh", "-c", &look]).stdin(Stdio::null()));
    assert_eq!(String::from_utf8_lossy(&looked.stdout), "/dev/null\n", "nothing but its own: {looked:?}");
    let said = String::from_utf8_lossy(&looked.stderr);
    assert!(said.contains("/mem' for reading: Permission denied"), "{said}");
    // When the client goes away, its command goes too.
    following.child.kill().unwrap();
    until("the command's end", Duration::from_secs(10), || {
        (!std::path::Path::new(&format!("/proc/{child}")).exists()).then_some(())
    });
}

/// A program as the uid that the gateway's commands have.
fn as_nobody(words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).args(words);
    command
}

/// From its first moment on: it is not only closed once it runs.
#[test]
fn no_process_of_their_uid_takes_a_command_s_door() {
    const SPY: &str = r#"
import os, select
seen, caught = set(), set()
print("looking", flush=True)
while not select.select([0], [], [], 0)[0]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            target = os.readlink(f"/proc/{pid}/fd/0")
        except OSError:
            target = None
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"berth\0gateway\0" not in file.read():
                    continue
        except OSError:
            continue
        seen.add(pid)
        if target:
            caught.add((pid, target))
print(len(seen) > 0, sorted(caught), flush=True)
"#;
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let mut spy = Talk::start(as_nobody(&["/usr/bin/python3", "-c", SPY]));
    spy.expect("looking\n");
    for _ in 0..20 {
        ok(&rig, "alice", "list");
    }
    spy.say("\n");
    assert_eq!(spy.expect("\n"), "True []\n");
}

#[test]
fn a_command_s_terminal_is_open_to_nobody_else() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let mut menu = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.arg("-tt");
        command
    });
    menu.expect("shows the menu): ");
    let agent = rig.agent.as_ref().unwrap().id().to_string();
    let child = crate::machine::run("pgrep", &["-P", &agent, "-f", "berth gateway"]);
    let terminal = std::fs::read_link(format!("/proc/{}/fd/0", child.trim())).unwrap();
    assert!(terminal.starts_with("/dev/pts"), "{terminal:?}");
    let found = std::fs::metadata(terminal).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 0, 0o600));
}

#[test]
fn a_client_that_hangs_up_undoes_its_request() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    rig.json(&["request", "--user", "bob", "--card-ids", "0,1,2,3,4,5,6,7", "--name", "all"]);
    let mut waiting = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.arg("request --cards 1 --wait 10m");
        command
    });
    let line = waiting.error_line();
    assert!(line.contains("waiting for cards") || line.contains("looking into the image"), "{line}");
    waiting.child.kill().unwrap();
    rig.ok(&["release", "bob/all"]);
    // The card that came free would be hers by now.
    rig.json(&["request", "--user", "bob", "--card-ids", "0,1,2,3,4,5,6,7", "--name", "again"]);
    rig.ok(&["release", "bob/again"]);
    rig.assert_nothing_left();
}

#[test]
fn one_s_own_keys_come_and_go() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let second = std::fs::read_to_string(format!("{}.pub", rig.key("laptop"))).unwrap();
    let mut adding =
        ssh(&rig, "alice").arg("user key add").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(second.as_bytes()).unwrap();
    let added = adding.wait_with_output().unwrap();
    assert!(
        added.status.success() && String::from_utf8_lossy(&added.stdout).contains(" laptop"),
        "{added:?}"
    );
    let as_laptop =
        |line: &str| try_run(super::visitor::ssh_with(&rig, "alice", &rig.key("laptop")).arg(line));
    assert!(as_laptop("list").status.success());
    ok(&rig, "alice", &format!("user key remove {}", fingerprint(&rig, "laptop")));
    assert_eq!(as_laptop("list").status.code(), Some(255));
    let ran = run(&rig, "alice", "user key remove nonsense");
    assert_eq!((ran.code, ran.err.contains("looks like SHA256:")), (2, true), "{ran:?}");
}

#[test]
fn without_a_command_or_a_terminal_there_is_a_short_help() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let output = try_run(ssh(&rig, "alice").arg("-T"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains(&format!("ssh -p {} alice@127.0.0.1 request --cards 1", port(&rig))), "{text}");
    assert!(text.lines().count() < 50 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(ok(&rig, "alice", "help"), text);
    let request = ok(&rig, "alice", "request --help");
    assert!(
        request.contains("request --card-ids 0,4-6 --wait 1h") && !request.contains("  berth "),
        "{request}"
    );
}

/// Berths and jumps need no agent; commands do.
#[test]
fn an_agent_that_starts_again_has_the_same_gateway() {
    let Some(mut rig) = start_with(fewer_ports()) else { return };
    let before = rig.api("/v1/gateway");
    rig.kill_agent();
    rig.start_agent();
    assert_eq!(rig.api("/v1/gateway"), before);
    assert_eq!(run(&rig, "alice", "list").code, 0);
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(rig.path(path)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode("state/gateway"), mode("state/gateway/host_key")), (0o700, 0o600));
}

#[test]
fn a_port_that_is_taken_is_said_clearly() {
    let Some(mut rig) = Rig::prepare(&Setup { image: "", ..Setup::default() }) else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let path = rig.path("berth.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    for (gateway, code, said) in [
        (
            address.to_string(),
            5,
            "help: another program has this port, perhaps another agent: name another one with ssh.gateway",
        ),
        ("2222".to_owned(), 2, "ssh.gateway is \"2222\", which is no address with a port"),
    ] {
        let text = config.replace("gateway = \"\"", &format!("gateway = \"{gateway}\""));
        std::fs::write(&path, text).unwrap();
        let output = try_run(&mut rig.agent_command());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
    std::fs::write(&path, config).unwrap();
    rig.start_agent();
    assert_eq!(rig.api("/v1/gateway")["on"], false);
    let said = rig.refused(3, &["ssh-config", "--gateway"]);
    assert!(said.contains("the gateway of this node is switched off"), "{said}");
}
