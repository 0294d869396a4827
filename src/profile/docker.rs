//! `[bootstrap.docker]` of a profile: how Docker should be set up on a node.

use super::bootstrap::is_clean;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DockerWants {
    /// Install Docker where it is missing, and set it up. False: Docker is left alone, whatever it is like.
    pub install: bool,
    /// A directory of packages, for nodes without repositories; "" takes the system's repositories.
    pub packages: PathBuf,
    /// Where Docker's data go; "" means `docker` on the big volume where disks have a layout, else where they are.
    pub data_root: PathBuf,
    /// Logs of containers are cut at this size, as Docker writes it: "100m"; "" leaves logs alone.
    pub log_max_size: String,
    /// … and this many are kept of each.
    pub log_max_file: u32,
    /// Containers go on running while Docker itself is restarted.
    pub live_restore: bool,
    /// Where networks of containers get their addresses from; none leaves Docker its own choice.
    pub address_pools: Vec<AddressPool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressPool {
    /// `10.201.0.0/16`
    pub base: String,
    /// The prefix of each network in it.
    pub size: u8,
}

impl Default for DockerWants {
    fn default() -> Self {
        Self {
            install: false,
            packages: PathBuf::new(),
            data_root: PathBuf::new(),
            log_max_size: "100m".into(),
            log_max_file: 3,
            live_restore: true,
            address_pools: Vec::new(),
        }
    }
}

impl DockerWants {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let named = |path: &Path| !path.as_os_str().is_empty();
        if named(&self.packages) && !self.packages.is_absolute() {
            return Some(format!("packages is {}; write an absolute path", self.packages.display()));
        }
        if named(&self.data_root) && !is_plain(&self.data_root) {
            return Some(format!(
                "data-root is {}; write an absolute path of plain names",
                self.data_root.display()
            ));
        }
        let digits = self.log_max_size.trim_end_matches(['k', 'm', 'g']);
        let is_size =
            digits.parse::<u32>().is_ok_and(|size| size > 0) && self.log_max_size.len() - digits.len() < 2;
        if !self.log_max_size.is_empty() && !is_size {
            return Some(format!("log-max-size is {:?}; write a size such as \"100m\"", self.log_max_size));
        }
        if self.log_max_file == 0 {
            return Some("log-max-file is 0; write how many files are kept, at least 1".into());
        }
        self.address_pools.iter().find_map(AddressPool::problem)
    }
}

impl AddressPool {
    fn problem(&self) -> Option<String> {
        let parts = self.base.split_once('/');
        let base = parts.and_then(|(address, prefix)| {
            Some((address.parse::<std::net::Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?))
        });
        match base {
            Some((_, prefix)) if (8..=28).contains(&prefix) && (prefix..=29).contains(&self.size) => None,
            Some(_) => {
                Some(format!("address-pools: {} cannot be cut into networks of /{}", self.base, self.size))
            }
            None => {
                Some(format!("address-pools: {:?} is no IPv4 network; write \"10.201.0.0/16\"", self.base))
            }
        }
    }
}

/// It stands in a unit of systemd, where spaces and percent signs mean something.
fn is_plain(path: &Path) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    is_clean(path) && path.to_str().is_some_and(|text| text.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(DockerWants::default().problem(), None);
        let with = |change: fn(&mut DockerWants)| {
            let mut wants = DockerWants::default();
            change(&mut wants);
            wants.problem().unwrap()
        };
        assert!(with(|wants| wants.packages = "debs".into()).contains("packages"));
        for path in ["docker", "/", "/a/../b", "/a b", "/a%b"] {
            let wants = DockerWants { data_root: path.into(), ..DockerWants::default() };
            assert!(wants.problem().unwrap().contains("data-root"), "{path}");
        }
        for size in ["m", "0m", "5mm", "lots", "-1k"] {
            let wants = DockerWants { log_max_size: size.into(), ..DockerWants::default() };
            assert!(wants.problem().unwrap().contains("log-max-size"), "{size}");
        }
        assert!(with(|wants| wants.log_max_file = 0).contains("log-max-file"));
        for (base, size) in [("10.0.0.0", 24), ("10.0.0.0/16", 8), ("x/16", 24), ("10.0.0.0/16", 31)] {
            let pool = AddressPool { base: base.into(), size };
            let wants = DockerWants { address_pools: vec![pool], ..DockerWants::default() };
            assert!(wants.problem().unwrap().contains("address-pools"), "{base}");
        }
    }
}
