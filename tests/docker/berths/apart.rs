//! Berths of different owners do not reach each other, nor the host's ports; and a published port that died comes back.

use crate::machine::{PORTS, run, until};
use crate::own_engine::OwnEngine;
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const HELLO: &str = "hello from next door";

fn container(berth: &Value) -> &str {
    berth["container_id"].as_str().unwrap()
}

fn address(rig: &Rig, container: &str) -> String {
    rig.inspect(container)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().to_owned()
}

/// Something that answers on port 8000 of a container.
fn serve(rig: &Rig, container: &str) {
    let script = format!("while :; do echo {HELLO} | /bin/busybox nc -l -p 8000; done");
    rig.docker(&["exec", "-d", "-u", "0", container, "/bin/busybox", "sh", "-c", &script]);
}

fn reaches(rig: &Rig, from: &str, address: &str, port: u16) -> bool {
    let ask = format!("/bin/busybox nc -w 2 {address} {port} < /dev/null");
    let output = rig.try_docker(&["exec", "-u", "0", from, "/bin/busybox", "sh", "-c", &ask]);
    String::from_utf8_lossy(&output.stdout).contains(HELLO)
}

fn chains(rig: &Rig) -> String {
    chains_of(rig, "iptables")
}

fn chains_of(rig: &Rig, tool: &str) -> String {
    let rules = run(tool, &["--wait", "-S"]);
    let short = rig.instance.get(..8).unwrap();
    let ours: Vec<&str> = rules.lines().filter(|line| line.contains(short)).collect();
    ours.join("\n")
}

/// A test that fails leaves no rules for whoever has these addresses next.
struct Rules(String);

impl Drop for Rules {
    fn drop(&mut self) {
        for tool in ["iptables", "ip6tables"] {
            for (parent, chain) in [
                ("DOCKER-USER", self.0.clone()),
                ("FORWARD", self.0.clone()),
                ("INPUT", format!("{}-IN", self.0)),
            ] {
                for args in [&["-D", parent, "-j", &chain][..], &["-F", &chain], &["-X", &chain]] {
                    let _ = Command::new(tool).arg("--wait").args(args).output();
                }
            }
        }
    }
}

/// Something that answers on the host.
fn host_service(port: u16) -> u16 {
    let listener = TcpListener::bind(("::", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(HELLO.as_bytes()));
        }
    });
    port
}

#[test]
fn berths_of_two_owners_do_not_reach_each_other() {
    let config = vec![("[docker]", "between-berths = \"closed\"".to_owned())];
    let Some(mut rig) = Rig::with(Setup { config, ..Setup::default() }) else { return };
    let rules = Rules(format!("BERTH-{}", rig.instance.get(..8).unwrap()));
    let [first, second] = ["one", "two"].map(|name| rig.request(&["--name", name, "--cards", "1"]));
    let other = rig.json(&["request", "--user", "bob", "--cards", "1"]);
    let stray = rig.foreign("stray", &[]);
    rig.docker(&["network", "disconnect", "none", &stray]);
    rig.docker(&["network", "connect", "bridge", &stray]);
    let [one, two, bob] = [&first, &second, &other].map(container);
    for name in [one, two, bob, &stray] {
        serve(&rig, name);
    }
    let at = |name: &str| address(&rig, name);
    until("an answer to the other berth of its owner", PATIENCE, || {
        reaches(&rig, one, &at(two), 8000).then_some(())
    });
    // A port like any, and one of those that lead to SSH servers, on the host.
    let service = host_service(0);
    let allowed = host_service(rig.slot.first_port() + PORTS - 1);
    let host =
        rig.inspect(one)["NetworkSettings"]["Networks"]["bridge"]["Gateway"].as_str().unwrap().to_owned();
    assert!(reaches(&rig, &stray, &host, service), "others are not ours to keep from the host");
    let closed = || {
        let pairs = [(one, at(bob)), (bob, at(one)), (bob, at(two)), (&stray, at(bob)), (bob, at(&stray))];
        let open = pairs.iter().filter(|(from, to)| reaches(&rig, from, to, 8000)).count();
        open == 0 && !reaches(&rig, one, &host, service)
    };
    assert!(closed(), "{}", chains(&rig));
    assert!(reaches(&rig, one, &host, allowed), "{}", chains(&rig));
    // The node reaches them all, by their ports and at their addresses.
    assert_eq!(rig.ssh_ok(&other, "echo here"), "here");
    let mut banner = [0; 4];
    TcpStream::connect(format!("{}:22", at(bob))).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");

    // Somebody flushes what is ours.
    let chain = &rules.0;
    run("iptables", &["--wait", "-F", chain]);
    until("rules that are back", PATIENCE, || chains(&rig).contains(&format!("-A {chain} -d")).then_some(()));
    assert!(closed(), "{}", chains(&rig));
    until("an event", PATIENCE, || {
        rig.events().iter().any(|event| event["kind"] == "berths.apart").then_some(())
    });

    // A berth that goes takes its address out: the next container with it is somebody else.
    let gone = at(two);
    rig.ok(&["release", "alice/two"]);
    assert!(!chains(&rig).contains(&format!("{gone}/32")), "{}", chains(&rig));

    let bobs = at(bob);
    rig.kill_agent();
    let path = rig.path("berth.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("between-berths = \"closed\"", "between-berths = \"open\"")).unwrap();
    rig.start_agent();
    until("no rules of ours", PATIENCE, || chains(&rig).is_empty().then_some(()));
    assert!(reaches(&rig, one, &bobs, 8000));
}

#[test]
fn a_port_whose_forwarder_died_is_told_and_comes_back() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    rig.docker(&["exec", "-d", container(&berth), "/bin/busybox", "sleep", "4242"]);
    let codes = || -> Vec<Value> {
        let shown = rig.json(&["show", "alice/dev"]);
        shown["conditions"].as_array().unwrap().iter().map(|condition| condition["code"].clone()).collect()
    };
    // Somebody who is connected at the container's own address, as over the gateway.
    let mut session = TcpStream::connect(format!("{}:22", address(&rig, container(&berth)))).unwrap();
    session.read_exact(&mut [0; 4]).unwrap();
    let forwarder = run("pgrep", &["-f", &format!("docker-proxy .*-host-port {} ", berth["port"])]);
    run("kill", &["-KILL", forwarder.trim()]);
    until("the condition", PATIENCE, || (codes() == ["port-closed"]).then_some(()));
    assert!(
        TcpStream::connect(("127.0.0.1", u16::try_from(berth["port"].as_u64().unwrap()).unwrap())).is_err()
    );

    drop(session);
    until("its end", PATIENCE, || codes().is_empty().then_some(()));
    assert_eq!(rig.ssh_ok(&berth, "echo here"), "here");
    assert!(rig.exec(&berth, "ps").contains("sleep 4242"), "its processes go on");
    let told: Vec<Value> = rig.events().into_iter().map(|event| event["kind"].clone()).collect();
    for kind in ["berth.port-closed", "berth.recovered"] {
        assert_eq!(told.iter().filter(|told| **told == json!(kind)).count(), 1, "{told:?}");
    }
    let of_server: Vec<&Value> =
        told.iter().filter(|kind| kind.as_str().unwrap().starts_with("ssh.")).collect();
    assert_eq!(of_server, ["ssh.login", "ssh.end"], "a look is no event: {told:?}");
}

/// Goes with its rig.
struct Network(String);

impl Network {
    fn with_ipv6() -> Option<Self> {
        let engine = crate::machine::variable("BERTH_TEST_DOCKER")?;
        let id = std::process::id();
        let network = Self(format!("berth-six-{id}"));
        let subnet = format!("fd00:{:x}:{:x}::/64", id >> 16, id & 0xffff);
        let made = crate::machine::docker(
            &engine,
            std::env::temp_dir().as_path(),
            &["network", "create", "--ipv6", "--subnet", &subnet, &network.0],
        );
        assert!(made.status.success(), "{}", crate::machine::both(&made));
        Some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let engine = std::env::var("BERTH_TEST_DOCKER").unwrap();
        let _ = crate::machine::docker(
            engine.as_ref(),
            std::env::temp_dir().as_path(),
            &["network", "rm", &self.0],
        );
    }
}

#[test]
fn berths_of_two_owners_do_not_reach_each_other_over_ipv6() {
    let Some(network) = Network::with_ipv6() else { return };
    let lines = format!("between-berths = \"closed\"\nnetwork = \"{}\"", network.0);
    let Some(mut rig) = Rig::with(Setup { config: vec![("[docker]", lines)], ..Setup::default() }) else {
        return;
    };
    let rules = Rules(format!("BERTH-{}", rig.instance.get(..8).unwrap()));
    let [first, second] = ["one", "two"].map(|name| rig.request(&["--name", name, "--cards", "1"]));
    let other = rig.json(&["request", "--user", "bob", "--cards", "1"]);
    let stray = rig.foreign("stray", &[]);
    rig.docker(&["network", "disconnect", "none", &stray]);
    rig.docker(&["network", "connect", &network.0, &stray]);
    let [one, two, bob] = [&first, &second, &other].map(container);
    for name in [one, two, bob, &stray] {
        serve(&rig, name);
    }
    let of = |name: &str| rig.inspect(name)["NetworkSettings"]["Networks"][&network.0].clone();
    let global = |name: &str| of(name)["GlobalIPv6Address"].as_str().unwrap().to_owned();
    let linked = |berth: &Value| {
        let shown = rig.exec(berth, "/bin/busybox ip -6 addr show dev eth0 scope link");
        let address = shown.split_whitespace().find(|word| word.starts_with("fe80:")).unwrap().to_owned();
        format!("{}%eth0", address.split('/').next().unwrap())
    };
    until("an answer to the other berth of its owner", PATIENCE, || {
        reaches(&rig, one, &global(two), 8000).then_some(())
    });
    assert!(reaches(&rig, one, &linked(&second), 8000), "{}", chains_of(&rig, "ip6tables"));
    let service = host_service(0);
    let host = of(one)["IPv6Gateway"].as_str().unwrap().to_owned();
    assert!(reaches(&rig, &stray, &host, service), "others are not ours to keep from the host");
    let closed = || {
        let pairs = [
            (one, global(bob)),
            (bob, global(one)),
            (bob, global(two)),
            (&stray, global(bob)),
            (bob, global(&stray)),
            (one, linked(&other)),
            (bob, linked(&first)),
            (&stray, linked(&other)),
        ];
        let open: Vec<_> = pairs.iter().filter(|(from, to)| reaches(&rig, from, to, 8000)).collect();
        assert!(open.is_empty(), "{open:?}: {}", chains_of(&rig, "ip6tables"));
        !reaches(&rig, one, &host, service)
    };
    assert!(closed(), "{}", chains_of(&rig, "ip6tables"));
    assert_eq!(rig.ssh_ok(&other, "echo here"), "here");
    let mut answer = String::new();
    TcpStream::connect(format!("[{}]:8000", global(bob))).unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.contains(HELLO), "the node reaches them all");

    // An address that a berth chose by itself, as one does that hears a router.
    let chosen = global(bob).replace("fd00:", "fd01:");
    let pid = rig.inspect(bob)["State"]["Pid"].to_string();
    run("nsenter", &["-t", &pid, "-n", "ip", "addr", "add", &format!("{chosen}/64"), "dev", "eth0", "nodad"]);
    let to_one = global(one).replace("fd00:", "fd01:");
    let pid = rig.inspect(one)["State"]["Pid"].to_string();
    run("nsenter", &["-t", &pid, "-n", "ip", "addr", "add", &format!("{to_one}/64"), "dev", "eth0", "nodad"]);
    assert!(!reaches(&rig, one, &chosen, 8000) && !reaches(&rig, bob, &to_one, 8000));

    run("ip6tables", &["--wait", "-F", &rules.0]);
    until("rules that are back", PATIENCE, || {
        chains_of(&rig, "ip6tables").contains(&format!("-A {} ", rules.0)).then_some(())
    });
    assert!(closed());
    let bobs = global(bob);
    rig.kill_agent();
    let path = rig.path("berth.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("between-berths = \"closed\"", "between-berths = \"open\"")).unwrap();
    rig.start_agent();
    until("no rules of ours", PATIENCE, || {
        ["iptables", "ip6tables"].iter().all(|tool| chains_of(&rig, tool).is_empty()).then_some(())
    });
    assert!(reaches(&rig, one, &bobs, 8000));
    // Its berths have to leave the network before that goes.
    for berth in ["alice/one", "alice/two", "bob/dev"] {
        rig.ok(&["release", berth]);
    }
    rig.docker(&["rm", "-f", &stray]);
}

/// Rules of the other kind, in the tables that old systems have, beside those of the engine that all tests share.
struct Legacy {
    tools: tempfile::TempDir,
    bridge: String,
}

impl Legacy {
    /// `None` where there is only one kind.
    fn find() -> Option<Self> {
        crate::machine::variable("BERTH_TEST_DOCKER")?;
        if run("iptables", &["-V"]).contains("legacy") {
            eprintln!("the other tests are about iptables-legacy already");
            return None;
        }
        let tools = tempfile::tempdir().unwrap();
        for name in ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"] {
            std::os::unix::fs::symlink(Self::program("legacy"), tools.path().join(name)).unwrap();
        }
        Some(Self { tools, bridge: String::new() })
    }

    /// One for all of the tools, which do what they are called.
    fn program(kind: &str) -> String {
        run("sh", &["-c", &format!("command -v xtables-{kind}-multi")])
    }

    /// A program for which the tools are the old ones, wherever it looks for them.
    fn around(command: &Command) -> Command {
        let mut around = Command::new("unshare");
        let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        around.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        around.args([Self::program("legacy"), Self::program("nft")]);
        around.arg(command.get_program()).args(command.get_args()).env_remove("BERTH_CONFIG");
        around
    }

    /// The engine that all tests share drops what it does not know.
    fn let_pass(&mut self, bridge: &str) {
        bridge.clone_into(&mut self.bridge);
        run("iptables", &["--wait", "-I", "DOCKER-USER", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]);
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        let bridge = &self.bridge;
        let _ = Command::new("iptables")
            .args(["--wait", "-D", "DOCKER-USER", "-i", bridge, "-o", bridge, "-j", "ACCEPT"])
            .output();
        for table in ["nat", "filter"] {
            for what in ["-F", "-X"] {
                let _ = Command::new("iptables-legacy").args(["--wait", "-t", table, what]).output();
            }
        }
    }
}

#[test]
fn rules_are_kept_where_the_engine_uses_the_old_tables_alone() {
    let Some(mut legacy) = Legacy::find() else { return };
    let engine = OwnEngine::with_rules(&json!({}), Some(legacy.tools.path().to_owned()));
    legacy.let_pass(engine.bridge());
    let Some(mut rig) = Rig::with(Setup { docker: Some(engine.socket()), ..Setup::default() }) else {
        return;
    };
    rig.kill_agent();
    let path = rig.path("berth.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("between-berths = \"open\"", "between-berths = \"closed\"")).unwrap();
    let agent = Legacy::around(&rig.agent_command());
    rig.start_agent_as(agent);
    let [first, second] = ["one", "two"].map(|name| rig.request(&["--name", name, "--cards", "1"]));
    let other = rig.json(&["request", "--user", "bob", "--cards", "1"]);
    let [one, two, bob] = [&first, &second, &other].map(container);
    for name in [one, two, bob] {
        serve(&rig, name);
    }
    until("an answer to the other berth of its owner", PATIENCE, || {
        reaches(&rig, one, &address(&rig, two), 8000).then_some(())
    });
    let rules = chains_of(&rig, "iptables-legacy");
    assert!(
        !reaches(&rig, one, &address(&rig, bob), 8000) && !reaches(&rig, bob, &address(&rig, one), 8000),
        "{rules}"
    );
    assert!(rules.contains("-A DOCKER-USER -j BERTH-") && chains(&rig).is_empty(), "{rules}");
    run("iptables-legacy", &["--wait", "-F", "DOCKER-USER"]);
    until("a jump that is back", PATIENCE, || {
        chains_of(&rig, "iptables-legacy").contains("-A DOCKER-USER -j BERTH-").then_some(())
    });
    assert_eq!(rig.ssh_ok(&other, "echo here"), "here");
}

/// Docker's forwarder ends for good when it cannot accept a connection. With BERTH_TEST_CONNECTIONS=7772 it is as it was
/// found; without, its limit is lowered to what a few use up.
#[test]
fn a_port_comes_back_after_more_connections_than_its_forwarder_bears() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let count: usize = std::env::var("BERTH_TEST_CONNECTIONS").map_or(60, |count| count.parse().unwrap());
    let forwarder = run("pgrep", &["-f", &format!("docker-proxy .*-host-port {} ", berth["port"])]);
    run("prlimit", &["--pid", forwarder.trim(), &format!("--nofile={0}:{0}", count * 2)]);
    run("prlimit", &["--pid", &std::process::id().to_string(), &format!("--nofile={}", count * 2 + 200)]);
    let port = u16::try_from(berth["port"].as_u64().unwrap()).unwrap();
    let mut open = Vec::new();
    for _ in 0..count + 20 {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => open.push(stream),
            Err(_) => break,
        }
    }
    until("the forwarder's end", PATIENCE, || {
        (!std::path::Path::new("/proc").join(forwarder.trim()).exists()).then_some(())
    });
    drop(open);
    until("the port again", Duration::from_mins(1), || {
        let events = rig.events();
        let told = |kind: &str| events.iter().any(|event| event["kind"] == kind);
        (told("berth.port-closed") && told("berth.recovered")).then_some(())
    });
    assert_eq!(rig.ssh_ok(&berth, "echo here"), "here");
}
