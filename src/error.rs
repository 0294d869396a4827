//! Error classes, exit codes, and how an error is shown. It knows no cause of any particular error.
//!
//! A [`Fault`] is the leaf that says whose problem it is; `anyhow` contexts above it say what we were doing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose problem an error is. The number is the process exit code and part of the command line contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The arguments of the call are wrong.
    Usage,
    /// Not allowed: a guard or a quota forbids it, or it belongs to somebody else.
    Refused,
    /// A check failed.
    CheckFailed,
    /// The host: a path, a tool, the ledger, the agent's socket.
    Host,
    /// The Docker Engine, or a container or image in it.
    Docker,
    /// Cards, names or ports are taken now. A later try may succeed.
    Busy,
    /// A mistake in berth itself.
    Bug,
}

impl ErrorClass {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Refused => 3,
            Self::CheckFailed => 4,
            Self::Host => 5,
            Self::Docker => 6,
            Self::Busy => 7,
            Self::Bug => 70,
        }
    }

    /// The status with which the agent's API answers an error of this class.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Usage => 400,
            Self::Refused => 403,
            Self::CheckFailed => 422,
            Self::Host | Self::Bug => 500,
            Self::Docker => 502,
            Self::Busy => 409,
        }
    }
}

/// What went wrong, for code that decides by it. The message is for people; no code reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The agent ends, or has ended. A wait can go on with the next one.
    AgentAway,
    /// This user may not look at it.
    Denied,
    /// The program is not installed.
    NoProgram,
    /// The program was killed at its time limit.
    TimedOut,
    /// Nothing listens at the Docker Engine's socket.
    NoEngine,
    /// The Docker Engine and berth have no version of its API in common.
    EngineVersion,
    /// Docker is already removing that container.
    BeingRemoved,
    /// No code decides by it.
    #[default]
    #[serde(other)]
    Other,
}

impl FaultKind {
    /// Whether only this process decides by it.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
    fn is_own(&self) -> bool {
        *self != Self::AgentAway
    }

    /// The kind of an I/O error on a path or a socket.
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Other,
        }
    }
}

/// The leaf of an error chain: the fact with its values, its class, and what an operator can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub class: ErrorClass,
    /// The API sends `agent-away` only; all others are for code of this process.
    #[serde(default, skip_serializing_if = "FaultKind::is_own")]
    pub kind: FaultKind,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, kind: FaultKind::Other, message: message.into(), help: None }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Usage, message)
    }
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Refused, message)
    }
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Host, message)
    }
    pub fn docker(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Docker, message)
    }
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Busy, message)
    }
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Bug, message)
    }
    #[must_use]
    pub fn of(mut self, kind: FaultKind) -> Self {
        self.kind = kind;
        self
    }
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The class of an error chain: that of the [`Fault`] in it; an error that nobody classified is the host's.
pub fn class_of(error: &anyhow::Error) -> ErrorClass {
    fault_in(error).map_or(ErrorClass::Host, |fault| fault.class)
}

/// The kind of the [`Fault`] in an error chain.
pub fn kind_of(error: &anyhow::Error) -> FaultKind {
    fault_in(error).map_or(FaultKind::Other, |fault| fault.kind)
}

fn fault_in(error: &anyhow::Error) -> Option<&Fault> {
    error.chain().find_map(|cause| cause.downcast_ref::<Fault>())
}

/// The whole chain as one [`Fault`], as the API sends it and the command line prints it.
pub fn flatten(error: &anyhow::Error) -> Fault {
    let parts: Vec<String> = error.chain().map(ToString::to_string).collect();
    Fault {
        class: class_of(error),
        kind: kind_of(error),
        message: parts.join(": "),
        help: fault_in(error).and_then(|fault| fault.help.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn class_kind_and_help_survive_context() {
        let leaf = Fault::busy("card 3 is held by alice/train").of(FaultKind::Denied).help("berth cards");
        let error = Err::<(), _>(leaf).context("allocating 2 cards").unwrap_err();
        let flat = flatten(&error);
        assert_eq!((flat.class, flat.kind), (ErrorClass::Busy, FaultKind::Denied));
        assert_eq!(flat.message, "allocating 2 cards: card 3 is held by alice/train");
        assert_eq!(flat.help.as_deref(), Some("berth cards"));
    }

    #[test]
    fn a_client_hears_that_the_agent_is_away_and_no_other_kind() {
        let told = |kind| serde_json::to_value(Fault::busy("m").of(kind)).unwrap();
        assert_eq!(told(FaultKind::AgentAway)["kind"], "agent-away");
        assert!(told(FaultKind::Denied).get("kind").is_none());
        let heard = |json: &str| serde_json::from_str::<Fault>(json).unwrap().kind;
        assert_eq!(heard(r#"{"class":"busy","message":"m","kind":"agent-away"}"#), FaultKind::AgentAway);
        assert_eq!(heard(r#"{"class":"busy","message":"m","kind":"of-a-later-agent"}"#), FaultKind::Other);
    }

    #[test]
    fn an_unclassified_error_is_the_hosts() {
        assert_eq!(class_of(&anyhow::anyhow!("x")), ErrorClass::Host);
        assert_eq!(ErrorClass::Bug.exit_code(), 70);
    }
}
