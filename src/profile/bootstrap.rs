//! `[bootstrap]` of a profile: how `berth bootstrap` sets up a bare node.

use super::docker::DockerWants;
use super::driver::{DriverWants, HccnWants};
use crate::host::sysctl::is_name;
use crate::model::Size;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bootstrap {
    pub disks: DiskWants,
    pub driver: DriverWants,
    pub hccn: HccnWants,
    pub docker: DockerWants,
    /// Settings of the kernel, and the least that each should be.
    pub sysctl: BTreeMap<String, u64>,
}

impl Bootstrap {
    /// Where Docker's data should be; `None`: where they are.
    pub fn data_root(&self) -> Option<PathBuf> {
        if !self.docker.install {
            return None;
        }
        if !self.docker.data_root.as_os_str().is_empty() {
            return Some(self.docker.data_root.clone());
        }
        (self.disks.layout != Layout::None).then(|| self.disks.mount.join("docker"))
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        if let Some(name) = self.sysctl.keys().find(|name| !is_name(name)) {
            return Some(format!("[bootstrap.sysctl] {name:?} is no name of a setting"));
        }
        let disks = self.disks.problem().map(|problem| format!("[bootstrap.disks] {problem}"));
        disks.or_else(|| self.docker.problem().map(|problem| format!("[bootstrap.docker] {problem}")))
    }
}

/// Absolute, and written as the kernel writes it: without `..`, double slashes or one at the end.
pub(super) fn is_clean(path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let again: PathBuf = path.components().collect();
    path.is_absolute() && plain && path.components().count() > 1 && again.as_os_str() == path.as_os_str()
}

/// Which disks become which volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskWants {
    pub layout: Layout,
    /// Take all empty disks of this kind (`lsblk -o TRAN`) …
    pub transport: String,
    /// … that have at least this size.
    pub min_size: Size,
    /// Or exactly these, by serial number.
    pub serials: Vec<String>,
    /// Never touch these, by serial number.
    pub leave: Vec<String>,
    /// Striped over all disks, which is faster; the loss of one disk is the loss of all either way.
    pub striped: bool,
    /// Where the big volume goes: Docker, images, personal storage.
    pub mount: PathBuf,
    /// Layout `split`: where the first disk goes.
    pub first_mount: PathBuf,
    /// Copy what is in `first-mount` to the disk that is mounted over it.
    pub move_contents: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Disks are left alone.
    #[default]
    None,
    /// One volume over all disks.
    Merge,
    /// The first disk for homes, the rest merged.
    Split,
    /// One btrfs over all disks, without LVM.
    Btrfs,
}

impl Default for DiskWants {
    fn default() -> Self {
        Self {
            layout: Layout::None,
            transport: "nvme".into(),
            min_size: Size::gib(400),
            serials: Vec::new(),
            leave: Vec::new(),
            striped: false,
            mount: "/data".into(),
            first_mount: "/home".into(),
            move_contents: false,
        }
    }
}

impl DiskWants {
    /// Names and mount points of the volumes, the one for the first disk first.
    pub fn volumes(&self) -> Vec<(&'static str, PathBuf)> {
        let data = ("data", self.mount.clone());
        match self.layout {
            Layout::None => Vec::new(),
            Layout::Merge | Layout::Btrfs => vec![data],
            Layout::Split => vec![("home", self.first_mount.clone()), data],
        }
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        for (name, target) in self.volumes() {
            if !is_clean(&target) {
                let shown = target.display();
                return Some(format!(
                    "volume {name} cannot be mounted at {shown}; write a path such as /data"
                ));
            }
            if target.to_str().is_none_or(|text| text.contains(char::is_whitespace)) {
                return Some(format!("the mount point {} has a space in it", target.display()));
            }
        }
        if self.layout == Layout::Split && self.mount == self.first_mount {
            return Some("mount and first-mount are the same".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_settings_and_mount_points_are_plain() {
        let setting = |name: &str| {
            Bootstrap { sysctl: [(name.to_owned(), 1)].into(), ..Bootstrap::default() }.problem().is_none()
        };
        assert!(setting("vm.max_map_count") && setting("net.ipv4.conf.eth0/100.forwarding"));
        for name in ["", "vm", "/etc.shadow.", "..etc.shadow", "a./.b", "a.//.b", ".a.b", "a b.c"] {
            assert!(!setting(name), "{name}");
        }
        let mount = |path: &str| {
            let disks = DiskWants { layout: Layout::Merge, mount: path.into(), ..DiskWants::default() };
            disks.problem().is_none()
        };
        assert!(mount("/data") && mount("/srv/data"));
        for path in ["", "/", "data", "/data/", "//data", "/data/../etc", "/./data", "/my data"] {
            assert!(!mount(path), "{path}");
        }
    }
}
