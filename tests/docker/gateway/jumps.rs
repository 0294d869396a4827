//! Jumps with the real client: to one's own berth, and to nothing else.

use super::visitor::{Talk, event, fewer_ports, fingerprint, port, run, ssh, start_with};
use crate::machine::{both, try_run, until};
use crate::rig::{Rig, Setup};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A config with a jump as a person would write it; returns its path.
fn config(rig: &Rig, berths: &[&Value]) -> String {
    let known = rig.text("known-jump");
    let gate = rig.api("/v1/gateway")["host_key"].as_str().unwrap().to_owned();
    let mut keys = format!("[127.0.0.1]:{} {gate}\n", port(rig));
    for berth in berths {
        let key = berth["host_key"].as_str().unwrap();
        let name = berth["name"].as_str().unwrap();
        keys.extend([name, ",berth-alice-", name, " ", key, "\n"]);
    }
    std::fs::write(&known, keys).unwrap();
    let text = format!(
        "Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  BatchMode yes\n  StrictHostKeyChecking yes\n  \
         UserKnownHostsFile {known}\n  ConnectTimeout 20\n",
        rig.key("alice")
    );
    let path = rig.text("ssh-jump");
    std::fs::write(&path, text).unwrap();
    path
}

fn jump(rig: &Rig, config: &str, to: &str, command: &str) -> Output {
    let gate = format!("alice@127.0.0.1:{}", port(rig));
    try_run(Command::new("ssh").args(["-F", config, "-J", &gate, to, command]).env_remove("SSH_AUTH_SOCK"))
}

#[test]
fn one_s_own_berth_is_reached_end_to_end() {
    let Some(mut rig) = start_with(fewer_ports()) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let config = config(&rig, &[&berth]);
    let output = jump(&rig, &config, "ma-user@train", "id -un; echo $BERTH_NAME; exit 7");
    assert_eq!(
        (both(&output).as_str(), output.status.code()),
        ("ma-user\ntrain\n", Some(7)),
        "{}",
        rig.log()
    );
    // By the name that `berth ssh-config` gives it.
    assert_eq!(both(&jump(&rig, &config, "ma-user@berth-alice-train", "echo in")), "in\n");
    event(&rig, "gateway.jump", &["train:22", "alice", &fingerprint(&rig, "alice"), "from 127.0.0.1:"]);
    // Bytes both ways, more than any window.
    let script = "head -c 40000000 /dev/zero | ssh -F \"$0\" -J \"$1\" ma-user@train 'tee /dev/null' | wc -c";
    let gate = format!("alice@127.0.0.1:{}", port(&rig));
    let mut command = Command::new("sh");
    assert_eq!(both(&try_run(command.args(["-c", script, &config, &gate]))).trim(), "40000000");

    // An agent that ends leaves the berth alone; the next one leads there again.
    rig.kill_agent();
    assert_eq!(rig.ssh_ok(&berth, "echo here"), "here");
    rig.start_agent();
    assert_eq!(both(&jump(&rig, &config, "ma-user@train", "echo again")), "again\n");
}

#[test]
fn a_berth_that_hangs_holds_nothing_else_up() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let other = rig.request(&["--cards", "1", "--name", "other"]);
    let config = config(&rig, &[&berth, &other]);
    let container = berth["container_id"].as_str().unwrap();
    rig.docker(&["pause", container]);
    // One connection for all: its other channels are what could be held up.
    let control = rig.text("control");
    let mut hanging = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.args(["-M", "-S", &control, "-W", "train:22"]);
        command
    });
    event(&rig, "gateway.jump", &["train:22"]);
    fill(&mut hanging);
    let beside = try_run(ssh(&rig, "alice").args(["-S", &control, "list"]));
    assert!(both(&beside).contains("alice/train"), "{beside:?}");
    // Data of another channel: up more than a window, down more than all queues. Without end is only the way down:
    // part of each window that is opened for others goes to the hanging one, until the connection has its fill.
    let mut proxy = ssh(&rig, "alice");
    proxy.args(["-S", &control, "-W", "other:22"]);
    let words = std::iter::once(proxy.get_program()).chain(proxy.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let proxy = format!("ProxyCommand={}", words.join(" "));
    let there = "wc -c; head -c 40000000 /dev/zero";
    let script =
        "head -c 4000000 /dev/zero | timeout 60 ssh -F \"$0\" -o \"$1\" ma-user@other \"$2\" | wc -c";
    let moved = try_run(Command::new("sh").args(["-c", script, &config, &proxy, there]));
    assert_eq!(both(&moved).trim(), "40000008", "{}", rig.log());
    let logins = super::visitor::events(&rig, "gateway.login").len();
    assert_eq!(logins, 1, "all went over one connection");
    rig.docker(&["unpause", container]);
    // It reads now, and nothing of that is SSH.
    hanging.ended();
    assert_eq!(both(&jump(&rig, &config, "ma-user@train", "echo again")), "again\n");
}

/// Sends until nothing more is taken: all queues up to the program that does not read are full then.
fn fill(hanging: &mut Talk) {
    const MOST: usize = 256 << 20;
    let mut input = hanging.child.stdin.take().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    std::thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 16];
        while count.load(Ordering::Relaxed) < MOST && input.write_all(&chunk).is_ok() {
            count.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    let mut last = (0, Instant::now());
    let taken = until("an end to what is taken", Duration::from_mins(1), || {
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(now)
    });
    assert!((1 << 20..MOST).contains(&taken), "{taken} bytes");
}

#[test]
fn nothing_else_is_reached_and_nothing_is_told() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let his = rig.json(&["request", "--user", "bob", "--cards", "1", "--name", "his"]);
    let container = berth["container_id"].as_str().unwrap();
    let inspected = rig.inspect(container);
    let address =
        inspected["NetworkSettings"]["Networks"].as_object().unwrap().values().next().unwrap()["IPAddress"]
            .as_str()
            .unwrap()
            .to_owned();
    let node_port = his["port"].to_string();
    let forward = |to: &str| Ran::of(try_run(ssh(&rig, "alice").args(["-W", to])));
    let same = |text: &str, to: &str| text.replace(to, "X").replace(to.split(':').next().unwrap(), "X");
    let unknown = forward("no-such:22");
    assert!(unknown.1.contains("alice has no live berth of that name"), "{unknown:?}");
    for to in [
        "his:22",
        "berth-bob-his:22",
        "berth-alice-his:22",
        "localhost:22",
        "127.0.0.1:22",
        "[::1]:22",
        &format!("{address}:22"),
        "0.0.0.0:22",
        "169.254.169.254:22",
        "bob/his:22",
        "TRAIN.:22",
        "..:22",
    ] {
        let refused = forward(to);
        assert_eq!(refused.0, unknown.0, "{to}: {refused:?}");
        assert_eq!(same(&refused.1, to), same(&unknown.1, "no-such:22"), "{to}");
    }
    let other_port = forward("no-such:80");
    assert!(other_port.1.contains("this port cannot be reached over the gateway"), "{other_port:?}");
    for to in [
        "train:80".to_owned(),
        "train:1".to_owned(),
        format!("127.0.0.1:{node_port}"),
        format!("localhost:{}", port(&rig)),
    ] {
        assert_eq!(forward(&to).1, other_port.1, "{to}");
    }
    // Numbers that no port has, which OpenSSH would not send; cut to 16 bits, one is 22.
    let script = r#"
import paramiko, sys
port, key = int(sys.argv[1]), sys.argv[2]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, "alice", pkey=paramiko.Ed25519Key.from_private_key_file(key), allow_agent=False, look_for_keys=False)
for number in [80, 65536, 65536 + 22, 2**32 - 1]:
    try:
        client.get_transport().open_channel("direct-tcpip", ("train", number), ("127.0.0.1", 0), timeout=20)
        print("open")
    except paramiko.ChannelException as refused:
        print(refused.code, refused.text)
try:
    client.get_transport().open_channel("direct-tcpip", (sys.argv[3], 22), ("127.0.0.1", 0), timeout=20)
except paramiko.ChannelException:
    pass
"#;
    let forged = "x:22 bob\n2026-11-30 20:00:00  user.removed     root       user alice";
    let mut python = Command::new("/usr/bin/python3");
    let output = try_run(python.args(["-c", script, &port(&rig).to_string(), &rig.key("alice"), forged]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 Administratively prohibited\n".repeat(4));
    let reasons = String::from_utf8_lossy(&output.stderr);
    assert_eq!(reasons.matches("this port cannot be reached over the gateway").count(), 4, "{reasons}");
    event(&rig, "gateway.forward-refused", &["his:22", "alice", &fingerprint(&rig, "alice"), "127.0.0.1:"]);
    event(&rig, "gateway.forward-refused", &["train:80", "this port cannot be reached"]);
    // What a client says is never a line of its own, in the list and in the log.
    event(&rig, "gateway.forward-refused", &["x:22 bob\u{fffd}2026-11-30"]);
    let shown = rig.ok(&["events", "--last", "200"]);
    for text in [shown, rig.log()] {
        assert!(!text.lines().any(|line| line.starts_with("2026-11-30 20:00:00  user.removed")), "{text}");
    }
    assert_eq!(super::visitor::events(&rig, "gateway.jump"), Vec::<String>::new());
}

/// Exit code and errors.
struct Ran;

impl Ran {
    fn of(output: Output) -> (Option<i32>, String) {
        (output.status.code(), both(&output))
    }
}

#[test]
fn every_other_kind_of_forwarding_is_refused_with_a_reason() {
    let Some(rig) = start_with(Setup { image: "", ..Setup::default() }) else { return };
    let with = |args: &[&str], line: &str| {
        let mut command = ssh(&rig, "alice");
        let output = try_run(command.args(args).arg(line).env("DISPLAY", ":9"));
        (output.status.code(), both(&output))
    };
    let (code, said) = with(&["-s"], "sftp");
    assert!(code != Some(0) && said.contains("no shell and no files are here"), "{said}");
    let (code, said) = with(&["-s"], "netconf");
    assert!(code != Some(0) && said.contains("no shell and no files are here"), "{said}");
    let (code, said) = with(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"], "list");
    assert!(code == Some(255) && said.contains("remote port forwarding failed"), "{said}");
    let (code, said) = with(&["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/x:127.0.0.1:22"], "list");
    assert!(code == Some(255) && said.contains("remote port forwarding failed"), "{said}");
    event(&rig, "gateway.forward-refused", &["forward from port", "listens for nobody"]);
    event(&rig, "gateway.forward-refused", &["forward from socket", "listens for nobody"]);

    // An agent is asked for beside the command, which runs all the same.
    let agent = crate::machine::run("ssh-agent", &["-s"]);
    let value = |name: &str| {
        let rest = agent.split(&format!("{name}=")).nth(1).unwrap();
        rest.split(';').next().unwrap().to_owned()
    };
    let mut command = ssh(&rig, "alice");
    command.args(["-A", "list"]).env("SSH_AUTH_SOCK", value("SSH_AUTH_SOCK"));
    let output = try_run(&mut command);
    crate::machine::run("kill", &[&value("SSH_AGENT_PID")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(both(&output).contains("the gateway takes no agent"), "{output:?}");
    event(&rig, "gateway.forward-refused", &["agent forwarding"]);

    // A socket of the node: the agent's own.
    let (here, there) = (rig.text("forwarded"), rig.text("run/berth.sock"));
    let mut forwarding = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.args(["-L", &format!("{here}:{there}"), "events --follow --last 1"]);
        command
    });
    forwarding.expect("\n");
    let asked = try_run(Command::new("curl").args([
        "-sS",
        "--max-time",
        "10",
        "--unix-socket",
        &here,
        "http://x/v1/version",
    ]));
    assert!(!asked.status.success(), "{asked:?}");
    event(&rig, "gateway.forward-refused", &["forward to socket", "berth.sock"]);
}

#[test]
fn a_jump_to_a_berth_that_is_not_live_says_why_to_its_owner_alone() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let berth = rig.request(&["--cards", "8", "--name", "train"]);
    let config = config(&rig, &[&berth]);
    rig.ok(&["stop", "alice/train"]);
    let said = both(&jump(&rig, &config, "ma-user@train", "true"));
    assert!(
        said.contains("alice/train was stopped at ") && said.contains("start it: berth start train"),
        "{said}"
    );
    let words = ["train:22", "alice/train was stopped at "];
    event(&rig, "gateway.forward-refused", &words);
    // Of others' berths nothing is said, whether they are there or not.
    let of_bob = |name: &str| {
        let mut command = ssh(&rig, "bob");
        command.args(["-W", &format!("{name}:22")]);
        both(&try_run(&mut command)).replace(name, "NAME")
    };
    let said = of_bob("train");
    assert!(said.contains("bob has no live berth of that name"), "{said}");
    assert_eq!(said, of_bob("nothing"));
    // A name that waits for cards.
    rig.request(&["--cards", "8", "--name", "hold"]);
    let args = ["request", "--user", "alice", "--name", "later", "--cards", "8", "--wait", "90s"];
    let mut waits = rig.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a ticket", Duration::from_secs(30), || {
        let said = both(&jump(&rig, &config, "ma-user@later", "true"));
        said.contains("alice/later waits for 8 cards and is not there yet").then_some(())
    });
    assert!(of_bob("later").contains("bob has no live berth of that name"));
    waits.kill().unwrap();
    waits.wait().unwrap();
}

#[test]
fn an_administrator_may_open_more_ports() {
    let config = vec![("[ssh]", "gateway-ports = [22, 8080]".to_owned())];
    let Some(rig) = start_with(Setup { config, ..fewer_ports() }) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    rig.exec(
        &berth,
        "mkdir -p /tmp/www && echo from-the-berth > /tmp/www/x && /bin/busybox httpd -p 8080 -h /tmp/www",
    );
    let script = "printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | \"$@\"";
    let answer = until("an answer", Duration::from_secs(20), || {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        let ssh = ssh(&rig, "alice");
        command.arg(ssh.get_program()).args(ssh.get_args()).args(["-W", "train:8080"]);
        Some(both(&try_run(&mut command))).filter(|text| text.contains("from-the-berth"))
    });
    assert!(answer.contains("200"), "{answer}");
    // Nothing listens there: said as it is, and other channels go on.
    let closed = run(&rig, "alice", "list");
    assert_eq!(closed.code, 0);
}

#[test]
fn a_removed_key_ends_everything_that_it_opened() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let config = config(&rig, &[&berth]);
    let gate = format!("alice@127.0.0.1:{}", port(&rig));
    let mut jumped = Talk::start({
        let mut command = Command::new("ssh");
        command.args(["-F", &config, "-J", &gate, "ma-user@train", "echo ready; exec sleep 600"]);
        command
    });
    jumped.expect("ready\n");
    let mut menu = Talk::start({
        let mut command = ssh(&rig, "alice");
        command.arg("-tt");
        command
    });
    menu.expect("shows the menu): ");
    let mut others = Talk::start({
        let mut command = ssh(&rig, "bob");
        command.arg("-tt");
        command
    });
    others.expect("shows the menu): ");
    rig.ok(&["user", "key", "remove", "alice", &fingerprint(&rig, "alice")]);
    assert_eq!(jumped.ended(), 255);
    assert_eq!(menu.ended(), 255);
    assert_eq!(run(&rig, "alice", "list").code, 255);
    event(&rig, "gateway.end", &["alice", "removed"]);
    event(&rig, "gateway.refused", &["login refused alice", &fingerprint(&rig, "alice")]);
    others.say("1\n");
    others.expect("shows the menu): ");

    rig.ok(&["user", "remove", "bob"]);
    assert_eq!(others.ended(), 255);
    assert_eq!(run(&rig, "bob", "list").code, 255);
}
