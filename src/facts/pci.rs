//! A vendor's processing accelerators on the PCI bus, from sysfs. This needs no driver.

use crate::host::{Host, read_text};
use crate::model::facts::PciDevice;
use std::path::Path;

/// Which devices are meant. Ids are four hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub vendor: &'static str,
    /// Cards whose class some firmware reports otherwise.
    pub devices: &'static [&'static str],
}

/// "Processing accelerators".
const CLASS: &str = "1200";

pub fn gather(host: &dyn Host, kind: &Kind) -> Result<Vec<PciDevice>, String> {
    let dir = Path::new("/sys/bus/pci/devices");
    let paths = host.list(dir).map_err(|error| format!("{} cannot be read: {error}", dir.display()))?;
    Ok(paths.iter().filter_map(|path| read(host, path, kind)).collect())
}

fn read(host: &dyn Host, path: &Path, kind: &Kind) -> Option<PciDevice> {
    let attribute = |name: &str| read_text(host, &path.join(name)).ok().map(|text| hex(&text));
    let vendor = attribute("vendor").filter(|vendor| vendor == kind.vendor)?;
    let device = attribute("device")?;
    let is_accelerator = attribute("class").is_some_and(|class| class.starts_with(CLASS));
    if !is_accelerator && !kind.devices.contains(&device.as_str()) {
        return None;
    }
    let numa = read_text(host, &path.join("numa_node")).ok();
    Some(PciDevice {
        address: path.file_name()?.to_string_lossy().into_owned(),
        vendor,
        device,
        // -1 where the firmware does not say.
        numa_node: numa.and_then(|text| text.trim().parse().ok()),
    })
}

/// `0x19e5\n` → `19e5`
fn hex(text: &str) -> String {
    text.trim().trim_start_matches("0x").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const KIND: Kind = Kind { vendor: "19e5", devices: &["d801", "d802"] };

    #[test]
    fn accelerators_are_found_by_class_and_by_device() {
        let mut host = FakeHost::default();
        for (address, vendor, device, class, numa) in [
            ("0000:c1:00.0", "0x19e5", "0xd802", "0x120000", "6"),
            ("0000:c2:00.0", "0x19e5", "0xD801", "0x0b4000", "-1"),
            ("0000:03:00.0", "0x19e5", "0x0222", "0x020000", "0"),
            ("0000:04:00.0", "0x10de", "0x20b0", "0x120000", "0"),
        ] {
            for (name, value) in
                [("vendor", vendor), ("device", device), ("class", class), ("numa_node", numa)]
            {
                host =
                    host.with_file(&format!("/sys/bus/pci/devices/{address}/{name}"), &format!("{value}\n"));
            }
        }
        let found: Vec<_> =
            gather(&host, &KIND).unwrap().into_iter().map(|d| (d.address, d.device, d.numa_node)).collect();
        assert_eq!(
            found,
            [("0000:c1:00.0".into(), "d802".into(), Some(6)), ("0000:c2:00.0".into(), "d801".into(), None)]
        );
        assert!(gather(&FakeHost::default(), &KIND).unwrap_err().contains("/sys/bus/pci/devices"));
    }
}
