//! Sample machines and disks for tests: one of each kind, which a test then changes.

use crate::bootstrap::observed::{BootSeen, Directory, Machine, Mount, Observed};
use crate::model::disk::{Content, Disk, DiskId, Partition, Signature};
use crate::model::disk_use::Use;
use crate::model::docker_seen::{DockerSeen, KernelSeen, PackagesSeen};
use crate::model::observed::{Fstab, OwnParts, Presence};

pub const GIB: u64 = 1 << 30;

pub fn disk(serial: &str) -> Disk {
    Disk {
        name: format!("nvme{}n1", serial.trim_start_matches("NV")),
        id: Some(DiskId { serial: serial.into(), link: format!("nvme-Model_{serial}_1") }),
        shared_serial: None,
        aliases: Vec::new(),
        model: Some("Model".into()),
        size_bytes: 3000 * GIB,
        block_size: Some(512),
        transport: Some("nvme".into()),
        read_only: false,
        removable: false,
        signatures: Vec::new(),
        partitions: Vec::new(),
        uses: Vec::new(),
        content: Content::Blank,
        traces: Vec::new(),
        coverage: None,
        pv: None,
    }
}

pub fn system_disk() -> Disk {
    let root = Partition { part: "1".into(), size_bytes: GIB, signatures: vec![signature("ext4", None)] };
    Disk {
        name: "sda".into(),
        transport: Some("sata".into()),
        signatures: vec![signature("gpt", None)],
        partitions: vec![root],
        uses: vec![mounted("/")],
        content: Content::Data,
        ..disk("SYS")
    }
}

pub fn mounted(at: &str) -> Use {
    Use::Mounted { at: at.into() }
}

pub fn signature(kind: &str, uuid: Option<&str>) -> Signature {
    Signature { kind: kind.into(), uuid: uuid.map(str::to_owned), label: None }
}

pub fn machine(disks: Vec<Disk>) -> Observed {
    Observed {
        machine: Machine {
            id: "m".into(),
            os: "openEuler".into(),
            os_version: None,
            arch: "aarch64".into(),
            kernel: "5.10".into(),
            systemd: true,
            missing_tools: Vec::new(),
        },
        disks,
        groups: Vec::new(),
        btrfs: Vec::new(),
        mounts: vec![mount("/", "root")],
        fstab: Fstab { text: "UUID=root / ext4 defaults 0 1\n".into(), ..Fstab::default() },
        directories: vec![
            Directory { path: "/data".into(), ..Directory::default() },
            Directory { path: "/home".into(), ..Directory::default() },
        ],
        own: OwnParts {
            program: Presence::Same,
            files: Vec::new(),
            group: true,
            storage: Some(0o700),
            storage_is_new: false,
            storage_is_no_directory: false,
            enabled: true,
            active: true,
        },
        driver: None,
        hccn: None,
        cards: None,
        boot: BootSeen { id: "b1".into(), marked: None },
        docker: DockerSeen::default(),
        packages: PackagesSeen::default(),
        kernel: KernelSeen::default(),
    }
}

pub fn mount(target: &str, uuid: &str) -> Mount {
    Mount { target: target.into(), kind: "xfs".into(), uuid: Some(uuid.into()), options: Vec::new() }
}
