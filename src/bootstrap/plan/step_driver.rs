//! Steps for the driver, its firmware, and the cards' network, as data: see `step`.

use crate::model::Size;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Makes the missing parts of the account that the driver runs as: group, user, membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeAccount {
    pub user: String,
    pub group: String,
    /// The uid for a new user; `None`: the user exists.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageKind {
    Driver,
    Firmware,
}

/// Runs one of the vendor's packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRun {
    pub kind: PackageKind,
    pub version: String,
    pub path: PathBuf,
    pub size: Size,
    pub user: String,
    pub group: String,
    /// After this package both driver and firmware are installed, so that they must fit each other.
    pub completes: bool,
}

/// Notes the id of this boot, and lets bootstrap continue after the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeAfterBoot {
    /// `None` where there is no systemd: then an admin must continue.
    pub unit: Option<ResumeUnit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeUnit {
    pub path: PathBuf,
    pub content: String,
}

/// Gives the cards' network ports their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAddresses {
    pub ports: Vec<NewAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAddress {
    pub card: u32,
    pub address: String,
    pub netmask: String,
    pub gateway: Option<String>,
}

impl fmt::Display for PackageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Firmware => "firmware",
        })
    }
}

impl MakeAccount {
    pub(super) fn describe(&self) -> String {
        let group = self.gid.map(|gid| format!("group {} ({gid})", self.group));
        let user = self.uid.map(|uid| format!("user {} ({uid})", self.user));
        let made: Vec<String> = [group, user].into_iter().flatten().collect();
        format!("make {}, which the driver runs as", made.join(" and "))
    }

    pub fn group_args(&self) -> Option<Vec<String>> {
        self.gid.map(|gid| vec!["--gid".into(), gid.to_string(), self.group.clone()])
    }

    /// The arguments of useradd; `None`: the user exists. It has a home and a shell because the vendor's installer logs
    /// in as this user.
    pub fn user_args(&self) -> Option<Vec<String>> {
        let home = format!("/home/{}", self.user);
        self.uid.map(|uid| {
            let uid = uid.to_string();
            let args = ["--gid", &self.group, "--uid", &uid, "--home-dir", &home, "--create-home"];
            args.into_iter().chain(["--shell", "/bin/bash", &self.user]).map(str::to_owned).collect()
        })
    }

    pub(super) fn commands(&self) -> Vec<String> {
        let group = self.group_args().map(|args| format!("groupadd {}", args.join(" ")));
        let user = self.user_args().map(|args| format!("useradd {}", args.join(" ")));
        [group, user].into_iter().flatten().collect()
    }
}

impl InstallRun {
    pub(super) fn describe(&self) -> String {
        format!("install {} {} from {} ({})", self.kind, self.version, self.path.display(), self.size)
    }

    /// The package's arguments. Without `--quiet` the package asks questions, and without a terminal it asks for ever.
    pub fn args(&self) -> Vec<String> {
        let mut args = vec!["--full".to_owned()];
        if self.kind == PackageKind::Driver {
            args.push("--install-for-all".into());
            args.push(format!("--install-username={}", self.user));
            args.push(format!("--install-usergroup={}", self.group));
        }
        args.push("--quiet".into());
        args
    }

    pub(super) fn commands(&self) -> Vec<String> {
        let path = self.path.display();
        vec![format!("{path} --check"), format!("{path} {}", self.args().join(" "))]
    }
}

impl ResumeAfterBoot {
    pub(super) fn describe(&self) -> String {
        match &self.unit {
            Some(unit) => format!("have bootstrap go on after the next boot ({})", unit.path.display()),
            None => "note that a reboot will be needed".into(),
        }
    }

    pub(super) fn commands(&self) -> Vec<String> {
        let unit = self.unit.as_ref().and_then(|unit| unit.path.file_name()?.to_str().map(str::to_owned));
        unit.map(|unit| format!("systemctl enable {unit}")).into_iter().collect()
    }
}

impl SetAddresses {
    pub(super) fn describe(&self) -> String {
        let ports: Vec<String> =
            self.ports.iter().map(|port| format!("card {} {}", port.card, port.address)).collect();
        format!("set network addresses: {}", ports.join(", "))
    }

    pub(super) fn commands(&self) -> Vec<String> {
        let calls = self.ports.iter().flat_map(NewAddress::calls);
        calls.map(|args| format!("hccn_tool {}", args.join(" "))).collect()
    }
}

impl NewAddress {
    /// The arguments of the calls of `hccn_tool`, one call after the other.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let card = self.card.to_string();
        let call = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut calls =
            vec![call(&["-i", &card, "-ip", "-s", "address", &self.address, "netmask", &self.netmask])];
        if let Some(gateway) = &self.gateway {
            calls.push(call(&["-i", &card, "-gateway", "-s", "gateway", gateway]));
        }
        calls
    }
}
