//! What both servers speak: algorithms, numbers of the protocol, and how a connection is told why it ends.
//! docs/ssh.md says why each is here, and tests/ssh/audit.rs asks ssh-audit.

use crate::model::inside_event::What;
use crate::model::limits::{Algorithms, SshLimits};
use crate::model::text::clean;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{
    AlgorithmKind, Disconnect, Error, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac,
};
use std::borrow::Cow;
use std::time::Duration;

/// What a client may send on a channel before it must wait for us.
pub(in crate::ssh) const WINDOW: u32 = 2 << 20;

/// Clients know what a server does differently by how this begins. What is ours to them is OpenSSH's way: the order of
/// paths in SFTP's SYMLINK (node's ssh2, phpseclib and `WinSCP` compare the beginning, asyncssh and libssh look for
/// `OpenSSH_` anywhere), forwards of sockets (ssh2). The number is one that no client has an exception for.
const VERSION: &str = concat!("SSH-2.0-OpenSSH_9.9 berth_", env!("CARGO_PKG_VERSION"));

const STRICT_KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    // Against Terrapin: sequence numbers start anew with the keys.
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
/// With the cheapest finite field that is not weak, for clients without curve25519 (FIPS, net-ssh): a larger one costs
/// the server more for each stranger that asks.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// Only with the MAC over what is encrypted.
const STRICT_MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
/// libssh2 before 1.11 (curl), phpseclib 2 and Java's older libraries know no other kind than the last two.
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];
/// After login only (`@openssh.com`): nobody who has not logged in gives us something to unpack.
const COMPRESSIONS: &[compression::Name] = &[compression::NONE, compression::ZLIB_LEGACY];

/// What russh is told for each connection.
pub(in crate::ssh) fn config(
    mut keys: Vec<PrivateKey>,
    algorithms: Algorithms,
    limits: &SshLimits,
) -> Config {
    let (key_exchanges, macs) = match algorithms {
        Algorithms::Compatible => (KEY_EXCHANGES, MACS),
        Algorithms::Strict => {
            keys.retain(|key| key.algorithm() == Algorithm::Ed25519);
            (STRICT_KEY_EXCHANGES, STRICT_MACS)
        }
    };
    Config {
        server_id: SshId::Standard(Cow::Borrowed(VERSION)),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // There are no passwords to guess: a slow "no" would only make agents with many keys slow.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        preferred: Preferred {
            kex: Cow::Borrowed(key_exchanges),
            key: Cow::Owned(key_algorithms()),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(macs),
            compression: Cow::Borrowed(COMPRESSIONS),
            ..Preferred::DEFAULT
        },
        // One more: most clients ask first what there is, without a key. `ClientConnection::may_try` counts the keys.
        max_auth_attempts: usize::try_from(limits.tries).unwrap_or(usize::MAX).saturating_add(1),
        window_size: WINDOW,
        // Packets of output between all channels and the connection.
        event_buffer_size: 32,
        inactivity_timeout: None,
        // Keeps the way open through what forgets quiet connections. Who does not answer is `Live`'s to end.
        keepalive_interval: Some(ask_every(limits.silent_time)),
        keepalive_max: 0,
        nodelay: true,
        ..Config::default()
    }
}

/// How often a client is asked whether it is there: some times before it counts as gone.
fn ask_every(silent_time: Duration) -> Duration {
    const SELDOM: Duration = Duration::from_secs(30);
    if silent_time.is_zero() { SELDOM } else { SELDOM.min(silent_time / 3) }
}

/// Of users' keys and of our own, as far as there are any of a type. No RSA with SHA-1.
fn key_algorithms() -> Vec<Algorithm> {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let mut algorithms = vec![Algorithm::Ed25519];
    algorithms.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    algorithms.extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    algorithms
}

/// That a client and this server have nothing in common, if that is what went wrong.
pub(in crate::ssh) fn no_algorithm(client: Option<String>, error: &Error) -> Option<What> {
    let Error::NoCommonAlgo { kind, theirs, .. } = error else { return None };
    let lacks = match kind {
        AlgorithmKind::Kex => "kex",
        AlgorithmKind::Key => "host-key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Mac => "mac",
        AlgorithmKind::Compression => "compression",
    };
    let client = clean(&client.unwrap_or_default());
    Some(What::NoAlgorithm { client, lacks: lacks.to_owned(), offer: clean(&theirs.join(",")) })
}

/// A disconnect message as it is before there are keys.
pub(in crate::ssh) fn clear_disconnect(reason: Disconnect, text: &str) -> Vec<u8> {
    const MESSAGE: u8 = 1;
    const BLOCK: usize = 8;
    let text: Vec<u8> = text.bytes().take(200).collect();
    let mut payload = vec![MESSAGE];
    payload.extend((reason as u32).to_be_bytes());
    payload.extend(length(text.len()));
    payload.extend(text);
    // No language.
    payload.extend(length(0));
    let mut padding = BLOCK - (5 + payload.len()) % BLOCK;
    if padding < 4 {
        padding += BLOCK;
    }
    let mut packet = length(1 + payload.len() + padding).to_vec();
    packet.push(u8::try_from(padding).unwrap_or(4));
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_in_the_clear_is_a_packet() {
        for text in ["", "a", "too slow", &"x".repeat(500)] {
            let packet = clear_disconnect(Disconnect::ByApplication, text);
            assert_eq!(packet.len() % 8, 0);
            assert_eq!(u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize, packet.len() - 4);
            let said = text.len().min(200);
            assert!(packet[4] >= 4 && packet.len() == 5 + 1 + 4 + 4 + said + 4 + usize::from(packet[4]));
            assert_eq!(packet[5..10], [1, 0, 0, 0, 11]);
        }
    }
}
