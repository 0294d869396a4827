//! A FIDO security key, as OpenSSH knows it: the real client, with an agent that holds the key in place of a token.

use crate::rig::keygen;
use crate::server::start;
use russh::keys::PrivateKey;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

const KIND: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";
/// The token saw somebody touch it.
const TOUCHED: u8 = 1;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn next_string<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, after) = rest.split_at(4);
    let (string, after) = after.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
    *rest = after;
    string
}

/// What a token signs: hashes of the application and of the message, and between them its flags and its counter.
fn sign(key: &Ed25519Keypair, message: &[u8], application: &[u8]) -> Vec<u8> {
    let state = [&[TOUCHED][..], &7u32.to_be_bytes()].concat();
    let hash = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let signed = [hash(application), state.clone(), hash(message)].concat();
    let signature = key.try_sign(&signed).unwrap();
    [string(KIND), string(signature.as_bytes()), state].concat()
}

/// Answers one client as an ssh-agent does.
fn serve(mut client: UnixStream, key: &Ed25519Keypair, blob: &[u8], application: &[u8]) -> Option<()> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length).ok()?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        client.read_exact(&mut packet).ok()?;
        let (kind, mut rest) = packet.split_first()?;
        let answer = match kind {
            11 => [&[12][..], &1u32.to_be_bytes(), &string(blob), &string(b"token")].concat(),
            13 => {
                next_string(&mut rest);
                let message = next_string(&mut rest);
                [&[14][..], &string(&sign(key, message, application))].concat()
            }
            _ => vec![5],
        };
        client.write_all(&string(&answer)).ok()?;
    }
}

#[test]
fn a_security_key_logs_in_and_only_with_its_own_signature() {
    let server = start();
    let path = server.dir.path().join("inner");
    keygen("ed25519", &path);
    let private = PrivateKey::from_openssh(fs::read_to_string(&path).unwrap()).unwrap();
    let KeypairData::Ed25519(key) = private.key_data().clone() else { panic!("not ed25519") };
    let blob = [string(KIND), string(&key.public.0), string(APPLICATION)].concat();
    let file = server.dir.path().join("blob");
    fs::write(&file, &blob).unwrap();
    let encoded = Command::new("base64").arg("-w0").arg(&file).output().unwrap().stdout;
    let base64 = String::from_utf8(encoded).unwrap();
    let line = format!("{} {base64} my token", String::from_utf8_lossy(KIND));
    assert_eq!(berth::keys::parse_public_key(&line).unwrap().comment, "my token");
    server.replace_keys(&format!("{line}\n"));

    for (name, application, gets_in) in [("right", APPLICATION, true), ("wrong", &b"ssh:other"[..], false)] {
        let socket = server.dir.path().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let (key, blob, application) = (key.clone(), blob.clone(), application.to_vec());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve(client, &key, &blob, &application);
            }
        });
        let mut client = Command::new("ssh");
        client.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        client.args(["-o", "UserKnownHostsFile=/dev/null", "-p", &server.port.to_string()]);
        client.args(["-o", "IdentityFile=none", "root@127.0.0.1", "echo in"]).env("SSH_AUTH_SOCK", &socket);
        let output = client.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.success(), gets_in, "{name}: {output:?}\n{}", server.log());
        assert_eq!(output.stdout, if gets_in { &b"in\n"[..] } else { b"" }, "{name}");
    }
}
