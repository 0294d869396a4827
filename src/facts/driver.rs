//! The driver's files: its version.info, the firmware's, ascend_install.info, and the kernel module.

use crate::host::{Host, read_text, sysctl};
use crate::model::driver::DriverFacts;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub const DRIVER: &str = "/usr/local/Ascend/driver";
/// As the vendor calls it.
const ACCOUNT: &str = "HwHiAiUser";
const INSTALL_INFO: &str = "/etc/ascend_install.info";
/// The module that answers for cards on the PCI bus.
const MODULE: &str = "drv_pcie_host";

/// `driver`: its directory, where the profile mounts it from.
pub fn gather(host: &dyn Host, driver: &Path) -> Result<DriverFacts, String> {
    let firmware = driver.parent().unwrap_or(Path::new("/")).join("firmware/version.info");
    let mut directories = Vec::new();
    let mut read = |path: &Path| match read_optional(host, path)? {
        Place::File(text) => Ok(text),
        Place::Nothing => Ok(String::new()),
        Place::Directory => {
            directories.push(path.to_path_buf());
            Ok::<_, String>(String::new())
        }
    };
    let (own, firmware) = (read(&driver.join("version.info"))?, read(&firmware)?);
    let install = read(Path::new(INSTALL_INFO))?;
    let kernel = sysctl::need(host, sysctl::KERNEL)?;
    // A kernel with everything built in has no such file, and no driver that was built for it.
    let modules = read_optional(host, Path::new("/proc/modules"))?.text();
    let headers = PathBuf::from("/lib/modules").join(&kernel).join("build");
    Ok(DriverFacts {
        version: field(&own, "Version"),
        package_version: field(&own, "package_version"),
        firmware_ranges: field(&own, "compatible_version_fw").map(|text| ranges(&text)).unwrap_or_default(),
        firmware: field(&firmware, "Version"),
        install_status: field(&install, "Driver_Install_Status"),
        notes_no_status: field(&install, "Driver_Install_Type").is_some()
            && field(&install, "Driver_Install_Mode").is_none(),
        directories,
        user: field(&install, "UserName"),
        group: field(&install, "UserGroup"),
        module_loaded: modules.lines().any(|line| line.split_whitespace().next() == Some(MODULE)),
        headers: host.exists(&headers),
        kernel,
    })
}

/// The account that the driver was installed for; HwHiAiUser where no file names one.
pub fn account_name(host: &dyn Host) -> Result<String, String> {
    let install = read_optional(host, Path::new(INSTALL_INFO))?.text();
    let plain =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    Ok(field(&install, "UserName").filter(plain).unwrap_or_else(|| ACCOUNT.to_owned()))
}

/// What is in the place of a file.
enum Place {
    Nothing,
    Directory,
    File(String),
}

impl Place {
    fn text(self) -> String {
        if let Self::File(text) = self { text } else { String::new() }
    }
}

fn read_optional(host: &dyn Host, path: &Path) -> Result<Place, String> {
    match read_text(host, path) {
        Ok(text) => Ok(Place::File(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Place::Nothing),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Place::Directory),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// `key=value`, of bounded length. Of several, the last counts: the vendor's scripts append.
fn field(text: &str, key: &str) -> Option<String> {
    let of_line =
        |line: &str| line.trim().strip_prefix(key)?.trim_start().strip_prefix('=').map(str::to_owned);
    let value = text.lines().rev().find_map(of_line)?;
    let value: String = value.trim().chars().take(200).collect();
    (!value.is_empty()).then_some(value)
}

/// `[7.0.0,7.2.99]`, or several of them.
fn ranges(text: &str) -> Vec<(String, String)> {
    text.split('[')
        .filter_map(|part| part.split(']').next()?.split_once(','))
        .map(|(low, high)| (low.trim().to_owned(), high.trim().to_owned()))
        .filter(|(low, high)| !low.is_empty() && !high.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn an_installed_driver_is_read() {
        let host = FakeHost::default()
            .with_file(
                "/usr/local/Ascend/driver/version.info",
                "Version=24.1.rc1\nInnerversion=V100\ncompatible_version=[V100R001C30],[V100R001C13]\ncompatible_version_fw=[7.0.0,7.2.99]\n",
            )
            .with_file("/usr/local/Ascend/firmware/version.info", "Version=7.1.0.6.220\n")
            .with_file("/etc/ascend_install.info", "UserName=HwHiAiUser\nDriver_Install_Status=complete\n")
            .with_file("/proc/modules", "drv_pcie_host 1 0 - Live 0x0\n")
            .with_file("/proc/sys/kernel/osrelease", "5.10.0-60\n")
            .with_file("/lib/modules/5.10.0-60/build/Makefile", "");
        let facts = gather(&host, Path::new(DRIVER)).unwrap();
        assert_eq!(facts.version.as_deref(), Some("24.1.rc1"));
        assert_eq!(facts.firmware_ranges, [("7.0.0".to_owned(), "7.2.99".to_owned())]);
        assert_eq!(facts.firmware.as_deref(), Some("7.1.0.6.220"));
        assert_eq!(facts.install_status.as_deref(), Some("complete"));
        assert_eq!(account_name(&host).unwrap(), "HwHiAiUser");
        let other = FakeHost::default().with_file("/etc/ascend_install.info", "UserName=npu-admin\n");
        assert_eq!(account_name(&other).unwrap(), "npu-admin");
        assert!(facts.module_loaded && facts.headers && facts.kernel == "5.10.0-60");
    }

    #[test]
    fn a_directory_in_a_file_s_place_blinds_nobody() {
        let host = FakeHost::default()
            .with_file("/usr/local/Ascend/driver/version.info", "Version=24.1.0.3\n")
            .with_file("/etc/ascend_install.info/made-by-docker", "")
            .with_file("/proc/sys/kernel/osrelease", "6.1\n");
        let facts = gather(&host, Path::new(DRIVER)).unwrap();
        assert_eq!((facts.version.as_deref(), facts.is_complete()), (Some("24.1.0.3"), false));
        assert_eq!(facts.directories, [Path::new(INSTALL_INFO)]);
        assert_eq!(account_name(&host).unwrap(), ACCOUNT);
    }

    #[test]
    fn releases_of_2023_note_no_status() {
        let of = |version: &str, info: &str| {
            let host = FakeHost::default()
                .with_file("/usr/local/Ascend/driver/version.info", &format!("Version={version}\n"))
                .with_file(INSTALL_INFO, info)
                .with_file("/proc/sys/kernel/osrelease", "6.1\n");
            gather(&host, Path::new(DRIVER)).unwrap().is_complete()
        };
        let old = "UserName=HwHiAiUser\nDriver_Install_Type=full\nDriver_Install_For_All=yes\n";
        assert!(of("23.0.rc2", old) && of("23.0.6", old));
        assert!(!of("24.1.rc1", old), "a newer package that wrote none was interrupted");
        assert!(!of("23.0.6", "UserName=HwHiAiUser\n") && !of("23.0.6", ""));
        assert!(!of("23.0.6", &format!("{old}Driver_Install_Status=installing\n")));
        assert!(!of("23.0.6", &format!("{old}Driver_Install_Mode=normal\n")));
    }

    #[test]
    fn no_driver_is_no_error_and_garbage_is_no_version() {
        let bare = FakeHost::default().with_file("/proc/sys/kernel/osrelease", "6.1\n");
        let facts = gather(&bare, Path::new(DRIVER)).unwrap();
        assert!(facts.version.is_none() && !facts.is_complete() && !facts.module_loaded && !facts.headers);
        assert!(ranges("],[[,][1").is_empty());
        assert_eq!(field("Version=2\nVersion=\n", "Version"), None);
        assert!(gather(&FakeHost::default(), Path::new(DRIVER)).is_err());
    }
}
