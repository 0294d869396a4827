//! The purpose of a system file: a code in a plan, and for people the text that follows "write /path: ".

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilePurpose {
    Profile,
    Config,
    AgentUnit,
    AgentSocket,
    AgentPaths,
    KernelSettings,
    /// Where Docker's data are.
    DockerVolume(PathBuf),
    /// A file that does not belong to berth, and whose text another step changes.
    Replaced,
    /// The text that plans and journals of schema 1 have instead.
    #[serde(untagged)]
    Words(String),
}

impl fmt::Display for FilePurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Profile => "the profile, for you to change",
            Self::Config => "the config, for you to change",
            Self::AgentUnit => "the agent's unit",
            Self::AgentSocket => "the agent's socket",
            Self::AgentPaths => "where this node's config and data are",
            Self::KernelSettings => "settings of the kernel for every boot",
            Self::DockerVolume(root) => {
                return write!(f, "Docker starts only when the volume of {} is mounted", root.display());
            }
            Self::Replaced => "",
            Self::Words(words) => words,
        })
    }
}
