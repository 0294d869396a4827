//! What clients meet that are older, stricter or more careless than OpenSSH's newest, each on a real server: FIPS
//! clients, clients with nothing in common, ssh-copy-id, variables that are too long. Needs root and OpenSSH's clients.

use crate::rig::{Server, Setup, wait_until};
use std::fs;
use std::process::{Command, Output, Stdio};

/// One login with these options of ssh.
fn with(server: &Server, options: &[&str], command: &str) -> Output {
    let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    server.client(&options, &[command]).stdin(Stdio::null()).output().unwrap()
}

/// What the policy FIPS of a Red Hat leaves OpenSSH's client, as far as that is in any release of it.
const FIPS: [&str; 4] = [
    "KexAlgorithms=ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,\
     diffie-hellman-group14-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512",
    "HostKeyAlgorithms=ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,rsa-sha2-512,rsa-sha2-256",
    "Ciphers=aes256-ctr,aes128-ctr",
    "MACs=hmac-sha2-256,hmac-sha2-512",
];

#[test]
fn a_client_in_fips_mode_connects_unless_algorithms_are_strict() {
    let server = Setup { rsa: true, ..Setup::default() }.start();
    let output = with(&server, &FIPS, "echo in");
    assert_eq!(output.stdout, b"in\n", "{output:?}");
    let session = r#"{"schema": 1, "algorithms": "strict"}"#;
    let strict = Setup { session, rsa: true, ..Setup::default() }.start();
    assert_eq!(with(&strict, &FIPS, "echo in").status.code(), Some(255));
    assert_eq!(with(&strict, &[], "echo in").stdout, b"in\n");
}

#[test]
fn a_client_with_nothing_in_common_is_an_event_with_its_version_and_offer() {
    let server = Setup { rsa: true, ..Setup::default() }.start();
    for (option, lacks, offer) in [
        ("KexAlgorithms=ecdh-sha2-nistp521", "kex", "ecdh-sha2-nistp521"),
        ("HostKeyAlgorithms=ssh-rsa", "host-key", "ssh-rsa"),
        ("Ciphers=aes128-cbc,3des-cbc", "cipher", "aes128-cbc,3des-cbc"),
    ] {
        assert_eq!(with(&server, &[option], "true").status.code(), Some(255));
        let parts = [
            r#""kind":"no-algorithm","client":"SSH-2.0-OpenSSH_"#.to_owned(),
            format!(r#""lacks":"{lacks}","offer":"{offer}"#),
        ];
        wait_until("the event is told", || {
            server.events().lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    }
}

#[test]
fn ssh_copy_id_is_told_that_its_key_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup { home: Some(home.path()), ..Setup::default() }.start();
    let new = server.dir.path().join("new");
    crate::rig::keygen("ed25519", &new);
    // It keeps its own files there.
    fs::create_dir(server.dir.path().join(".ssh")).unwrap();
    let mut copy = Command::new("timeout");
    copy.args(["60", "ssh-copy-id", "-f", "-i"])
        .arg(new.with_extension("pub"))
        .args(["-p", &server.port.to_string()]);
    copy.args(["-o", &format!("IdentityFile={}", server.key().display()), "-o", "StrictHostKeyChecking=no"]);
    copy.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]).arg("root@127.0.0.1");
    let output = copy.env("HOME", server.dir.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("~/.ssh/authorized_keys opens nothing here"), "{output:?}");
    assert!(
        fs::read_to_string(home.path().join(".ssh/authorized_keys")).unwrap().starts_with("ssh-ed25519 ")
    );
    let refused = server.client(&["-i", new.to_str().unwrap()], &["true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    let quiet = server.run("echo in");
    assert!(quiet.stdout == b"in\n" && quiet.stderr.is_empty(), "{quiet:?}");
}

#[test]
fn a_variable_that_is_too_long_is_told_in_the_log() {
    let server = Setup::default().start();
    let long = "x".repeat(20_000);
    let output = with(&server, &[&format!("SetEnv=LC_V1={long}")], "printf %s \"$LC_V1\"");
    assert_eq!(output.stdout.len(), long.len());
    let longer = "x".repeat(40_000);
    let output = with(&server, &[&format!("SetEnv=LC_V1={longer}")], "printf %s \"$LC_V1\"");
    assert!(output.status.success() && output.stdout.is_empty());
    wait_until("the log tells", || server.log().contains("variable LC_V1 of 40000 bytes was not taken"));
}

#[test]
fn a_refused_forward_says_what_the_first_address_said() {
    let server = Setup::default().start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (target, reason) in [
        (format!("localhost:{closed}"), "Connection refused"),
        ("no..name:80".to_owned(), "this is no name of a host"),
    ] {
        let output = server.client(&["-v", "-W", &target], &[]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("{target}: {reason}")), "{said}");
    }
}
