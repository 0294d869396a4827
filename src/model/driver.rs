//! Facts about the driver, firmware, account, packages and network addresses, from which `berth bootstrap` decides.

use super::Size;
use super::version::compare;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The first release whose packages are known to note `Driver_Install_Status`.
const FIRST_WITH_STATUS: &str = "24.1.rc1";

/// The driver's own files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFacts {
    /// From version.info; `None` when no driver is installed.
    pub version: Option<String>,
    /// Newer releases name the package's version besides.
    pub package_version: Option<String>,
    /// Firmware that it says it works with: lowest and highest.
    pub firmware_ranges: Vec<(String, String)>,
    /// From the firmware's version.info.
    pub firmware: Option<String>,
    /// `Driver_Install_Status` of /etc/ascend_install.info; `None` without the file, or the key.
    pub install_status: Option<String>,
    /// The file is of the format that releases of 2023 write: it names how the driver was installed, and has neither
    /// mode nor status.
    #[serde(default)]
    pub notes_no_status: bool,
    /// Directories in the place of these files: `docker run -v` makes one where a file is missing.
    #[serde(default)]
    pub directories: Vec<PathBuf>,
    /// The account that it was installed for.
    pub user: Option<String>,
    pub group: Option<String>,
    pub module_loaded: bool,
    pub kernel: String,
    /// Whether /lib/modules/<kernel>/build leads somewhere.
    pub headers: bool,
}

impl DriverFacts {
    /// The version in the name of the package that it came from.
    pub fn package(&self) -> Option<&str> {
        self.package_version.as_deref().or(self.version.as_deref())
    }

    pub fn is_complete(&self) -> bool {
        self.version.is_some()
            && (self.install_status.as_deref() == Some("complete") || self.is_of_a_release_without_status())
    }

    /// Releases before 24.1 note no status; a newer one without it was interrupted.
    pub fn is_of_a_release_without_status(&self) -> bool {
        let is_old = |version: &String| compare(version, FIRST_WITH_STATUS).is_lt();
        self.notes_no_status && self.install_status.is_none() && self.version.as_ref().is_some_and(is_old)
    }
}

/// What there is of the account that the driver runs as, and who has its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSeen {
    /// Its uid and primary gid.
    pub user: Option<(u32, u32)>,
    pub gid: Option<u32>,
    /// Whether the user is in the group.
    pub is_member: bool,
    /// Somebody else with the wanted uid.
    pub uid_holder: Option<String>,
    pub gid_holder: Option<String>,
}

/// A `.run` file, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    pub name: String,
    pub size: Size,
    /// Why root must not run it.
    pub objection: Option<String>,
}

/// The directory of packages that the profile names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagesSeen {
    pub directory: PathBuf,
    /// Sorted by name.
    pub files: Vec<RunFile>,
    /// Why it could not be looked at.
    pub error: Option<String>,
}

/// The address of a card's own network port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAddress {
    pub card: u32,
    pub address: Option<String>,
    pub netmask: Option<String>,
    pub gateway: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HccnSeen {
    /// As the cards say, else as /etc/hccn.conf says that they will have at the next start.
    pub ports: Vec<PortAddress>,
    /// Why the cards could not be asked.
    pub not_asked: Option<String>,
}
