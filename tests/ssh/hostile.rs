//! Hostile clients: each gets a refusal or a disconnect that says why where the protocol allows it, in bounded
//! memory, and a session of somebody else goes on answering. Needs root, ssh, python3-paramiko.

use crate::live::Live;
use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The most that the server may ever have had, in KiB, with the code that a debug build maps in.
const MEMORY: u64 = 100 << 10;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the server says until it closes; it must close.
fn said(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("still open: {error}"),
        _ => String::from_utf8_lossy(&said).into_owned(),
    }
}

/// A packet in the clear.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (5 + payload.len()) % 8;
    let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

fn names(payload: &mut Vec<u8>, names: &str) {
    payload.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
    payload.extend(names.bytes());
}

/// A client's list of algorithms; `kex` is what it wants to exchange keys with.
fn algorithms(kex: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    let (cipher, mac) = ("aes256-gcm@openssh.com", "hmac-sha2-256-etm@openssh.com");
    for list in [kex, "ssh-ed25519", cipher, cipher, mac, mac, "none", "none", "", ""] {
        names(&mut payload, list);
    }
    payload.extend([0; 5]);
    packet(&payload)
}

#[test]
fn nonsense_before_the_keys_is_answered_with_a_reason() {
    let server = Setup::default().start();
    let mut live = Live::start(&server, &[]);
    let hello = b"SSH-2.0-odd\r\n".to_vec();
    let with = |more: &[u8]| [hello.as_slice(), more].concat();
    let strict = "curve25519-sha256,kex-strict-c-v00@openssh.com";
    let cases: [(&str, Vec<u8>, &str); 14] = [
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            "Invalid SSH identification string.",
        ),
        ("an old protocol", b"SSH-1.5-old\r\n".to_vec(), "Invalid SSH identification string."),
        ("binary", vec![0xff; 4096], "Invalid SSH identification string."),
        ("a long line", vec![b'a'; 100_000], "Invalid SSH identification string."),
        (
            "a version without end",
            [b"SSH-2.0-", vec![b'x'; 5000].as_slice()].concat(),
            "Invalid SSH identification",
        ),
        ("an absurd packet", with(&[0xff; 64]), "Bad packet size: 4294967295"),
        ("an oversized packet", with(&[0x7f, 0, 0, 0, 4, 20]), "Bad packet size: 2130706432"),
        ("a packet of nothing", with(&[0; 64]), ""),
        ("a packet of padding", with(&[0, 0, 0, 12, 255, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ""),
        ("half a list", with(&packet(b"\x14short")), ""),
        ("a lie about a list", with(&packet(&[&[20; 17][..], &[0xff; 4]].concat())), ""),
        ("no common algorithm", with(&algorithms("diffie-hellman-group1-sha1")), "No common Kex algorithm"),
        ("a login before keys", with(&packet(b"\x05\0\0\0\x0cssh-userauth")), ""),
        (
            "a message that is not of the exchange",
            with(&[algorithms(strict), packet(b"\x02\0\0\0\0")].concat()),
            "",
        ),
    ];
    for (what, bytes, answer) in cases {
        let mut stream = connect(&server);
        // It may be closed before all was sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let said = said(&mut stream);
        assert!(said.contains(answer), "{what}: {said:?}");
        live.answers();
    }
    assert!(server.run("true").status.success());
}

#[test]
fn a_version_line_of_a_gigabyte_ends_early() {
    let server = Setup::default().start();
    let mut live = Live::start(&server, &[]);
    let mut stream = connect(&server);
    let chunk = vec![b'S'; 1 << 20];
    let mut sent = 0;
    while sent < 1 << 30 {
        match stream.write(&chunk) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    live.answers();
    assert!(server.peak_memory() < MEMORY, "{} KiB", server.peak_memory());
}

#[test]
fn who_stops_on_the_way_is_sent_away_in_time_and_told_so() {
    let session = r#"{"schema": 1, "limits": {"login-time": "2s"}}"#;
    let server = Setup { session, ..Setup::default() }.start();
    let mut live = Live::start(&server, &[]);
    let hello = b"SSH-2.0-slow\r\n".to_vec();
    let exchanging = [hello.clone(), algorithms("curve25519-sha256")].concat();
    for bytes in [Vec::new(), b"SSH-2.0-sl".to_vec(), hello, exchanging] {
        let started = Instant::now();
        let mut stream = connect(&server);
        stream.write_all(&bytes).unwrap();
        let said = said(&mut stream);
        assert!(said.contains("no login within 2s"), "{said:?}");
        assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
        live.answers();
    }
    // A byte now and then does not buy time.
    let mut stream = connect(&server);
    let started = Instant::now();
    for byte in b"SSH-2.0-".iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).is_err() || started.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    live.answers();
}

/// Runs one case of `hostile.py`.
fn hostile(server: &Server, case: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh/hostile.py");
    let output = Command::new("timeout")
        .arg("120")
        .arg("/usr/bin/python3")
        .arg(script)
        .arg(server.port.to_string())
        .arg(server.key())
        .arg(case)
        .output()
        .unwrap();
    assert!(output.status.success(), "{case}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn broken_messages_end_only_their_connection_and_the_log_says_why() {
    let server = Setup::default().start();
    let mut live = Live::start(&server, &[]);
    for (case, answer, why) in [
        ("garbage", "closed", "protocol error: "),
        ("wrong_mac", "closed", "protocol error: Wrong packet authentication code"),
        ("truncated_messages", "closed", "protocol error: SshEncoding"),
        ("empty_payload", "closed", "protocol error: SshEncoding: length invalid"),
        ("absurd_windows", "closed", "protocol error: "),
        ("unknown_messages", "works", ""),
        ("unknown_channel", "works", ""),
        ("opened_twice", "connected", ""),
        ("long_names", "works", ""),
    ] {
        let before = server.log().len();
        assert_eq!(hostile(&server, case), answer, "{case}: {}", server.log());
        wait_until("the connection has ended", || server.log()[before..].contains(" end root "));
        assert!(server.log()[before..].contains(why), "{case}: {}", &server.log()[before..]);
        live.answers();
    }
    assert!(server.peak_memory() < MEMORY, "{} KiB", server.peak_memory());
}

#[test]
fn floods_of_requests_cost_bounded_memory() {
    let server = Setup::default().start();
    let mut live = Live::start(&server, &[]);
    for (case, answer) in [
        ("many_opens", "256 opened, 9744 refused"),
        ("global_flood", "blocked"),
        ("open_flood_unread", "blocked"),
        ("request_flood_unread", ""),
        ("rekey_storm", "works"),
        ("rekey_half_way", "blocked"),
        ("many_rekeys_unread", "blocked"),
    ] {
        let said = hostile(&server, case);
        assert!(said.contains(answer), "{case}: {said}");
        live.answers();
        assert!(server.peak_memory() < MEMORY, "{case}: {} KiB", server.peak_memory());
    }
}

#[test]
fn who_reads_or_waits_for_nothing_costs_bounded_memory() {
    let server = Setup::default().start();
    let mut live = Live::start(&server, &[]);
    assert_eq!(hostile(&server, "never_reads"), "waited");
    live.answers();
    assert_eq!(hostile(&server, "beyond_window"), "blocked");
    live.answers();
    assert!(server.peak_memory() < MEMORY, "{} KiB", server.peak_memory());
}
