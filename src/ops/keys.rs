//! Checks public keys that people hand in.

use crate::error::Fault;
use crate::keys::parse_public_keys;
use crate::ledger::Key;

/// The largest file of public keys.
const MOST_BYTES: usize = 64 << 10;

pub(super) fn read_keys(text: &str) -> Result<Vec<Key>, Fault> {
    if text.len() > MOST_BYTES {
        return Err(Fault::usage("this is too long for a public key file"));
    }
    let keys = parse_public_keys(text)?;
    Ok(keys.into_iter().map(|key| Key { line: key.line(), fingerprint: key.fingerprint }).collect())
}
