//! Limits, events and removed keys, with the real client. Needs root and ssh.

use crate::live::Live;
use crate::rig::{Server, Setup, keygen, wait_until};
use berth::model::inside_event::{InsideEvent, What};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

fn events(server: &Server) -> Vec<InsideEvent> {
    server.events().lines().map(|line| InsideEvent::read(line).expect("every line is an event")).collect()
}

fn fingerprint(key: &std::path::Path) -> String {
    let shown = Command::new("ssh-keygen").arg("-lf").arg(key).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn logins_refusals_and_ends_are_events_with_user_key_and_address() {
    let server = Setup::default().start();
    server.text("true");
    let stranger = server.dir.path().join("stranger");
    keygen("ed25519", &stranger);
    let refused = server.client(&["-i", stranger.to_str().unwrap()], &["true"]).output().unwrap();
    assert!(!refused.status.success());
    wait_until("three events", || events(&server).len() == 3);
    let told = events(&server);
    for (event, key) in told.iter().zip([server.key(), server.key(), stranger]) {
        assert_eq!(event.user.as_deref(), Some("root"));
        assert_eq!(event.key.as_deref(), Some(fingerprint(&key).as_str()));
        assert!(event.peer.as_ref().unwrap().starts_with("127.0.0.1:"), "{event}");
    }
    assert_eq!(told[0].what, What::Login);
    assert_eq!(told[1].what, What::Disconnect { reason: "the client left".into() });
    assert!(matches!(&told[2].what, What::LoginRefused { reason } if reason.contains("is not authorized")));
    // People read the same in the log.
    assert!(server.log().contains(&told[0].to_string()), "{}", server.log());
}

#[test]
fn a_removed_keys_sessions_end_and_their_programs_are_told() {
    let server = Setup::default().start();
    let other = server.dir.path().join("other");
    keygen("ed25519", &other);
    let read = |key: &std::path::Path| std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let both = read(&server.key()) + &read(&other);
    server.replace_keys(&both);

    let mut stays = Live::start(&server, &["-i", other.to_str().unwrap()]);
    let goes = Live::start(&server, &[]);
    let told = server.dir.path().join("told");
    let script =
        format!("trap 'echo hup > {}; exit' HUP; echo ready; while :; do sleep 0.05; done", told.display());
    let mut background =
        server.client(&[], &[&script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(background.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");

    // What changes nothing for a key ends nobody.
    server.replace_keys(&format!("# a comment\n{both}"));
    std::thread::sleep(Duration::from_secs(2));
    stays.answers();
    server.replace_keys(&read(&other));
    let said = goes.ends();
    assert!(said.contains("the key that this connection logged in with was removed"), "{said}");
    background.wait().unwrap();
    wait_until("the program was told", || told.exists());
    stays.answers();
    assert!(!server.run("true").status.success());
    let removed = |event: &InsideEvent| matches!(&event.what, What::Disconnect { reason } if reason.contains("was removed"));
    wait_until("both ends are events", || events(&server).iter().filter(|event| removed(event)).count() == 2);
}

#[test]
fn more_connections_than_allowed_are_told_so() {
    let session = r#"{"schema": 1, "limits": {"connections": 2}}"#;
    let server = Setup { session, ..Setup::default() }.start();
    let mut first = Live::start(&server, &[]);
    let mut second = Live::start(&server, &[]);
    let output = server.run("true");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2 connections are logged in already: close one and try again"), "{said}");
    first.answers();
    second.answers();
    drop(first);
    wait_until("a place came free", || server.run("true").status.success());
    assert!(events(&server).iter().any(|event| matches!(&event.what, What::Limit { .. })));
}

#[test]
fn keys_are_tried_six_times_at_most() {
    let server = Setup::default().start();
    let mut options = Vec::new();
    for number in 0..7 {
        let key = server.dir.path().join(format!("wrong{number}"));
        keygen("ed25519", &key);
        options.extend(["-i".to_owned(), key.display().to_string()]);
    }
    options.extend(["-i".to_owned(), server.key().display().to_string()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let output = server.client(&options, &["true"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Too many authentication"), "{said}");
    // One key fewer than that, and still too many.
    assert!(!server.client(&options[2..], &["true"]).output().unwrap().status.success());
    // The sixth may be the right one.
    assert!(server.client(&options[4..], &["true"]).output().unwrap().status.success());
}

#[test]
fn channels_of_one_connection_are_counted() {
    let session = r#"{"schema": 1, "limits": {"channels": 2}}"#;
    let server = Setup { session, ..Setup::default() }.start();
    let control = server.dir.path().join("control");
    let path = format!("ControlPath={}", control.display());
    let mut master = server.client(&["-M", "-N", "-o", &path], &[]).stdin(Stdio::null()).spawn().unwrap();
    wait_until("the connection is there", || control.exists());
    let mut one = Live::start(&server, &["-o", &path]);
    let two = Live::start(&server, &["-o", &path]);
    let refused = server.client(&["-o", &path, "-o", "ControlMaster=no"], &["true"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Session open refused by peer") || !refused.status.success(), "{said}");
    drop(two);
    wait_until("a place came free", || {
        one.answers();
        server.client(&["-o", &path], &["true"]).output().unwrap().status.success()
    });
    let _ = server.client(&["-O", "exit", "-o", &path], &[]).output();
    master.wait().unwrap();
}

#[test]
fn unused_and_idle_connections_end_where_an_admin_says_so() {
    let session = r#"{"schema": 1, "limits": {"unused-time": "2s", "idle-time": "4s"}}"#;
    let server = Setup { session, ..Setup::default() }.start();
    let unused = server.client(&["-N"], &[]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&unused.stderr);
    assert!(said.contains("no session or forward for 2s"), "{said}");
    // Output counts, input counts, silence does not.
    let busy = server.text("for i in 1 2 3 4 5 6; do echo $i; sleep 1; done");
    assert_eq!(busy.lines().count(), 6);
    let idle = server.run("sleep 100");
    let said = String::from_utf8_lossy(&idle.stderr);
    assert!(said.contains("nothing happened for 4s"), "{said}");
}

/// Clients run under `timeout`.
fn only_child(parent: u32) -> Pid {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    Pid::from_raw(children.trim().parse().unwrap())
}

#[test]
fn a_client_that_sleeps_is_waited_for_as_long_as_an_admin_says() {
    let session = r#"{"schema": 1, "limits": {"silent-time": "4s"}}"#;
    let server = Setup { session, ..Setup::default() }.start();
    let mut client = server
        .client(&["-N"], &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let logged_in = || events(&server).iter().any(|event| event.what == What::Login);
    wait_until("it is logged in", logged_in);
    let asleep = only_child(client.id());
    kill(asleep, Signal::SIGSTOP).unwrap();
    let why = "the client did not answer for 4s";
    let ended = |event: &InsideEvent| event.what == What::Disconnect { reason: why.into() };
    wait_until("its end is an event", || events(&server).iter().any(ended));
    kill(asleep, Signal::SIGCONT).unwrap();
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    client.wait().unwrap();
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_server_that_stops_says_so() {
    let mut server = Setup::default().start();
    let client = server
        .client(&["-N"], &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it is logged in", || events(&server).iter().any(|event| event.what == What::Login));
    kill(Pid::from_raw(server.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let said = String::from_utf8(client.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("this berth stops"), "{said}");
    server.child.wait().unwrap();
}

#[test]
fn compression_works_after_login() {
    let server = Setup::default().start();
    let mut client = server
        .client(&["-C", "-v"], &["cat; exit 3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "the same again and again\n".repeat(100_000);
    let mut stdin = client.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let output = client.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!((output.stdout.len(), output.status.code()), (text.len(), Some(3)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("compression: zlib@openssh.com"), "{said}");
}

#[test]
fn programs_have_the_open_files_that_the_container_was_given() {
    let server = Setup::default().start();
    let own = Command::new("sh").args(["-c", "ulimit -Sn"]).output().unwrap().stdout;
    assert_eq!(server.text("ulimit -Sn").as_bytes(), own);
}

#[test]
fn nothing_tells_the_private_host_key() {
    let server = Setup { environment: &[("BERTH_LOG", "trace")], ..Setup::default() }.start();
    server.text("true");
    let private = std::fs::read_to_string(server.etc().join("host_key")).unwrap();
    let secrets: Vec<&str> =
        private.lines().filter(|line| line.len() > 40 && !line.contains("-----")).collect();
    assert!(!secrets.is_empty());
    let log = server.log() + &server.events();
    assert!(!secrets.iter().any(|line| log.contains(line)) && !log.contains("PRIVATE KEY"));
}
