//! `lease.json`: what a live berth's own files say of its lease. The agent writes it, the server inside and its user
//! read it. Later versions may add keys: a reader passes over those that it does not know.

use super::{CardId, StopReason};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The schema of [`LeaseFile`].
pub const LEASE_SCHEMA: u32 = 1;
/// The file's name among those that the user may read.
pub const LEASE_FILE: &str = "lease.json";
/// No such file is longer.
pub const LEASE_LIMIT: u64 = 16 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFile {
    pub schema: u32,
    /// `OWNER/NAME`
    pub berth: String,
    /// Host ids.
    pub cards: Vec<CardId>,
    /// When SSH answered.
    pub since: Timestamp,
    /// When the lease ends; `null` for none.
    pub until: Option<Timestamp>,
    /// Seconds, at its beginning.
    pub lease: Option<u64>,
    /// When it is stopped, where that was announced.
    pub stops_at: Option<Timestamp>,
    /// Why it is stopped then.
    pub reason: Option<StopReason>,
    /// How many requests of others wait for cards.
    pub waiting: usize,
    /// Where personal storage is: what is there stays for ever.
    pub storage: PathBuf,
    /// Seconds east of UTC of the node's clock, for texts.
    pub utc_offset: i32,
    /// What the owner was last told.
    pub message: Option<Message>,
}

/// What the owner of a berth is told, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// A later message has a larger one.
    pub id: i64,
    pub at: Timestamp,
    /// One line, without its end.
    pub text: String,
}

impl LeaseFile {
    /// Reads the file; `None` where it cannot be understood.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|file: &Self| file.schema == LEASE_SCHEMA)
    }
}
