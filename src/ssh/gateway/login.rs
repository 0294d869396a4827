//! Who may log in at the gateway. Pure: decides from the ledger's user and the client's key.

use crate::keys;
use crate::ledger::User;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use std::fmt;

/// Proof that a user was let in. Only [`decide`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    user: String,
    fingerprint: String,
}

impl Pass {
    pub(super) fn user(&self) -> &str {
        &self.user
    }
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Why not, for the events. Clients are told no more than "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another way than a key was tried, or none at all.
    NoKey,
    UnknownUser,
    UnknownKey,
    WeakSignature,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no key was offered"),
            Self::UnknownUser => f.write_str("there is no such user"),
            Self::UnknownKey => f.write_str("the key is not this user's"),
            Self::WeakSignature => f.write_str("signatures with SHA-1 are not accepted"),
        }
    }
}

/// Lets a key in, if the ledger has it for this user.
pub(super) fn decide(user: Option<&User>, key: &PublicKey, algorithm: &Algorithm) -> Result<Pass, Refusal> {
    let user = user.ok_or(Refusal::UnknownUser)?;
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return Err(Refusal::WeakSignature);
    }
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let is_theirs = user
        .keys
        .iter()
        .filter_map(|known| keys::read_line(&known.line).ok())
        .any(|(known, _)| known.key_data() == key.key_data());
    if is_theirs { Ok(Pass { user: user.name.clone(), fingerprint }) } else { Err(Refusal::UnknownKey) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::some_public_key;
    use crate::ledger::Key;

    #[test]
    fn only_a_key_of_the_user_opens() {
        let lines = [some_public_key(), some_public_key()];
        let [mine, other] = lines.each_ref().map(|line| keys::read_line(line).unwrap());
        let key = Key { line: lines[0].clone(), fingerprint: mine.1.fingerprint.clone() };
        let alice =
            User { name: "alice".into(), uid: None, added_at: jiff::Timestamp::UNIX_EPOCH, keys: vec![key] };
        let ask = |user: Option<&User>, key: &PublicKey| decide(user, key, &key.algorithm());
        let pass = ask(Some(&alice), &mine.0).unwrap();
        assert_eq!((pass.user(), pass.fingerprint()), ("alice", mine.1.fingerprint.as_str()));
        assert_eq!(ask(Some(&alice), &other.0), Err(Refusal::UnknownKey));
        assert_eq!(ask(None, &mine.0), Err(Refusal::UnknownUser));
        assert_eq!(
            decide(Some(&alice), &mine.0, &Algorithm::Rsa { hash: None }),
            Err(Refusal::WeakSignature)
        );
        let keyless = User { keys: Vec::new(), ..alice };
        assert!(ask(Some(&keyless), &mine.0).is_err());
    }
}
