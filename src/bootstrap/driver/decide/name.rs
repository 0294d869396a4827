//! Reads the vendor's file names: product, kind, version, architecture.

use crate::bootstrap::plan::PackageKind;
use crate::model::version::is_version;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) product: String,
    pub(super) kind: PackageKind,
    pub(super) version: String,
    /// As Rust and `uname -m` call it; `None` for firmware, which fits every architecture.
    pub(super) arch: Option<String>,
}

/// How the file names of this product begin: the vendor writes the product after `hdk`, but for A3 before it.
pub(super) fn begin(product: &str) -> String {
    if product.eq_ignore_ascii_case("A3") {
        format!("Atlas-{product}-hdk-npu-")
    } else {
        format!("Ascend-hdk-{product}-npu-")
    }
}

/// `Ascend-hdk-910b-npu-driver_25.5.1_linux-aarch64.run`, `Ascend-hdk-910b-npu-firmware_7.8.0.6.201.run`,
/// `Atlas-A3-hdk-npu-driver_25.5.0_linux-aarch64.run`
pub(super) fn parse(name: &str) -> Option<Named> {
    let whole = name.strip_suffix(".run")?;
    let (product, rest) = match whole.strip_prefix("Ascend-hdk-") {
        Some(middle) => middle.split_once("-npu-")?,
        None => whole.strip_prefix("Atlas-")?.split_once("-hdk-npu-")?,
    };
    let kinds = [("driver_", PackageKind::Driver), ("firmware_", PackageKind::Firmware)];
    let (rest, kind) = kinds.into_iter().find_map(|(word, kind)| Some((rest.strip_prefix(word)?, kind)))?;
    let (version, arch) = match rest.rsplit_once("_linux-") {
        // The vendor writes x86-64.
        Some((version, arch)) => (version, Some(arch.replace('-', "_"))),
        None => (rest, None),
    };
    let is_whole = !product.is_empty() && is_version(version) && arch.as_deref() != Some("");
    let is_driver = kind == PackageKind::Driver;
    (is_whole && (!is_driver || arch.is_some())).then(|| Named {
        product: product.to_owned(),
        kind,
        version: version.to_owned(),
        arch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_names_are_read() {
        let driver = parse("Ascend-hdk-910b-npu-driver_25.5.0.b061_linux-aarch64.run").unwrap();
        assert_eq!((driver.product.as_str(), driver.version.as_str()), ("910b", "25.5.0.b061"));
        assert_eq!((driver.kind, driver.arch.as_deref()), (PackageKind::Driver, Some("aarch64")));
        let other = parse("Ascend-hdk-310p-npu-driver_25.0.rc1.1_linux-x86-64.run").unwrap();
        assert_eq!((other.product.as_str(), other.arch.as_deref()), ("310p", Some("x86_64")));
        let firmware = parse("Ascend-hdk-910b-npu-firmware_7.8.0.6.201.run").unwrap();
        assert_eq!((firmware.kind, firmware.version.as_str()), (PackageKind::Firmware, "7.8.0.6.201"));
        assert_eq!(firmware.arch, None);
        let a3 = parse("Atlas-A3-hdk-npu-driver_25.5.0.b061_linux-aarch64.run").unwrap();
        assert_eq!(
            (a3.product.as_str(), a3.version.as_str(), a3.kind),
            ("A3", "25.5.0.b061", PackageKind::Driver)
        );
        let a3 = parse("Atlas-A3-hdk-npu-firmware_7.7.0.3.228.run").unwrap();
        assert_eq!((a3.product.as_str(), a3.kind), ("A3", PackageKind::Firmware));
    }

    #[test]
    fn other_names_are_not() {
        for name in [
            "Ascend-cann-toolkit_8.5.0_linux-aarch64.run",
            "Ascend-docker-runtime_7.3.0_linux-aarch64.run",
            "Ascend-hdk-910b-npu-driver_25.5.1_linux-aarch64.run.part",
            "Ascend-hdk-910b-npu-driver_25.5.1.run",
            "Ascend-hdk-910b-npu-driver_latest_linux-aarch64.run",
            "Ascend-hdk--npu-driver_25.5.1_linux-aarch64.run",
            "Ascend-hdk-910b-npu-driver_25.5.1 (1)_linux-aarch64.run",
            "Ascend-hdk-910b-npu-firmware_.run",
            "Ascend-hdk-910b-mcu_25.50.10.run",
            "Atlas-A3-hdk-mcu_25.50.10.run",
            "Atlas--hdk-npu-firmware_7.7.0.3.228.run",
            "Ascend-hdk-910b-npu-toolbox_25.5.1_linux-aarch64.run",
            ".run",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
