//! Who may do what: root, members of berth-admin, registered users, everybody else. The kernel says who it is.

use super::flood::Flood;
use crate::rig::{ALICE, BERTH, BOB, Rig, STRANGER, Setup};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CAROL: u32 = 54_077;
const DAVE: u32 = 54_078;
const ADMINS: u32 = 54_100;

#[test]
fn users_have_their_own_things_only() {
    let Some(rig) = Rig::start() else { return };
    rig.ok(&["request", "--user", "bob", "--cards", "1", "--name", "his"]);
    let made = rig.berth_as(ALICE, &["request", "--cards", "1", "--name", "hers"]);
    assert_eq!(made.code, 0, "{made:?}");
    let sees = |uid: u32, args: &[&str]| {
        let ran = rig.berth_as(uid, args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    };
    let list = sees(ALICE, &["list"]);
    assert!(list.contains("alice/hers") && !list.contains("bob"), "{list}");
    let list = sees(ALICE, &["list", "--all", "--json"]);
    // In quotes: a host key may have any letters.
    assert!(!list.contains("\"bob\"") && !list.contains("\"his\""), "{list}");
    let events = sees(ALICE, &["events"]);
    assert!(events.contains("alice/hers") && !events.contains("bob"), "{events}");
    let users = sees(ALICE, &["user", "list"]);
    assert!(users.contains("alice") && !users.contains("bob"), "{users}");
    // Who has a card is everybody's business.
    assert!(sees(ALICE, &["cards"]).contains("berth bob/his"));
    assert!(sees(BOB, &["show", "his"]).contains("bob/his (live)"));
    assert!(sees(ALICE, &["image", "list"]).contains("base"));
    for args in [
        &["image", "import", "/etc/passwd", "--name", "x"][..],
        &["image", "add", "x", "busybox"],
        &["image", "pull", "x", "busybox"],
        &["image", "remove", "base"],
        &["user", "add", "eve", "--key", &format!("{}.pub", rig.key("eve"))],
        &["user", "remove", "alice"],
    ] {
        let said = rig.refused_as(ALICE, 3, args);
        assert!(said.contains("is for administrators"), "{args:?}: {said}");
    }
    for args in [&["request", "--user", "bob", "--cards", "1"][..], &["release", "bob/his"]] {
        let said = rig.refused_as(ALICE, 3, args);
        assert!(said.contains("bob's berths are not yours"), "{said}");
    }
    assert_eq!(rig.berth_as(ALICE, &["release", "hers"]).code, 0);
}

/// Each change of a key is an event for ever, and each key is read at each login.
#[test]
fn a_user_is_rationed_and_an_administrator_is_not() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let key = format!("{}.pub", rig.key("more"));
    let add = || rig.berth_as(ALICE, &["user", "key", "add", "alice", &key]);
    let refused = (0..100).map(|_| add()).find(|ran| ran.code != 0).unwrap();
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(
        refused.err.contains("too many changes of keys") && refused.err.contains("try again in "),
        "{refused:?}"
    );
    rig.ok(&["user", "key", "add", "alice", &key]);
    assert_eq!(rig.berth_as(BOB, &["user", "key", "add", "bob", &key]).code, 0);
    let changes = rig.events().iter().filter(|event| event["kind"] == "key.added").count();
    assert!(changes < 40, "{changes}");
}

#[test]
fn strangers_get_nothing() {
    let Some(rig) = Rig::start() else { return };
    for args in [
        &["request", "--cards", "1"][..],
        &["request", "--user", "alice", "--cards", "1"],
        &["list"],
        &["cards"],
        &["events"],
        &["user", "list"],
        &["image", "list"],
        &["show", "x"],
        &["release", "alice/x"],
    ] {
        let said = rig.refused_as(STRANGER, 3, args);
        assert!(said.contains(&format!("uid {STRANGER} is not a user of berth")), "{said}");
        assert!(said.contains("help: ask an administrator: berth user add"), "{said}");
    }
    // A user who is removed is a stranger from then on.
    rig.ok(&["user", "remove", "bob"]);
    rig.refused_as(BOB, 3, &["list"]);
    // Nobody but root reads what is the agent's.
    let state = rig.text("state");
    for path in ["ledger.db", "berths"] {
        let look =
            ["--reuid", "54009", "--regid", "54009", "--clear-groups", "cat", &format!("{state}/{path}")];
        let read = crate::machine::try_run(Command::new("setpriv").args(look));
        assert!(!read.status.success(), "{path} can be read by anybody");
    }
}

/// Whole calls, each from one of so many uids, and nobody reads the answers; the number that were let in is printed. Held
/// until it is killed.
const CALLS: &str = r#"
import os, socket, sys, time
path, first, uids, each = sys.argv[1], *map(int, sys.argv[2:])
os.setgroups([])
held = []
for n in range(uids * each):
    os.seteuid(first + n % uids)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    os.seteuid(0)
    s.sendall(b"GET /v1/berths HTTP/1.1\r\nhost: berth\r\n\r\n")
    held.append(s)
print(len(held), flush=True)
for s in held:
    s.settimeout(60)
    try:
        s.recv(1 << 16)
    except ConnectionResetError:
        pass
print("answered", flush=True)
"#;

/// A directory service that is away, as LDAP is: getent hangs for as long as a file is there.
#[test]
fn eight_hundred_callers_of_a_directory_that_hangs_keep_nobody_waiting_who_was_known() {
    let Some(mut rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let key = format!("{}.pub", rig.key("alice"));
    let users: Vec<u32> = (54_200..54_212).collect();
    for uid in &users {
        let (name, number) = (format!("u{uid}"), uid.to_string());
        rig.ok(&["user", "add", &name, "--key", &key, "--uid", &number]);
    }
    rig.kill_agent();
    let real = crate::machine::run("sh", &["-c", "command -v getent"]);
    std::fs::copy(real.trim(), rig.path("getent-real")).unwrap();
    let script = format!(
        "#!/bin/sh\n[ -e {0}/away ] && exec sleep 100\nexec {0}/getent-real \"$@\"\n",
        rig.dir.path().display()
    );
    std::fs::write(rig.path("getent"), script).unwrap();
    std::fs::set_permissions(rig.path("getent"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount --bind \"$1/getent\" \"$2\" && exec setpriv --pdeathsig KILL \"$0\" --config \"$1/berth.toml\" agent");
    command.arg(BERTH).arg(rig.dir.path()).arg(real.trim()).stdin(Stdio::null());
    rig.start_agent_as(command);
    assert_eq!(rig.berth_as(BOB, &["list"]).code, 0);
    std::fs::write(rig.path("away"), "").unwrap();

    let call = |first: u32, uids: usize, each: usize| {
        let mut python = Command::new("prlimit");
        python.args(["--nofile=4096:4096", "python3", "-c", CALLS]).arg(rig.path("run/berth.sock"));
        python.args([first.to_string(), uids.to_string(), each.to_string()]);
        let mut python = python.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), (uids * each).to_string());
        (Flood(python), lines)
    };
    let began = Instant::now();
    let mut known = call(users[0], users.len(), 40);
    let strangers = call(100_000, 320, 1);
    let timed = |what: &str, uid: Option<u32>| {
        let began = Instant::now();
        let ran = uid.map_or_else(|| rig.berth(&["list"]), |uid| rig.berth_as(uid, &["list"]));
        let took = began.elapsed();
        eprintln!("{what}: {took:?} beside 800 callers");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        took
    };
    let waited = [timed("root", None), timed("a user known before", Some(BOB))];
    // One whose account was not looked for yet waits for getent's time at most.
    let first = timed("a user for the first time", Some(ALICE));
    assert!(waited.iter().all(|took| *took < Duration::from_secs(2)), "{waited:?}");
    assert!(first < Duration::from_secs(8), "{first:?}");
    let mut line = String::new();
    known.1.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "answered");
    let all = began.elapsed();
    eprintln!("all 480 calls of users were answered after {all:?}");
    assert!(all < Duration::from_secs(30), "{all:?}");
    assert!(rig.log().contains("getent does not answer"), "{}", rig.log());
    drop((known, strangers));
}

/// The agent sees accounts of the test's own: the machine's are not touched.
#[test]
fn members_of_the_group_administer() {
    let Some(mut rig) = Rig::with(Setup { users: false, ..Setup::default() }) else { return };
    rig.kill_agent();
    let accounts = |name: &str, lines: &[String]| {
        let text = std::fs::read_to_string(format!("/etc/{name}")).unwrap();
        std::fs::write(rig.path(name), format!("{}\n{}\n", text.trim_end(), lines.join("\n"))).unwrap();
    };
    let account = |name: &str, uid: u32| format!("{name}:x:{uid}:{uid}::/nonexistent:/bin/sh");
    accounts("passwd", &[account("carol", CAROL), account("dave", DAVE)]);
    accounts("group", &[format!("berth-admin:x:{ADMINS}:carol")]);
    let script = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group && \
                  exec setpriv --pdeathsig KILL \"$0\" --config \"$1/berth.toml\" agent";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, BERTH]).arg(rig.dir.path());
    command.stdin(Stdio::null());
    rig.start_agent_as(command);

    // All places of strangers are taken; she has not asked anything of this agent yet, and is none.
    let floods: Vec<Flood> = (0..4).map(|n| Flood::start(&rig, 54_020 + n, 8, 10)).collect();
    let stranger = rig.berth_as(STRANGER, &["list"]);
    assert_eq!(stranger.code, 7, "{stranger:?}");
    let list = rig.berth_as(CAROL, &["list"]);
    assert_eq!(list.code, 0, "{list:?}");
    drop(floods);

    let key = format!("{}.pub", rig.key("dave"));
    let added = rig.berth_as(CAROL, &["user", "add", "dave", "--key", &key]);
    assert_eq!(added.code, 0, "{added:?}\n{}", rig.log());
    assert!(added.out.starts_with(&format!("user dave (uid {DAVE})")), "the account of that name: {added:?}");
    let made = rig.berth_as(DAVE, &["request", "--cards", "1"]);
    assert_eq!(made.code, 0, "{made:?}");
    let said = rig.refused_as(DAVE, 3, &["image", "remove", "base"]);
    assert!(said.contains("is for administrators"), "{said}");
    assert!(rig.berth_as(CAROL, &["list"]).out.contains("dave/dev"));
    let released = rig.berth_as(CAROL, &["release", "dave/dev"]);
    assert_eq!(released.code, 0, "{released:?}");
    let events = rig.events();
    let last = events.iter().rfind(|event| event["kind"] == "berth.released").unwrap();
    assert_eq!(last["actor"], "carol", "{last}");
    // She administers, and is not herself a user.
    let said = rig.refused_as(CAROL, 2, &["request", "--cards", "1"]);
    assert!(said.contains("carol is not a user of berth"), "{said}");
}

#[test]
fn an_account_that_is_made_later_is_linked_then() {
    let Some(rig) = Rig::start() else { return };
    // As PowerShell writes it: UTF-16 with its mark and CRLF.
    let public = std::fs::read_to_string(format!("{}.pub", rig.key("zhang"))).unwrap();
    let line = format!("\u{feff}{} of zhang san\r\n", public.trim_end());
    let bytes: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(rig.path("windows.pub"), bytes).unwrap();
    let added = rig.berth(&["user", "add", "zhang_san", "--key", &rig.text("windows.pub")]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.err.contains("berth user set zhang_san --uid UID"), "{added:?}");
    assert!(added.out.contains(" zhang of zhang san\n"), "the whole comment: {added:?}");
    let refused = rig.refused_as(STRANGER, 3, &["list"]);
    assert!(refused.contains(&format!("berth user set NAME --uid {STRANGER}")), "{refused}");
    let set = |account: &str| rig.json(&["user", "set", "zhang_san", "--uid", account]);
    assert_eq!(set(&STRANGER.to_string())["uid"], STRANGER);
    assert_eq!(rig.berth_as(STRANGER, &["list"]).code, 0);
    let berth = rig.berth_as(STRANGER, &["request", "--cards", "1", "--json"]);
    let berth: serde_json::Value = serde_json::from_str(&berth.out).unwrap();
    assert_eq!(rig.ssh_with(&berth, &rig.key("zhang"), "true").status.code(), Some(0), "{}", rig.log());
    assert!(
        rig.berth_as(STRANGER, &["show", "zhang_san/dev"]).out.contains("berth      zhang_san/dev (live)")
    );
    for account in ["0", &ALICE.to_string()] {
        rig.refused(3, &["user", "set", "zhang_san", "--uid", account]);
    }
    rig.refused(2, &["user", "set", "zhang_san", "--same-name"]);
    rig.refused_as(STRANGER, 3, &["user", "set", "zhang_san", "--uid", "54010"]);
    assert!(rig.json(&["user", "set", "zhang_san", "--no-uid"])["uid"].is_null());
    assert_eq!(rig.berth_as(STRANGER, &["list"]).code, 3);
    // From standard input.
    let mut command = rig.command(&["user", "key", "add", "zhang_san", "-"]);
    let file = std::fs::File::open(format!("{}.pub", rig.key("carol"))).unwrap();
    let output = crate::machine::try_run(command.stdin(file));
    assert!(output.status.success(), "{}", crate::machine::both(&output));
    assert_eq!(rig.json(&["user", "show", "zhang_san"])["keys"].as_array().unwrap().len(), 2);
}
