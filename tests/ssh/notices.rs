//! What the agent says of a lease, in terminals and at login; and nowhere else.

use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The file as the agent replaces it.
fn put(server: &Server, message: Option<(i64, &str)>) {
    let message =
        message.map(|(id, text)| serde_json::json!({"id": id, "at": "2026-01-02T03:04:05Z", "text": text}));
    let file = serde_json::json!({
        "schema": 1, "berth": "alice/dev", "cards": [3, 5], "since": "2026-01-02T03:04:05Z",
        "until": "2100-01-02T03:04:05Z", "lease": 28800, "stops_at": null, "reason": null, "waiting": 1,
        "storage": "/home/ma-user/work", "utc_offset": 0, "message": message,
    });
    let info = server.dir.path().join("info");
    fs::write(info.join(".new"), file.to_string()).unwrap();
    fs::rename(info.join(".new"), info.join("lease.json")).unwrap();
}

/// A session that runs until its input ends, and what it has shown so far.
struct Open {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Open {
    fn start(server: &Server, options: &[&str], command: &[&str]) -> Self {
        let mut child = server
            .client(options, command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (kept, mut output) = (Arc::clone(&shown), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn shows(&self, text: &str) {
        wait_until(&format!("{text:?} is shown"), || self.shown().contains(text));
    }

    fn send(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// All that it showed, after the end of its input.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        self.shown()
    }
}

#[test]
fn a_message_comes_once_into_every_terminal_and_into_nothing_else() {
    let server = Setup::default().start();
    put(&server, Some((1, "from before")));
    let mux = server.dir.path().join("mux").display().to_string();
    let together = ["-o", "ControlMaster=auto", "-o", &format!("ControlPath={mux}")];
    let shell = Open::start(&server, &[&["-tt"], &together[..]].concat(), &[]);
    let mut command = Open::start(&server, &[&["-tt"], &together[..]].concat(), &["echo ready; cat"]);
    let busy = Open::start(&server, &["-tt"], &["echo ready; while :; do echo busy; sleep 0.01; done"]);
    let plain = Open::start(&server, &[], &["echo ready; cat"]);
    let both_ways = Open::start(&server, &[], &["echo ready; cat >/dev/null; echo to stderr >&2"]);
    shell.shows("alice/dev");
    for open in [&command, &busy, &plain, &both_ways] {
        open.shows("ready");
    }
    let told = Instant::now();
    put(&server, Some((2, "alice/dev stops at 15:20 (in 15 min): bob waits for 2 cards")));
    let line = "\r\n[berth] alice/dev stops at 15:20 (in 15 min): bob waits for 2 cards\r\n";
    for terminal in [&shell, &command, &busy] {
        terminal.shows(line);
    }
    assert!(told.elapsed() < PATIENCE / 4, "{:?}", told.elapsed());
    // Whoever comes later reads it in the text at login, and the file may change for other reasons.
    let later = Open::start(&server, &["-tt"], &["echo ready; cat"]);
    later.shows("ready");
    put(&server, Some((2, "alice/dev stops at 15:20 (in 15 min): bob waits for 2 cards")));
    put(&server, Some((3, "alice/dev is not stopped")));
    later.shows("[berth] alice/dev is not stopped\r\n");
    command.shows("[berth] alice/dev is not stopped\r\n");
    command.send("\u{4}");
    let mut busy = busy;
    busy.child.kill().unwrap();
    for (text, count) in [(shell.shown(), 2), (command.end(), 2), (later.shown(), 1)] {
        assert_eq!(text.matches("[berth]").count(), count, "{text}");
        assert!(!text.contains("from before"), "{text}");
    }
    assert_eq!(plain.end(), "ready\n");
    assert_eq!(both_ways.end(), "ready\n");
}

#[test]
fn a_line_comes_between_sequences_and_characters() {
    let server = Setup::default().start();
    put(&server, None);
    let go = server.dir.path().join("go").display().to_string();
    // The first half of a sequence stands there until the file has been replaced; then its rest comes.
    let script =
        format!("printf 'ready\\033[3'; while [ ! -e {go} ]; do sleep 0.05; done; printf '8mrest'; cat");
    let mut open = Open::start(&server, &["-tt"], &[&script]);
    open.shows("ready\u{1b}[3");
    put(&server, Some((1, "told")));
    std::thread::sleep(Duration::from_millis(200));
    fs::write(&go, "").unwrap();
    open.shows("[berth] told");
    open.send("\u{4}");
    let shown = open.end();
    assert!(shown.contains("ready\u{1b}[38mrest"), "{shown:?}");
}

#[test]
fn the_text_at_login_is_for_shells_with_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup { home: Some(home.path()), ..Setup::default() }.start();
    let text = |options: &[&str], command: &[&str]| {
        let mut open = Open::start(&server, options, command);
        open.send("echo do''ne; exit\n");
        open.shows("done");
        open.end()
    };
    // Nothing was said yet: there is nothing to show.
    assert!(!text(&["-tt"], &[]).contains("lease"));
    put(&server, None);
    let shown = text(&["-tt"], &[]);
    let first = "berth alice/dev: cards 3,5 of this node. Its lease ends at 2 Jan, 03:04 (in ";
    assert!(shown.starts_with(first), "{shown:?}");
    assert!(shown.contains(
        "\r\nWhat is in /home/ma-user/work stays for ever, all else until the berth is released.\r\n"
    ));
    assert!(shown.contains("\r\n1 request waits for cards: "), "{shown:?}");
    for (options, command) in [(&["-tt"][..], &["sh"][..]), (&[], &["sh"]), (&[], &[])] {
        let shown = text(options, command);
        assert!(!shown.contains("lease"), "{options:?} {command:?}: {shown:?}");
    }
    fs::write(home.path().join(".hushlogin"), "").unwrap();
    assert!(!text(&["-tt"], &[]).contains("lease"));
    fs::remove_file(home.path().join(".hushlogin")).unwrap();
    assert!(text(&["-tt"], &[]).contains("lease"));
}

/// A hostile file says nothing, and stops no session.
#[test]
fn a_file_that_is_none_of_the_agents_stops_nobody() {
    let server = Setup::default().start();
    let path = server.dir.path().join("info/lease.json");
    let answers = |server: &Server| {
        let mut open = Open::start(server, &["-tt"], &[]);
        open.send("echo do''ne; exit\n");
        open.shows("done");
        assert!(!open.end().contains("berth "));
    };
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    answers(&server);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    answers(&server);
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b'['; 1 << 20]).unwrap();
    answers(&server);
    assert!(server.log().lines().all(|line| !line.contains("panicked")), "{}", server.log());
}
