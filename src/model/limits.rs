//! Limits of one SSH client at a server, and the algorithms that it may use: part of `berth.toml` and of
//! `session.json`. Text only, no files.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Which algorithms a server offers; docs/ssh.md has the lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithms {
    /// What OpenSSH offers by default too, as far as nobody calls it broken: clients of today's distributions connect.
    #[default]
    Compatible,
    /// Only the modern ones.
    Strict,
}

impl Algorithms {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Every key has a default, and only what an admin set is written: an older server still reads what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SshLimits {
    /// A client that has not logged in by then is sent away.
    #[serde(with = "duration_text", skip_serializing_if = "is_default_login_time")]
    pub login_time: Duration,
    /// Keys that are tried in one connection.
    #[serde(skip_serializing_if = "is_default_tries")]
    pub tries: u32,
    /// Connections that are logged in at the same time.
    #[serde(skip_serializing_if = "is_default_connections")]
    pub connections: u32,
    /// Sessions and forwarded connections at the same time in one connection.
    #[serde(skip_serializing_if = "is_default_channels")]
    pub channels: u32,
    /// A client that has not answered anything for this long is gone; `0s` is never.
    #[serde(with = "duration_text", skip_serializing_if = "is_default_silent_time")]
    pub silent_time: Duration,
    /// A connection without any channel is closed after this; `0s` is never.
    #[serde(with = "duration_text", skip_serializing_if = "Duration::is_zero")]
    pub unused_time: Duration,
    /// A connection on whose channels nothing went either way is closed after this; `0s` is never.
    #[serde(with = "duration_text", skip_serializing_if = "Duration::is_zero")]
    pub idle_time: Duration,
}

const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            login_time: Duration::from_mins(1),
            tries: 6,
            connections: 500,
            channels: 256,
            silent_time: Duration::from_hours(12),
            unused_time: Duration::ZERO,
            idle_time: Duration::ZERO,
        }
    }
}

impl SshLimits {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Why these limits cannot be used, such as one that lets nobody log in; `None`: they can.
    pub fn problem(&self) -> Option<&'static str> {
        if self.login_time < Duration::from_secs(1) || self.login_time > Duration::from_hours(1) {
            Some("login-time must be from 1s to 1h")
        } else if self.tries == 0 || self.connections == 0 || self.channels == 0 {
            Some("tries, connections and channels must be at least 1")
        } else if !self.silent_time.is_zero() && self.silent_time < SHORTEST_SILENCE {
            Some("silent-time must be 0s, which is never, or at least 1s")
        } else {
            None
        }
    }
}

fn is_default_login_time(value: &Duration) -> bool {
    *value == SshLimits::default().login_time
}

fn is_default_silent_time(value: &Duration) -> bool {
    *value == SshLimits::default().silent_time
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_default_tries(value: &u32) -> bool {
    *value == SshLimits::default().tries
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_default_connections(value: &u32) -> bool {
    *value == SshLimits::default().connections
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_default_channels(value: &u32) -> bool {
    *value == SshLimits::default().channels
}

/// `"10s"` in TOML and JSON.
pub mod duration_text {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| serde::de::Error::custom(format!("`{text}` is not a duration: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_is_written() {
        assert_eq!(serde_json::to_string(&SshLimits::default()).unwrap(), "{}");
        let set = SshLimits { idle_time: Duration::from_hours(8), tries: 3, ..SshLimits::default() };
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, r#"{"tries":3,"idle-time":"8h"}"#);
        assert_eq!(serde_json::from_str::<SshLimits>(&text).unwrap(), set);
        assert!(serde_json::from_str::<SshLimits>(r#"{"try":3}"#).is_err());
    }

    #[test]
    fn limits_that_lock_everybody_out_are_named() {
        assert_eq!(SshLimits::default().problem(), None);
        for (text, wrong) in [
            (r#"{"login-time":"0s"}"#, "login-time"),
            (r#"{"tries":0}"#, "at least 1"),
            (r#"{"channels":0}"#, "at least 1"),
            (r#"{"silent-time":"900ms"}"#, "silent-time"),
        ] {
            let limits: SshLimits = serde_json::from_str(text).unwrap();
            assert!(limits.problem().unwrap().contains(wrong), "{text}");
        }
        let never: SshLimits = serde_json::from_str(r#"{"silent-time":"0s"}"#).unwrap();
        assert_eq!(never.problem(), None);
    }
}
