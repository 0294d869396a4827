//! Berths of different owners do not reach each other, nor the host's ports; and a published port that died comes back.

use crate::machine::{PORTS, run, until};
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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
    let rules = run("iptables", &["--wait", "-S"]);
    let short = rig.instance.get(..8).unwrap();
    let ours: Vec<&str> = rules.lines().filter(|line| line.contains(short)).collect();
    ours.join("\n")
}

/// A test that fails leaves no rules for whoever has these addresses next.
struct Rules(String);

impl Drop for Rules {
    fn drop(&mut self) {
        for (parent, chain) in [("DOCKER-USER", self.0.clone()), ("INPUT", format!("{}-IN", self.0))] {
            for args in [&["-D", parent, "-j", &chain][..], &["-F", &chain], &["-X", &chain]] {
                let _ = std::process::Command::new("iptables").arg("--wait").args(args).output();
            }
        }
    }
}

/// Something that answers on the host.
fn host_service(port: u16) -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
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
