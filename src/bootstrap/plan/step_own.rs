//! Steps that put berth itself on a machine.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Copies the running program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallProgram {
    pub to: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeGroup {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeDirectory {
    pub path: PathBuf,
    pub mode: u32,
}

/// Enables and starts systemd units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunUnits {
    pub units: Vec<String>,
    pub restart: bool,
}

impl RunUnits {
    pub fn describe(&self) -> String {
        let verb = if self.restart { "restart" } else { "start" };
        format!("enable and {verb} {}", self.units.join(", "))
    }

    pub fn commands(&self) -> Vec<String> {
        let verb = if self.restart { "restart" } else { "start" };
        let units = self.units.join(" ");
        vec![format!("systemctl enable {units}"), format!("systemctl {verb} {units}")]
    }
}
