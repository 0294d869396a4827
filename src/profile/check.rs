//! `[check]` of a profile: what `berth check` requires of a node of this kind. A key that is left out requires nothing.

use crate::model::Size;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckRules {
    /// As `uname -m` prints it.
    pub arch: Option<String>,
    /// `ID VERSION_ID` of os-release, such as `openEuler 22.03`.
    pub os: Vec<String>,
    /// Systems that the driver's vendor supports and nobody has tried with berth: these warn.
    pub os_untested: Vec<String>,
    /// The oldest kernel.
    pub kernel: Option<String>,
    /// The oldest driver (HDK).
    pub driver: Option<String>,
    /// The oldest Docker Engine.
    pub docker: String,
    pub memory: Option<Size>,
    pub numa_nodes: Option<usize>,
    /// Free on the root file system.
    pub root_free: Size,
    /// The data volume, which holds personal storage and Docker's data.
    pub data: Option<Size>,
    /// Project quotas on the data volume.
    pub quota: bool,
    /// Ask the disks for their own opinion.
    pub smart: bool,
    /// The cards' own network ports are in use.
    pub hccn: bool,
    /// No other node is reached over them: what is wrong there warns.
    pub single_node: bool,
    /// Registries that the engine must reach, such as `registry.example.com`.
    pub registries: Vec<String>,
}

impl CheckRules {
    pub fn fits_os(&self, id: &str, version: &str) -> bool {
        names_os(&self.os, id, version)
    }

    pub fn is_untested_os(&self, id: &str, version: &str) -> bool {
        names_os(&self.os_untested, id, version)
    }
}

/// `ubuntu 22.04` also stands for 22.04.3, `ubuntu` for every release.
fn names_os(entries: &[String], id: &str, version: &str) -> bool {
    entries.iter().any(|entry| match entry.split_once(' ') {
        Some((name, wanted)) => {
            let wanted = wanted.trim();
            name.eq_ignore_ascii_case(id) && (version == wanted || version.starts_with(&format!("{wanted}.")))
        }
        None => entry.eq_ignore_ascii_case(id),
    })
}

impl Default for CheckRules {
    fn default() -> Self {
        Self {
            arch: None,
            os: Vec::new(),
            os_untested: Vec::new(),
            kernel: None,
            driver: None,
            docker: "18.09".into(),
            memory: None,
            numa_nodes: None,
            root_free: Size::gib(5),
            data: None,
            quota: false,
            smart: true,
            hccn: true,
            single_node: true,
            registries: Vec::new(),
        }
    }
}
