//! Makes host keys, and reads public keys that people hand in. Text in, text out; no files.

use crate::error::{ErrorClass, Fault};
use crate::model::text::plain;
use anyhow::{Context as _, Result};
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{LineEnding, PrivateKey};
use russh::keys::{Algorithm, HashAlg, PublicKey, parse_public_key_base64};
use std::fmt;
use std::ops::Deref;

/// The longest line that is read: longer than any real key with its comment.
const LINE_LIMIT: usize = 16 << 10;
const COMMENT_LIMIT: usize = 256;
const RSA_MINIMUM: u32 = 2048;
/// Bits of the RSA host keys that we make: as strong as the rest of the connection.
const RSA_BITS: usize = 3072;
const KEY_BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// A private key. It never appears in logs or debug output.
pub struct Secret(String);

impl Secret {
    /// Wraps a key that was read from a file.
    pub fn new(private_openssh: String) -> Self {
        Self(private_openssh)
    }
}

impl Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The host key of a server, one key of each type that clients need. `private_openssh` is written to the file
/// `host_key`, one key after the other. The public halves, one on each line, go to known_hosts files.
#[derive(Debug)]
pub struct HostKey {
    pub private_openssh: Secret,
    pub public_openssh: String,
}

impl HostKey {
    /// Reads a stored host key. An error when it is not a valid private key.
    pub fn read(private: Secret) -> Result<Self, Fault> {
        let public_openssh = public_lines(&read_host_keys(&private)?)?;
        Ok(Self { private_openssh: private, public_openssh })
    }
}

/// The types, most wanted first. RSA is for clients that know nothing newer, or may use nothing newer (FIPS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKeyType {
    Ed25519,
    Rsa,
}

impl HostKeyType {
    const ALL: [Self; 2] = [Self::Ed25519, Self::Rsa];

    fn is_of(self, key: &PrivateKey) -> bool {
        match self {
            Self::Ed25519 => key.algorithm() == Algorithm::Ed25519,
            Self::Rsa => key.algorithm().is_rsa(),
        }
    }

    fn make(self) -> Result<PrivateKey, russh::keys::ssh_key::Error> {
        let mut random = russh::keys::key::safe_rng();
        match self {
            Self::Ed25519 => PrivateKey::random(&mut random, Algorithm::Ed25519),
            Self::Rsa => PrivateKey::new(RsaKeypair::random(&mut random, RSA_BITS)?.into(), ""),
        }
    }
}

/// Makes a host key of each type. It takes a moment, because the primes of RSA have to be found.
pub fn generate_host_key() -> Result<HostKey> {
    let made = HostKeyType::ALL.into_iter().map(HostKeyType::make).collect::<Result<Vec<_>, _>>();
    let made = made.map_err(|error| bug(&error)).context("making a host key")?;
    written(&made).context("writing a host key")
}

/// The host key with its missing types added, for a key from an older version; `None` when it has all types.
pub fn complete_host_key(private: &Secret) -> Result<Option<HostKey>> {
    let mut keys = read_host_keys(private)?;
    let missing: Vec<_> =
        HostKeyType::ALL.into_iter().filter(|kind| !keys.iter().any(|key| kind.is_of(key))).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    for kind in missing {
        keys.push(kind.make().map_err(|error| bug(&error)).context("making a host key")?);
    }
    written(&keys).context("writing a host key").map(Some)
}

fn written(keys: &[PrivateKey]) -> Result<HostKey> {
    let mut private = String::new();
    for key in keys {
        private.push_str(&key.to_openssh(LineEnding::LF).map_err(|error| bug(&error))?);
    }
    Ok(HostKey { private_openssh: Secret(private), public_openssh: public_lines(keys)? })
}

fn public_lines(keys: &[PrivateKey]) -> Result<String, Fault> {
    let lines = keys.iter().map(|key| key.public_key().to_openssh()).collect::<Result<Vec<_>, _>>();
    Ok(lines.map_err(|error| bug(&error))?.join("\n"))
}

/// The private keys of a `host_key` file. An error when one of them is not an OpenSSH private key.
pub fn read_host_keys(private: &str) -> Result<Vec<PrivateKey>, Fault> {
    let wrong = |error| Fault::host(format!("this is not an OpenSSH private key: {error}"));
    let starts: Vec<usize> = private.match_indices(KEY_BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([private.len()]);
    let mut texts: Vec<&str> =
        starts.iter().zip(ends).filter_map(|(start, end)| private.get(*start..end)).collect();
    if texts.is_empty() {
        // Whatever it is, it is read as one, which says what is wrong with it.
        texts.push(private);
    }
    texts.into_iter().map(|text| PrivateKey::from_openssh(text).map_err(wrong)).collect()
}

/// The public lines of one of our private host keys, one for each type.
pub fn public_half(private: &Secret) -> Result<String, Fault> {
    public_lines(&read_host_keys(private)?)
}

/// The lines for a known_hosts file, one for each type of a server's key.
pub fn known_hosts(name: &str, host_key: &str) -> String {
    host_key.lines().map(|key| format!("{name} {key}")).collect::<Vec<_>>().join("\n")
}

fn bug(error: &russh::keys::ssh_key::Error) -> Fault {
    Fault::bug(error.to_string())
}

/// A public key that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyInfo {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub key_type: String,
    pub base64: String,
    pub comment: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

impl PublicKeyInfo {
    /// The line for `authorized_keys`.
    pub fn line(&self) -> String {
        let line = format!("{} {} {}", self.key_type, self.base64, self.comment);
        line.trim_end().to_owned()
    }
}

/// Reads one public key. An error when there is none, more than one, or a bad one.
pub fn parse_public_key(text: &str) -> Result<PublicKeyInfo, Fault> {
    let mut keys = parse_public_keys(text)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, others) => Err(refuse(&format!("there are {} keys here, one is wanted", others + 1))),
    }
}

/// Reads public keys, one a line; empty lines and comments are skipped. One bad line refuses them all.
pub fn parse_public_keys(text: &str) -> Result<Vec<PublicKeyInfo>, Fault> {
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        return Err(refuse("this is a private key: keep it to yourself").help("give the .pub file beside it"));
    }
    if text.contains("BEGIN SSH2 PUBLIC KEY") || text.contains("BEGIN PUBLIC KEY") {
        return Err(refuse("this public key is not in OpenSSH's format")
            .help("convert it with ssh-keygen -i -f FILE (add -m PKCS8 for BEGIN PUBLIC KEY)"));
    }
    let keys: Vec<_> = text
        .lines()
        // Files of Windows begin with a mark, and several of them may have been joined.
        .map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| read_line(line).map(|(_, info)| info))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(refuse("there is no public key here")) } else { Ok(keys) }
}

/// Reads one line of `authorized_keys`, to compare it with what a client offers.
pub(crate) fn read_line(line: &str) -> Result<(PublicKey, PublicKeyInfo), Fault> {
    if line.len() > LINE_LIMIT {
        return Err(refuse("the line is too long for a public key"));
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(key_type), Some(base64)) = (words.next(), words.next()) else {
        return Err(refuse("this is not a public key: it has no second word"));
    };
    check_type(key_type, line)?;
    let key = parse_public_key_base64(base64)
        .map_err(|_| refuse("the key is damaged: its second word is no public key"))?;
    if key.algorithm().as_str() != key_type {
        return Err(refuse(&format!(
            "the key says it is {key_type}, but it is {}",
            printable(key.algorithm().as_str())
        )));
    }
    check_strength(&key)?;
    let comment = words.collect::<Vec<_>>().join(" ");
    if comment.len() > COMMENT_LIMIT || comment.chars().any(char::is_control) {
        return Err(refuse("the key's comment is too long or has control characters"));
    }
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let info =
        PublicKeyInfo { key_type: key_type.to_owned(), base64: base64.to_owned(), comment, fingerprint };
    Ok((key, info))
}

fn check_type(key_type: &str, line: &str) -> Result<(), Fault> {
    const GOOD: [&str; 7] = [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        // Of security keys (FIDO).
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if GOOD.contains(&key_type) {
        return Ok(());
    }
    Err(if key_type == "ssh-dss" {
        refuse("DSA keys are too weak").help("make a new one: ssh-keygen -t ed25519")
    } else if key_type.contains("-cert-v01@") {
        refuse("this is a certificate, not a public key").help("give the .pub file without -cert")
    } else if line.split_ascii_whitespace().any(|word| GOOD.contains(&word)) {
        refuse("options before the key are not supported").help("give the line from its key type on")
    } else {
        refuse(&format!("{:?} is no kind of public key", printable(key_type)))
            .help("a public key looks like: ssh-ed25519 AAAA… name@host")
    })
}

/// A name from a key, cut and made printable, as anybody can write it. Enough to recognise the key by.
fn printable(text: &str) -> String {
    text.chars().take(40).map(plain).collect()
}

fn check_strength(key: &PublicKey) -> Result<(), Fault> {
    match key.key_data() {
        KeyData::Rsa(rsa) if rsa.key_size() < RSA_MINIMUM => {
            let message =
                format!("RSA keys of {} bits are too weak, {RSA_MINIMUM} are needed", rsa.key_size());
            Err(refuse(&message).help("make a new one: ssh-keygen -t ed25519"))
        }
        _ => Ok(()),
    }
}

fn refuse(message: &str) -> Fault {
    Fault::new(ErrorClass::Usage, message)
}

/// A public key as a user has one.
#[cfg(test)]
pub(crate) fn some_public_key() -> String {
    HostKeyType::Ed25519.make().unwrap().public_key().to_openssh().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn a_good_key_keeps_its_parts() {
        let key = parse_public_key(&format!("\n# mine\n{KEY}  anna@laptop \r\n")).unwrap();
        assert_eq!(key.key_type, "ssh-ed25519");
        assert_eq!(key.comment, "anna@laptop");
        assert_eq!(key.fingerprint, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
        assert_eq!(key.line(), format!("{KEY} anna@laptop"));
        assert_eq!(parse_public_key(KEY).unwrap().line(), KEY);
        let joined = format!("\u{feff}{KEY} a laptop at home\r\n\u{feff}{KEY} b\r\n");
        let comments: Vec<_> =
            parse_public_keys(&joined).unwrap().into_iter().map(|key| key.comment).collect();
        assert_eq!(comments, ["a laptop at home", "b"]);
    }

    #[test]
    fn a_new_host_key_has_each_type_and_reads_back() {
        let key = generate_host_key().unwrap();
        assert_eq!(public_half(&key.private_openssh).unwrap(), key.public_openssh);
        let types: Vec<_> =
            parse_public_keys(&key.public_openssh).unwrap().into_iter().map(|key| key.key_type).collect();
        assert_eq!(types, ["ssh-ed25519", "ssh-rsa"]);
        assert_eq!(format!("{:?}", key.private_openssh), "Secret");
        assert!(complete_host_key(&key.private_openssh).unwrap().is_none());
        let lines = known_hosts("berth-a-b", &key.public_openssh);
        assert!(lines.lines().count() == 2 && lines.lines().all(|line| line.starts_with("berth-a-b ssh-")));
    }

    #[test]
    fn a_host_key_of_before_keeps_its_half_and_gets_the_others() {
        let old = HostKeyType::Ed25519.make().unwrap();
        let text = Secret::new(old.to_openssh(LineEnding::LF).unwrap().to_string());
        let full = complete_host_key(&text).unwrap().unwrap();
        assert!(full.private_openssh.starts_with(&*text));
        assert!(full.public_openssh.starts_with(&public_half(&text).unwrap()));
        assert_eq!(full.public_openssh.lines().count(), 2);
        let cut = Secret::new(full.private_openssh[..full.private_openssh.len() / 2].to_owned());
        assert!(complete_host_key(&cut).is_err(), "what is damaged is not made anew");
    }

    #[test]
    fn what_is_no_good_key_is_refused_in_words() {
        let private = generate_host_key().unwrap().private_openssh;
        let weak = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDGSHPFHSZLZKyn1Q8hMYOUK0NT6bJfK1u4sYpHbRfcnG3lV5rnvM7G\
                    BvYVLkpG8HsSYTGCFzyHdjZZpwuYO8l6w5ehbXFNFEDRgVbLfsgQGmRxkgkxJ0H7pYmgUY1oNJqQmHjsXN2b3kiDCBqW\
                    rZBDWaQVKKy2zAlK2nYmBW5j2w==";
        for (text, wrong) in [
            (&*private, "this is a private key: keep it to yourself"),
            ("", "there is no public key here"),
            ("hello", "it has no second word"),
            ("ssh-ed25519 AAAA", "the key is damaged"),
            ("ssh-ed25519 !!!! x", "the key is damaged"),
            (weak, "RSA keys of 1024 bits are too weak"),
            ("ssh-dss AAAAB3NzaC1kc3M= old", "DSA keys are too weak"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA x", "this is a certificate"),
            (&format!("command=\"id\" {KEY}"), "options before the key are not supported"),
            (&format!("from=\"10.0.0.1\",no-pty,command=\"a b\" {KEY} x y"), "options before the key"),
            ("no-touch-required sk-ssh-ed25519@openssh.com AAAA x", "options before the key"),
            ("sk-ssh-ed25519@openssh.com AAAA x", "the key is damaged"),
            ("webauthn-sk-ecdsa-sha2-nistp256@openssh.com AAAA x", "is no kind of public key"),
            (&format!("{KEY} a\n{KEY} b"), "there are 2 keys here, one is wanted"),
            (&KEY.replace("ssh-ed25519 ", "ssh-rsa "), "the key says it is ssh-rsa, but it is ssh-ed25519"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "not in OpenSSH's format"),
            (&format!("{KEY} a\u{7}b"), "control characters"),
            ("x y z", "\"x\" is no kind of public key"),
        ] {
            let fault = parse_public_key(text).unwrap_err();
            assert!(fault.message.contains(wrong), "{}: {wrong}", fault.message);
            assert_eq!(fault.class, ErrorClass::Usage);
        }
        assert_eq!(parse_public_keys(&format!("{KEY} a\n\n{KEY} b")).unwrap().len(), 2);
    }
}
