//! `session.json`: what the agent tells the server inside a berth about its sessions. Text only, no files.

use super::limits::{Algorithms, SshLimits};
use crate::error::Fault;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The schema of [`SessionConfig`]. The agent and the server are the same binary, but not always the same version:
/// a container keeps running while the agent is upgraded.
pub const SESSION_SCHEMA: u32 = 1;

/// Whom sessions run as, and what they find in their environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    pub schema: u32,
    /// Sessions run as the first of these that the image has.
    #[serde(default)]
    pub users: Vec<String>,
    /// The image's `USER`: `name`, `uid`, `name:group` or `uid:gid`. Comes after `users`; root comes last.
    #[serde(default)]
    pub image_user: Option<String>,
    /// The first that exists is sourced once, and what it sets is part of every session.
    #[serde(default)]
    pub environment_scripts: Vec<PathBuf>,
    /// After it, each of these that exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_scripts: Vec<PathBuf>,
    /// The image's own entrypoint, which does not run: the scripts that it sources are part of every session too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Further group ids of every session, such as the one that owns the NPU's device nodes.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Further variables of every session.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Left out where an admin set none: servers of berths that were made before know no such key.
    #[serde(default, skip_serializing_if = "SshLimits::is_default")]
    pub limits: SshLimits,
    /// As the limits.
    #[serde(default, skip_serializing_if = "Algorithms::is_default")]
    pub algorithms: Algorithms,
    /// After so many seconds each time it tells how much went over SSH. Left out as the limits are.
    #[serde(default = "every_minute", skip_serializing_if = "is_every_minute")]
    pub traffic_seconds: u32,
}

fn every_minute() -> u32 {
    60
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_every_minute(seconds: &u32) -> bool {
    *seconds == every_minute()
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            schema: SESSION_SCHEMA,
            users: Vec::new(),
            image_user: None,
            environment_scripts: Vec::new(),
            more_scripts: Vec::new(),
            entrypoint: Vec::new(),
            groups: Vec::new(),
            environment: BTreeMap::new(),
            limits: SshLimits::default(),
            algorithms: Algorithms::default(),
            traffic_seconds: every_minute(),
        }
    }
}

impl SessionConfig {
    /// Reads `session.json`; a newer schema or an unknown key is refused, never guessed at.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(text)
            .map_err(|error| Fault::host(error.to_string()))
            .context("reading session.json")?;
        if config.schema != SESSION_SCHEMA {
            let message =
                format!("session.json has schema {}, this berth knows {SESSION_SCHEMA}", config.schema);
            return Err(Fault::host(message).into());
        }
        if let Some(name) = config.environment.iter().find(|(name, value)| !is_variable(name, value)) {
            return Err(Fault::host(format!("session.json: {:?} is no environment variable", name.0)).into());
        }
        if let Some(problem) = config.limits.problem() {
            return Err(Fault::host(format!("session.json: limits: {problem}")).into());
        }
        Ok(config)
    }
}

fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_config_survives_a_round_trip() {
        let config = SessionConfig {
            users: vec!["ma-user".into()],
            image_user: Some("1000:100".into()),
            environment_scripts: vec!["/usr/local/Ascend/ascend-toolkit/set_env.sh".into()],
            groups: vec![1001],
            environment: [("ASCEND_VISIBLE_DEVICES".to_owned(), "0,1".to_owned())].into(),
            ..SessionConfig::default()
        };
        assert_eq!(SessionConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
        assert_eq!(SessionConfig::parse(br#"{"schema": 1}"#).unwrap(), SessionConfig::default());
    }

    #[test]
    fn an_older_server_reads_what_a_newer_agent_writes_unless_limits_were_set() {
        let mut config = SessionConfig::default();
        let text = serde_json::to_string(&config).unwrap();
        for key in ["limits", "algorithms", "traffic"] {
            assert!(!text.contains(key), "{text}");
        }
        config.limits.tries = 3;
        assert!(serde_json::to_string(&config).unwrap().ends_with(r#""limits":{"tries":3}}"#));
        config.algorithms = Algorithms::Strict;
        assert!(serde_json::to_string(&config).unwrap().ends_with(r#","algorithms":"strict"}"#));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, wrong) in [
            (r#"{"schema": 2}"#, "has schema 2"),
            (r#"{"schema": 1, "user": []}"#, "unknown field `user`"),
            (r#"{"schema": 1, "environment": {"A=B": ""}}"#, "no environment variable"),
            (r#"{"schema": 1, "limits": {"tries": 0}}"#, "limits: tries"),
            (r#"{"schema": 1, "limits": {"login-time": "soon"}}"#, "is not a duration"),
            (r#"{"schema": 1, "algorithms": "all"}"#, "unknown variant `all`"),
            ("", "EOF"),
        ] {
            let error = format!("{:#}", SessionConfig::parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
