//! The one reader of a disk's names: those that people type, and that are compared before a write. It also reads the
//! transport of NVMe disks. All comes from the kernel, never from udev's database.

use crate::host::{Host, read_text};
use crate::model::disk::one_word;
use std::path::Path;

/// Each as one word.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names {
    pub serial: Option<String>,
    /// The id of the namespace or logical unit, not only of the controller.
    pub wwid: Option<String>,
}

impl Names {
    pub fn has(&self, name: &str) -> bool {
        [&self.serial, &self.wwid].into_iter().flatten().any(|known| known == name)
    }
}

/// NVMe, virtio and SCSI disks have them in different places.
pub fn names_of(host: &dyn Host, kernel_name: &str) -> Names {
    let read = |file: &str, head: usize| {
        let bytes = host.read(Path::new(&format!("/sys/block/{kernel_name}/{file}"))).ok()?;
        let text = one_word(&String::from_utf8_lossy(bytes.get(head..)?));
        (!text.is_empty()).then_some(text)
    };
    // The last one is a page of SCSI's vital product data, behind a head of four bytes.
    let serial = [("device/serial", 0), ("serial", 0), ("device/vpd_pg80", 4)];
    Names {
        serial: serial.iter().find_map(|(file, head)| read(file, *head)),
        wwid: ["wwid", "device/wwid"].iter().find_map(|file| read(file, 0)),
    }
}

/// lsblk calls every NVMe namespace `nvme`, wherever its controller is. `nvme` here is one in this machine.
pub fn nvme_transport(host: &dyn Host, kernel_name: &str) -> Option<String> {
    let device = format!("/sys/block/{kernel_name}/device");
    let read = |path: &Path| Some(one_word(&read_text(host, path).ok()?));
    let own = read(&Path::new(&device).join("transport"));
    // A namespace of several paths belongs to a subsystem, in which its controllers are.
    let paths = host.list(Path::new(&device)).unwrap_or_default();
    let controllers = paths.iter().filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("nvme"))
    });
    let mut all: Vec<String> =
        own.into_iter().chain(controllers.filter_map(|path| read(&path.join("transport")))).collect();
    all.sort();
    match all.iter().find(|transport| *transport != "pcie") {
        Some(other) => Some(format!("nvme-{other}")),
        None => (!all.is_empty()).then(|| "nvme".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn names_are_read_where_each_kind_of_disk_has_them() {
        let host = FakeHost::default()
            .with_file("/sys/block/nvme0n1/device/serial", "S1  X \n")
            .with_file("/sys/block/nvme0n1/wwid", "eui.0025\n")
            .with_file("/sys/block/vda/serial", "root")
            .with_file("/sys/block/sda/device/vpd_pg80", "\0\u{1}\0\u{8}   Z4D5 ")
            .with_file("/sys/block/sda/device/wwid", "t10.ATA     X   Z4D5\n");
        let names = |name: &str| names_of(&host, name);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(names("nvme0n1"), Names { serial: some("S1_X"), wwid: some("eui.0025") });
        assert_eq!(names("vda"), Names { serial: some("root"), wwid: None });
        assert_eq!(names("sda"), Names { serial: some("Z4D5"), wwid: some("t10.ATA_X_Z4D5") });
        assert_eq!(names("sdb"), Names::default());
        assert!(names("nvme0n1").has("eui.0025") && !names("sdb").has(""));
    }

    #[test]
    fn a_namespace_over_a_network_is_no_local_one() {
        let host = FakeHost::default()
            .with_file("/sys/block/nvme0n1/device/transport", "pcie\n")
            .with_file("/sys/block/nvme1n1/device/transport", "tcp\n")
            .with_file("/sys/block/nvme2n1/device/nvme2/transport", "pcie\n")
            .with_file("/sys/block/nvme3n1/device/nvme3/transport", "pcie\n")
            .with_file("/sys/block/nvme3n1/device/nvme4/transport", "rdma\n")
            .with_file("/sys/block/nvme5n1/size", "1\n");
        let said: Vec<Option<String>> =
            (0..6).filter(|n| *n != 4).map(|n| nvme_transport(&host, &format!("nvme{n}n1"))).collect();
        let said: Vec<&str> = said.iter().map(|said| said.as_deref().unwrap_or("unknown")).collect();
        assert_eq!(said, ["nvme", "nvme-tcp", "nvme", "nvme-rdma", "unknown"]);
    }
}
