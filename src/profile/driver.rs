//! `[bootstrap.driver]` and `[bootstrap.hccn]` of a profile: the driver's packages and the cards' network addresses.

use crate::model::version::is_version;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

/// Which driver and firmware a node should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DriverWants {
    /// A directory with the vendor's `.run` files; empty: the driver is left alone.
    pub packages: PathBuf,
    /// As the vendor writes it in the files' names.
    pub product: String,
    /// Empty: the newest in the directory.
    pub driver: String,
    /// Empty: the newest in the directory that goes with the driver.
    pub firmware: String,
    /// Install an older one over a newer one.
    pub downgrade: bool,
    /// Install driver and firmware of which berth does not know that they go together.
    pub trust_pair: bool,
    /// The account that the driver runs as; images expect these names and numbers.
    pub user: String,
    pub group: String,
    pub uid: u32,
    pub gid: u32,
}

impl Default for DriverWants {
    fn default() -> Self {
        Self {
            packages: PathBuf::new(),
            product: "910b".into(),
            driver: String::new(),
            firmware: String::new(),
            downgrade: false,
            trust_pair: false,
            user: "HwHiAiUser".into(),
            group: "HwHiAiUser".into(),
            uid: 1000,
            gid: 1000,
        }
    }
}

impl DriverWants {
    pub fn is_wanted(&self) -> bool {
        !self.packages.as_os_str().is_empty()
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.is_wanted() && !is_plain_path(&self.packages) {
            return Some(format!(
                "packages is {}; name a directory by its full path",
                self.packages.display()
            ));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.product.is_empty() || !self.product.chars().all(is_word) {
            return Some(format!(
                "product is {:?}; write it as in the packages' names, such as 910b",
                self.product
            ));
        }
        for (key, version) in [("driver", &self.driver), ("firmware", &self.firmware)] {
            if !version.is_empty() && !is_version(version) {
                return Some(format!("{key} is {version:?}, which is no version"));
            }
        }
        for (key, name) in [("user", &self.user), ("group", &self.group)] {
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !starts || name.len() > 31 || !name.chars().all(is_word) {
                return Some(format!("{key} is {name:?}, which is no name of an account"));
            }
            if name == "root" {
                return Some(format!("{key} is root: every berth would have to open its cards as root"));
            }
        }
        (self.uid == 0 || self.gid == 0).then(|| "uid and gid must not be 0".into())
    }
}

/// The addresses of the cards' own network ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HccnWants {
    /// For one node.
    pub addresses: Vec<WantedAddress>,
    /// For many: a table with the columns host, card, address, netmask and, where wanted, gateway.
    pub csv: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WantedAddress {
    pub card: u32,
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
}

impl HccnWants {
    pub fn is_wanted(&self) -> bool {
        !self.addresses.is_empty() || !self.csv.as_os_str().is_empty()
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let has_csv = !self.csv.as_os_str().is_empty();
        if has_csv && !self.addresses.is_empty() {
            return Some("addresses and csv are both given; one of them says what the cards get".into());
        }
        (has_csv && !is_plain_path(&self.csv))
            .then(|| format!("csv is {}; name a file by its full path", self.csv.display()))
    }
}

fn is_plain_path(path: &Path) -> bool {
    let is_plain = |part: Component| !matches!(part, Component::ParentDir | Component::CurDir);
    path.is_absolute()
        && path.components().all(is_plain)
        && path.to_str().is_some_and(|text| !text.contains('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(DriverWants::default().problem(), None);
        let cases: [(&str, &str); 8] = [
            ("packages = \"packages\"", "full path"),
            ("packages = \"/data/../etc\"", "full path"),
            ("product = \"910b/..\"", "packages' names"),
            ("driver = \"newest\"", "no version"),
            ("firmware = \"7.8 --force\"", "no version"),
            ("user = \"-x\"", "no name of an account"),
            ("group = \"root\"", "as root"),
            ("gid = 0", "must not be 0"),
        ];
        for (text, why) in cases {
            let wants: DriverWants = toml::from_str(text).unwrap();
            let problem = wants.problem().unwrap_or_default();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn addresses_come_from_one_place() {
        let entry = "addresses = [{ card = 0, address = \"10.0.0.1\", netmask = \"255.0.0.0\" }]\n";
        let wants: HccnWants = toml::from_str(entry).unwrap();
        assert!(wants.is_wanted() && wants.problem().is_none());
        let both: HccnWants = toml::from_str(&format!("{entry}csv = \"/a.csv\"")).unwrap();
        assert!(both.problem().unwrap().contains("both"));
        assert!(toml::from_str::<HccnWants>("addresses = [{ card = 0, address = \"10.0.0.300\" }]").is_err());
        assert!(HccnWants { csv: "a.csv".into(), ..HccnWants::default() }.problem().is_some());
    }
}
