//! What an SSH server tells the agent about its clients: one line of JSON an event. Plain types, no I/O.
//!
//! Root in a berth can write such lines too. So a reader bounds and cleans the values ([`InsideEvent::read`]), and
//! shows that the berth is their source.

use super::text::clean;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The schema of a line. The server inside may be older or newer than the agent that reads it.
pub const INSIDE_SCHEMA: u32 = 1;
/// Longer lines are nobody's events.
pub const LINE_LIMIT: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideEvent {
    /// Which schema, and that this line is an event at all.
    #[serde(rename = "berth-event")]
    pub schema: u32,
    pub at: Timestamp,
    /// The name that the client gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The fingerprint of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The number of further events of this kind that were not reported since the last one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    #[serde(flatten)]
    pub what: What,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    Login,
    LoginRefused {
        reason: String,
    },
    Disconnect {
        reason: String,
    },
    /// A connection that was forwarded, or a port that is listened on.
    Forward {
        how: Forward,
        target: String,
    },
    ForwardRefused {
        how: Forward,
        target: String,
        reason: String,
    },
    Limit {
        reason: String,
    },
    /// The client and this server have no algorithm of a kind in common: it cannot connect at all.
    NoAlgorithm {
        /// The version line of the client.
        client: String,
        /// `kex`, `host-key`, `cipher`, `mac`, `compression`
        lacks: String,
        /// What the client would have taken.
        offer: String,
    },
}

/// How something is forwarded; *local* is towards the server's side, *remote* towards the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    LocalTcp,
    LocalSocket,
    RemoteTcp,
    RemoteSocket,
    Agent,
    X11,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocalTcp => "forward to port",
            Self::LocalSocket => "forward to socket",
            Self::RemoteTcp => "forward from port",
            Self::RemoteSocket => "forward from socket",
            Self::Agent => "agent forwarding",
            Self::X11 => "X11 forwarding",
        })
    }
}

impl What {
    /// The kind of the ledger's event.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Login => "ssh.login",
            Self::LoginRefused { .. } => "ssh.refused",
            Self::Disconnect { .. } => "ssh.end",
            Self::Forward { .. } => "ssh.forward",
            Self::ForwardRefused { .. } => "ssh.forward-refused",
            Self::Limit { .. } => "ssh.limit",
            Self::NoAlgorithm { .. } => "ssh.no-algorithm",
        }
    }

    /// With no text that is too long, or could be taken for more than one event.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        match &mut self {
            Self::Login => {}
            Self::LoginRefused { reason } | Self::Disconnect { reason } | Self::Limit { reason } => {
                *reason = clean(reason);
            }
            Self::Forward { target, .. } => *target = clean(target),
            Self::ForwardRefused { target, reason, .. } => {
                (*target, *reason) = (clean(target), clean(reason));
            }
            Self::NoAlgorithm { client, lacks, offer } => {
                (*client, *lacks, *offer) = (clean(client), clean(lacks), clean(offer));
            }
        }
        self
    }

    /// Whether strangers can cause it as often as they like.
    pub fn is_strangers(&self) -> bool {
        matches!(self, Self::LoginRefused { .. } | Self::Limit { .. } | Self::NoAlgorithm { .. })
    }
}

impl InsideEvent {
    pub fn line(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|line| line.len() <= LINE_LIMIT)
    }

    /// Reads a line of whatever a container wrote; `None` is no event, or one that this berth does not understand.
    pub fn read(line: &str) -> Option<Self> {
        if line.len() > LINE_LIMIT || !line.starts_with('{') {
            return None;
        }
        let mut event: Self =
            serde_json::from_str(line).ok().filter(|event: &Self| event.schema == INSIDE_SCHEMA)?;
        for text in [&mut event.user, &mut event.key, &mut event.peer].into_iter().flatten() {
            *text = clean(text);
        }
        event.what = event.what.cleaned();
        Some(event)
    }
}

/// `login ma-user SHA256:… from 10.1.2.3:4444`
impl fmt::Display for InsideEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Login => f.write_str("login")?,
            What::LoginRefused { .. } => f.write_str("login refused")?,
            What::Disconnect { .. } => f.write_str("end")?,
            What::Forward { how, target } => write!(f, "{how} {target}")?,
            What::ForwardRefused { how, target, .. } => write!(f, "refused {how} {target}")?,
            What::Limit { .. } => f.write_str("limit")?,
            What::NoAlgorithm { lacks, .. } => write!(f, "no {lacks} in common with a client")?,
        }
        for text in [&self.user, &self.key].into_iter().flatten() {
            write!(f, " {text}")?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " from {peer}")?;
        }
        match &self.what {
            What::LoginRefused { reason }
            | What::Disconnect { reason }
            | What::ForwardRefused { reason, .. }
            | What::Limit { reason } => write!(f, ": {reason}")?,
            What::NoAlgorithm { client, offer, .. } => write!(f, ": {client} offers {offer}")?,
            What::Login | What::Forward { .. } => {}
        }
        if self.more > 0 {
            write!(f, " (and {} more)", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> InsideEvent {
        InsideEvent {
            schema: INSIDE_SCHEMA,
            at: "2025-01-02T03:04:05Z".parse().unwrap(),
            user: Some("ma-user".into()),
            key: Some("SHA256:abc".into()),
            peer: Some("10.1.2.3:4444".into()),
            more: 0,
            what,
        }
    }

    #[test]
    fn an_event_is_a_line_and_reads_back() {
        let login = event(What::Login);
        assert_eq!(
            login.line().unwrap(),
            r#"{"berth-event":1,"at":"2025-01-02T03:04:05Z","user":"ma-user","key":"SHA256:abc","peer":"10.1.2.3:4444","kind":"login"}"#
        );
        let refused =
            What::ForwardRefused { how: Forward::LocalTcp, target: "db:1".into(), reason: "no".into() };
        for event in [login, event(refused)] {
            assert_eq!(InsideEvent::read(&event.line().unwrap()).unwrap(), event);
        }
    }

    #[test]
    fn the_text_is_one_line_that_says_it_all() {
        assert_eq!(event(What::Login).to_string(), "login ma-user SHA256:abc from 10.1.2.3:4444");
        let mut refused = event(What::LoginRefused { reason: "key SHA256:x is not authorized".into() });
        refused.more = 3;
        assert_eq!(
            refused.to_string(),
            "login refused ma-user SHA256:abc from 10.1.2.3:4444: key SHA256:x is not authorized (and 3 more)"
        );
    }

    #[test]
    fn a_client_that_cannot_connect_is_told_with_its_offer() {
        let mut failed = event(What::NoAlgorithm {
            client: "SSH-2.0-JSCH-0.1.54".into(),
            lacks: "host-key".into(),
            offer: "ssh-rsa,ssh-dss".into(),
        });
        (failed.user, failed.key) = (None, None);
        assert_eq!(
            failed.to_string(),
            "no host-key in common with a client from 10.1.2.3:4444: SSH-2.0-JSCH-0.1.54 offers ssh-rsa,ssh-dss"
        );
        assert_eq!(InsideEvent::read(&failed.line().unwrap()).unwrap(), failed);
    }

    #[test]
    fn what_a_berths_root_writes_is_bounded_and_clean() {
        let mut forged = event(What::Limit { reason: "x\u{1b}[2J\u{202e}\n".repeat(100) });
        forged.user = Some("é".repeat(300));
        let line = serde_json::to_string(&forged).unwrap();
        let text = InsideEvent::read(&line).unwrap().to_string();
        assert!(text.chars().count() < 600 && !text.contains(['\u{1b}', '\u{202e}', '\n']), "{text}");
        for line in
            ["", "{}", "[1]", "listening", r#"{"berth-event":2,"at":"2025-01-02T03:04:05Z","kind":"login"}"#]
        {
            assert_eq!(InsideEvent::read(line), None, "{line}");
        }
        assert_eq!(InsideEvent::read(&format!("{{{}", " ".repeat(LINE_LIMIT))), None);
    }
}
