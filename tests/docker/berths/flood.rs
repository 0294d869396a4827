//! One account floods the agent's socket: others and root go on, and the agent gives back what it took.

use crate::machine::until;
use crate::rig::{ALICE, BOB, Rig, Setup};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections, each with the beginning of a request that never ends; held until the program is killed.
const FLOOD: &str = r#"
import os, socket, sys, time
os.setgroups([])
os.setresgid(*[int(sys.argv[4])] * 3)
os.setresuid(*[int(sys.argv[4])] * 3)
held = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    try:
        s.connect(sys.argv[1])
        s.sendall(b"GET /v1/berths HTTP/1.1\r\nhost: berth\r\n" + b"x: " + b"y" * int(sys.argv[3]))
    except OSError:
        pass
    held.append(s)
print(len(held), flush=True)
time.sleep(100)
"#;

pub struct Flood(pub Child);

impl Flood {
    /// Returns when all of them were made.
    pub fn start(rig: &Rig, uid: u32, connections: u32, bytes: u32) -> Self {
        let (id, most) = (uid.to_string(), format!("--nofile={0}:{0}", connections + 50));
        let mut command = Command::new("prlimit");
        command.args([&most, "python3", "-c", FLOOD]).arg(rig.path("run/berth.sock"));
        command.args([connections.to_string(), bytes.to_string(), id]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), connections.to_string());
        Self(child)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// KiB.
fn resident(rig: &Rig) -> u64 {
    let pid = rig.agent.as_ref().unwrap().id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn one_account_with_thousands_of_connections_stops_nobody_else() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let before = resident(&rig);
    for (connections, bytes) in [(3000, 15_000), (3000, 400_000), (19_000, 10)] {
        let flood = Flood::start(&rig, ALICE, connections, bytes);
        let began = Instant::now();
        rig.ok(&["list"]);
        let bob = rig.berth_as(BOB, &["list"]);
        assert_eq!(bob.code, 0, "{bob:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let peak = resident(&rig);
        drop(flood);
        until("alice's turn", Duration::from_secs(20), || {
            (rig.berth_as(ALICE, &["list"]).code == 0).then_some(())
        });
        let after = resident(&rig);
        eprintln!(
            "{connections} connections of {bytes} bytes: {before} KiB before, {peak} at peak, {after} after"
        );
        assert!(peak < before + (32 << 10) && after < before + (32 << 10), "{before} {peak} {after}");
    }
}

#[test]
fn whoever_has_too_many_calls_is_told_so() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    // The agent waits for the rest of each for ten seconds.
    let calls = Flood::start(&rig, ALICE, 70, 10);
    let said = until("a refusal", Duration::from_mins(1), || {
        let ran = rig.berth_as(ALICE, &["list"]);
        (ran.code != 0).then_some(ran)
    });
    assert_eq!(said.code, 7, "{said:?}");
    assert!(said.err.contains("you have 64 calls to the agent open"), "{said:?}");
    assert_eq!(rig.berth_as(BOB, &["list"]).code, 0);
    rig.ok(&["list"]);
    drop(calls);
    until("a place", Duration::from_secs(10), || (rig.berth_as(ALICE, &["list"]).code == 0).then_some(()));
}

/// Each asks for the events and reads none of them.
const STALLED: &str = r#"
import os, socket, sys, time
os.setgroups([])
os.setresgid(*[int(sys.argv[3])] * 3)
os.setresuid(*[int(sys.argv[3])] * 3)
held = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/events?after=0&follow=true HTTP/1.1\r\nhost: berth\r\n\r\n")
    # Its answer has begun.
    held.append((s, s.recv(15)))
print(sum(answer == b"HTTP/1.1 200 OK" for _, answer in held), flush=True)
time.sleep(1000)
"#;

fn stalled(rig: &Rig, uid: u32, readers: u32) -> (Flood, u32) {
    let mut command = Command::new("python3");
    command.args(["-c", STALLED]).arg(rig.path("run/berth.sock"));
    command.args([readers.to_string(), uid.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Flood(child), line.trim().parse().unwrap())
}

#[test]
fn readers_of_events_who_stand_still_cost_little() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    // As long as texts can be, and as many as a long life leaves.
    let mut ledger = rusqlite::Connection::open(rig.path("state/ledger.db")).unwrap();
    let transaction = ledger.transaction().unwrap();
    let text = "字".repeat(2000);
    for _ in 0..5000 {
        let add = "INSERT INTO events (at, kind, actor, owner, text) \
                   VALUES ('2026-01-01T00:00:00Z', 'ssh.login', 'alice', 'alice', ?1)";
        transaction.execute(add, [&text]).unwrap();
    }
    transaction.commit().unwrap();
    let before = resident(&rig);
    let (alice, answered) = stalled(&rig, ALICE, 30);
    assert_eq!(answered, 8, "a user has so many readers");
    let (root, answered) = stalled(&rig, 0, 60);
    assert_eq!(answered, 60);
    // One who reads gets all of them, the newest last.
    let began = Instant::now();
    let out = rig.ok(&["events", "--last", "5100", "--json"]);
    assert!(out.lines().count() > 5000);
    let after = resident(&rig);
    eprintln!("68 readers: {before} KiB before, {after} after; all events in {:?}", began.elapsed());
    assert!(after < before + (64 << 10), "{before} {after}");
    assert_eq!(rig.berth_as(BOB, &["list"]).code, 0);
    drop((alice, root));
    until("alice's place", Duration::from_secs(10), || {
        (rig.berth_as(ALICE, &["events", "--last", "1"]).code == 0).then_some(())
    });
}
