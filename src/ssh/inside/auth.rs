//! Who may log in. Pure: decides from the text of `authorized_keys`, the session user and the client's key.

use crate::keys;
use crate::ssh::user::account::Account;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use std::collections::HashSet;
use std::fmt;

/// Proof that somebody was let in. Only [`decide`] makes one; whatever starts a program wants to see it.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct Grant {
    account: Account,
    fingerprint: String,
}

impl Grant {
    pub(in crate::ssh) fn account(&self) -> &Account {
        &self.account
    }
    pub(in crate::ssh) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Why not, for the log. Clients are told no more than "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum Refusal {
    WrongUser { expected: String },
    UnknownKey { fingerprint: String },
    WeakSignature,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongUser { expected } => write!(f, "sessions of this berth run as {expected}"),
            Self::UnknownKey { fingerprint } => write!(f, "key {fingerprint} is not authorized"),
            Self::WeakSignature => f.write_str("signatures with SHA-1 are not accepted"),
        }
    }
}

/// Lets a key in, if it is authorized for the session user.
///
/// Lines of `authorized` that are no good key authorize nobody; they cannot lock out the others.
pub(in crate::ssh) fn decide(
    user: &str,
    key: &PublicKey,
    algorithm: &Algorithm,
    authorized: &str,
    account: &Account,
) -> Result<Grant, Refusal> {
    if user != account.name {
        return Err(Refusal::WrongUser { expected: account.name.clone() });
    }
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return Err(Refusal::WeakSignature);
    }
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let is_authorized = good_keys(authorized).any(|(known, _)| known.key_data() == key.key_data());
    if is_authorized {
        Ok(Grant { account: account.clone(), fingerprint })
    } else {
        Err(Refusal::UnknownKey { fingerprint })
    }
}

/// The fingerprints of all keys that may log in.
pub(in crate::ssh) fn fingerprints(authorized: &str) -> HashSet<String> {
    good_keys(authorized).map(|(_, info)| info.fingerprint).collect()
}

fn good_keys(authorized: &str) -> impl Iterator<Item = (PublicKey, keys::PublicKeyInfo)> {
    authorized.lines().filter_map(|line| keys::read_line(line.trim()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::some_public_key;
    use crate::model::session::SessionConfig;

    fn account() -> Account {
        Account::choose(&SessionConfig::default(), "", "").unwrap()
    }

    fn key(line: &str) -> PublicKey {
        keys::read_line(line).unwrap().0
    }

    #[test]
    fn only_an_authorized_key_of_the_session_user_is_let_in() {
        let mine = some_public_key();
        let other = some_public_key();
        let file = format!("# keys\nnonsense\n{mine} me@laptop\n");
        let ask = |user: &str, line: &str| {
            let key = key(line);
            decide(user, &key, &key.algorithm(), &file, &account())
        };
        assert_eq!(ask("root", &mine).unwrap().account().uid, 0);
        assert!(matches!(ask("root", &other), Err(Refusal::UnknownKey { .. })));
        assert_eq!(ask("anna", &mine).unwrap_err(), Refusal::WrongUser { expected: "root".into() });
    }

    #[test]
    fn sha1_signatures_are_refused() {
        let mine = some_public_key();
        let answer = decide("root", &key(&mine), &Algorithm::Rsa { hash: None }, &mine, &account());
        assert_eq!(answer.unwrap_err(), Refusal::WeakSignature);
    }
}
