//! Wrong words: each is refused with its exit code and one clear sentence, and nothing is half done.
//!
//! `Rig::refused` compares berths, users, images, containers and directories before and after.

use crate::machine::run;
use crate::rig::{ALICE, BOB, Rig, Setup};
use std::net::TcpListener;

#[test]
fn wishes_that_make_no_sense() {
    let Some(rig) = Rig::start() else { return };
    let ask = |code: i32, args: &[&str]| rig.refused(code, &[&["request", "--user", "alice"], args].concat());
    for count in ["9", "-1", "99999999999"] {
        let said = ask(2, &["--cards", count]);
        assert!(
            said.starts_with(&format!("berth: {count} cards cannot be asked for; this node has 8\n")),
            "{said}"
        );
    }
    for none in ["", ",", " "] {
        let ran = rig.berth(&["request", "--user", "alice", "--card-ids", none]);
        assert!(ran.code == 2 && ran.err.contains("write numbers as 0,1 or 4-7"), "{none:?}: {ran:?}");
    }
    let said = ask(2, &["--card-ids", "1,2,1"]);
    assert!(said.starts_with("berth: card 1 is named twice\n"), "{said}");
    for id in ["8", "-1", "4294967296"] {
        let said = ask(2, &["--card-ids", id]);
        assert!(
            said.contains(&format!("berth: there is no card {id}; this node has 0,1,2,3,4,5,6,7\n")),
            "{said}"
        );
    }
    for name in ["../x", "a b", "-x", "A", "a/b", "", "ä", "x\n", &"n".repeat(33), "x;reboot", "$(id)"] {
        let said = ask(2, &["--cards", "1", &format!("--name={name}")]);
        assert!(
            said.starts_with("berth: berth name ") && said.contains("cannot be used; use 1 to 32"),
            "{said}"
        );
    }
    let said = ask(2, &["--cards", "1", "--image", "nope"]);
    assert!(said.contains("nope") && said.contains("base"), "names the images there are: {said}");
    ask(2, &["--cards", "1", "--image", "../../etc/passwd"]);
    let said = ask(2, &["--cards", "1", "--lease", "0s"]);
    assert!(said.contains("a lease of 0 is over at once"), "{said}");
    let said = ask(3, &["--cards", "1", "--lease", "31days"]);
    assert!(said.contains("the longest lease on this node is"), "{said}");
    for cpus in ["0", "-1", "1e9", "nan", "inf"] {
        let said = ask(2, &["--cards", "1", "--cpus", cpus]);
        assert!(said.contains("CPUs cannot be asked for"), "{said}");
    }
    for memory in ["1K", "4096TiB"] {
        assert!(ask(2, &["--cards", "1", "--memory", memory]).contains("of memory"));
    }
    let said = rig.refused(2, &["request", "--user", "carol", "--cards", "1"]);
    assert!(said.starts_with("berth: there is no user carol\n"), "{said}");
    let said = rig.refused(2, &["request", "--cards", "1"]);
    assert!(said.contains("root is not a user of berth"), "{said}");
    rig.refused(2, &["request", "--user", "../etc", "--cards", "1"]);
    for name in ["nope", "alice/nope", "carol/nope", "../../users", "a/b/c", "", "x?y", "alice/"] {
        for verb in ["show", "release", "ssh", "ssh-config"] {
            rig.refused(2, &[verb, name]);
        }
    }
}

#[test]
fn a_name_or_a_card_that_is_in_use() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "0", "--name", "train"]);
    let said = rig.refused(3, &["request", "--user", "alice", "--cards", "1", "--name", "train"]);
    assert!(said.contains("berth: alice has a berth train already\n"), "{said}");
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "0"]);
    assert!(said.contains("berth: card 0 is held by berth alice/train until 20"), "{said}");
    // The other user may have a berth of that name.
    rig.ok(&["request", "--user", "bob", "--cards", "1", "--name", "train"]);
    let said = rig.refused(2, &["release", "train"]);
    assert!(said.contains("2 users have a berth train") && said.contains("alice/train, bob/train"), "{said}");
    let said = rig.refused(3, &["user", "remove", "alice"]);
    assert!(said.contains("alice has berth train on card 0"), "{said}");
}

#[test]
fn what_belongs_to_somebody_else() {
    let Some(rig) = Rig::start() else { return };
    rig.request(&["--cards", "1", "--name", "train"]);
    for args in [
        &["show", "alice/train"][..],
        &["release", "alice/train"],
        &["ssh", "alice/train"],
        &["ssh-config", "alice/train"],
        &["request", "--user", "alice", "--cards", "1"],
        &["user", "show", "alice"],
        &["user", "key", "add", "alice", &format!("{}.pub", rig.key("bob"))],
    ] {
        let said = rig.refused_as(BOB, 3, args);
        assert!(said.contains("alice's berths are not yours"), "{args:?}: {said}");
    }
    // By its short name it is not even there.
    rig.refused_as(BOB, 2, &["show", "train"]);
    rig.refused_as(BOB, 2, &["release", "train"]);
}

#[test]
fn keys_that_are_none() {
    let Some(rig) = Rig::start() else { return };
    let public = std::fs::read_to_string(format!("{}.pub", rig.key("carol"))).unwrap();
    let long = "x".repeat(70_000);
    for (what, content, text) in [
        ("garbage", "hello world", "public key"),
        ("empty", "", "there is no public key here"),
        ("cut", &public[..40], "public key"),
        ("options", &format!("command=\"sh\" {public}"), "options before the key are not supported"),
        ("long", &long, "too long"),
    ] {
        let file = rig.text(&format!("{what}.pub"));
        std::fs::write(&file, content).unwrap();
        let said = rig.refused(2, &["user", "add", "carol", "--key", &file]);
        assert!(said.contains(text), "{what}: {said}");
        rig.refused(2, &["user", "key", "add", "alice", &file]);
    }
    let said = rig.refused(2, &["user", "add", "carol", "--key", &rig.key("carol")]);
    assert!(said.contains("this is a private key: keep it to yourself"), "{said}");
    assert!(!said.contains("PRIVATE KEY---"), "it is not repeated: {said}");
    let log = rig.log();
    assert!(!log.contains("BEGIN OPENSSH"), "nor logged: {log}");
    std::fs::write(rig.path("binary.pub"), [0u8, 159, 146, 150]).unwrap();
    rig.refused(2, &["user", "add", "carol", "--key", &rig.text("binary.pub")]);
    rig.refused(5, &["user", "add", "carol", "--key", &rig.text("none.pub")]);
    run("mkfifo", &[&rig.text("fifo.pub")]);
    rig.refused(2, &["user", "add", "carol", "--key", &rig.text("fifo.pub")]);

    let good = format!("{}.pub", rig.key("carol"));
    for name in ["../x", "a b", "Root", "", "-x"] {
        let said = rig.refused(2, &["user", "add", "--key", &good, "--", name]);
        assert!(said.contains("user name") && said.contains("--uid UID"), "{said}");
    }
    rig.refused(3, &["user", "add", "alice", "--key", &good]);
    rig.refused(3, &["user", "add", "carol", "--key", &good, "--uid", &ALICE.to_string()]);
    rig.refused(3, &["user", "add", "carol", "--key", &good, "--uid", "0"]);
    for name in ["nobody-here", "../x"] {
        rig.refused(2, &["user", "show", name]);
        rig.refused(2, &["user", "remove", name]);
    }
    rig.refused(2, &["user", "key", "remove", "alice", "SHA256:nope"]);
    rig.refused(2, &["user", "key", "remove", "alice", "nope"]);
}

#[test]
fn ports_that_are_used_up_or_taken() {
    let Some(rig) = Rig::with(Setup { ports: 2, ..Setup::default() }) else { return };
    let first = rig.slot.first_port();
    // Somebody else listens on the first one.
    let taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    assert_eq!(rig.request(&["--cards", "1"])["port"], first + 1);
    let said = rig.refused(7, &["request", "--user", "bob", "--cards", "1"]);
    assert!(
        said.contains(&format!("all 2 SSH ports of the range {first}-{} are in use", first + 1)),
        "{said}"
    );
    assert!(said.contains("widen ssh.ports in the config"), "{said}");
    drop(taken);
    assert_eq!(rig.json(&["request", "--user", "bob", "--cards", "1"])["port"], first);
    rig.ok(&["release", "alice/dev"]);
    assert_eq!(rig.request(&["--cards", "1", "--name", "again"])["port"], first + 1);
}

#[test]
fn a_request_to_the_socket_that_no_command_line_would_send() {
    let Some(rig) = Rig::start() else { return };
    let socket = rig.text("run/berth.sock");
    let send = |method: &str, path: &str, body: &str| {
        let url = format!("http://berth{path}");
        let kind = "content-type: application/json";
        let args =
            ["-sS", "--max-time", "20", "--unix-socket", &socket, "-X", method, "-H", kind, "-d", body];
        run("curl", &[&args[..], &["-w", "\n%{http_code}", "--path-as-is", &url]].concat())
    };
    let before = rig.footprint();
    let huge = format!("{{\"cards\": {{\"count\": 1}}, \"name\": \"{}\"}}", "x".repeat(300_000));
    let deep = "[".repeat(100_000);
    for (method, path, body) in [
        ("POST", "/v1/berths", "{"),
        ("POST", "/v1/berths", "[]"),
        ("POST", "/v1/berths", "{\"cards\": {\"count\": 1}, \"owner\": \"alice\", \"prvileged\": true}"),
        ("POST", "/v1/berths", "{\"cards\": {\"count\": 1.5}}"),
        ("POST", "/v1/berths", "{\"cards\": {\"count\": 1e400}}"),
        ("POST", "/v1/berths", &deep),
        ("POST", "/v1/users", "{\"name\": \"../x\", \"keys\": \"\"}"),
        ("GET", "/v1/berths?all=perhaps", ""),
        ("GET", "/v1/events?last=-1", ""),
        ("GET", "/v1/berths/../users", ""),
        ("GET", "/v1/berths/%2e%2e%2fetc", ""),
        ("DELETE", "/v1/users/%00", ""),
        ("GET", "/v1/berths/%ff", ""),
        ("DELETE", "/v1/berths/alice/%ff", ""),
        ("POST", "/v1/images/%fe/check", ""),
        ("DELETE", "/v1/cards/4294967296/ruling", ""),
        ("DELETE", "/v1/cards/-1/ruling", ""),
        ("POST", "/v1/cards/one/ruling", "{\"verdict\": \"block\", \"why\": \"x\"}"),
        ("PUT", "/v1/berths", "{}"),
        ("BREW", "/v1/version", ""),
        ("GET", "/v2/berths", ""),
        ("POST", "/v1/images/import", "{\"name\": \"x\", \"file\": \"relative.tar\"}"),
        (
            "POST",
            "/v1/berths",
            "{\"cards\": {\"ids\": [0]}, \"owner\": \"alice\", \"lease\": 18446744073709551615}",
        ),
        ("POST", "/v1/berths", "{\"cards\": {\"ids\": []}, \"owner\": \"alice\"}"),
    ] {
        let answer = send(method, path, body);
        assert!(answer.contains("\"error\""), "{method} {path} {}: {answer}", &body[..body.len().min(60)]);
        assert!(!answer.contains("\"bug\""), "{method} {path}: {answer}");
    }
    // Too long to be read at all; the answer may come before it was sent whole.
    std::fs::write(rig.path("huge"), huge).unwrap();
    let file = format!("@{}", rig.text("huge"));
    let answer = send("POST", "/v1/berths", &file);
    assert!(answer.contains("\"error\"") || answer.contains("413"), "{answer}");
    assert_eq!(before, rig.footprint());
    assert!(!rig.log().contains("panic"), "{}", rig.log());
}
