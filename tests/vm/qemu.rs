//! What a machine is started with: the images that `scripts/test` built, disks, and the line for QEMU.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where `scripts/test` keeps the servers.
pub struct Rig {
    pub image: PathBuf,
    pub scratch: PathBuf,
    /// Root file systems for containers.
    pub containers: PathBuf,
}

impl Rig {
    /// `None` leaves a test out, loudly; in CI nothing may be left out.
    pub fn find() -> Option<Self> {
        let dir = variable("BERTH_TEST_VM")?;
        let containers = variable("BERTH_TEST_IMAGES")?;
        let rig = Self { image: dir.join("image"), scratch: dir.join("tmp"), containers };
        assert!(rig.image.join("recipe").exists(), "{} has no servers: scripts/test vm", rig.image.display());
        std::fs::create_dir_all(&rig.scratch).unwrap();
        Some(rig)
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).map(PathBuf::from);
    if value.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{name} is not set in CI");
        eprintln!("SKIPPED: {name} is not set; run scripts/test vm");
    }
    value
}

/// What is on the root disk.
#[derive(Clone, Copy)]
pub enum Base {
    /// Debian 12, nothing else.
    Bare,
    /// With Docker installed.
    Docker,
}

/// An NVMe disk: a sparse file, which outlives the machine's boots.
#[derive(Clone)]
pub struct Disk {
    /// Of an odd one only the name of its file.
    pub serial: String,
    pub mib: u64,
    /// As QEMU wants them, such as `nvme,serial=S`; the last one is the disk, those before it what it hangs on.
    devices: Vec<String>,
}

impl Disk {
    pub fn new(serial: &str, mib: u64) -> Self {
        Self::odd(serial, mib, &[&format!("nvme,serial={serial}")])
    }

    pub fn odd(name: &str, mib: u64, devices: &[&str]) -> Self {
        Self { serial: name.into(), mib, devices: devices.iter().map(|&device| device.into()).collect() }
    }

    pub fn file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.raw", self.serial))
    }

    /// Empty when it is new.
    fn make(&self, dir: &Path) {
        let file = std::fs::File::options().create(true).append(true).open(self.file(dir)).unwrap();
        file.set_len(self.mib * 1024 * 1024).unwrap();
    }
}

/// An overlay: what the machine writes, while the image stays as it is.
pub fn make_root(image: &Path, base: Base, dir: &Path) {
    let name = match base {
        Base::Bare => "bare.raw",
        Base::Docker => "docker.raw",
    };
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    let status =
        command.arg(image.join(name)).arg(dir.join("root.qcow2")).status().expect("qemu-img is there");
    assert!(status.success(), "qemu-img made no overlay");
}

/// Starts the machine with its disks in this order of slots. It ends with the thread that started it.
pub fn start(image: &Path, dir: &Path, disks: &[Disk], port: u16) -> Child {
    let fixed = std::fs::read_to_string(image.join("machine.args")).unwrap();
    // The kernel ends it with us, however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]).args(fixed.lines()).current_dir(image);
    // Flushes are obeyed: what a guest has not flushed may be lost when the power goes.
    let root = dir.join("root.qcow2");
    drive(&mut command, "root", &format!("file={},format=qcow2", root.display()));
    command.args(["-device", "virtio-blk-pci,drive=root,serial=root"]);
    for (at, disk) in disks.iter().enumerate() {
        disk.make(dir);
        let id = format!("d{at}");
        drive(&mut command, &id, &format!("file={},format=raw,discard=unmap", disk.file(dir).display()));
        let (last, before) = disk.devices.split_last().expect("a disk is a device");
        for device in before {
            command.arg("-device").arg(device);
        }
        command.arg("-device").arg(format!("{last},drive={id}"));
    }
    command.arg("-netdev").arg(format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"));
    command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
    command.arg("-serial").arg(format!("file:{}", dir.join("console.log").display()));
    let log = std::fs::File::options().create(true).append(true).open(dir.join("qemu.log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("setpriv is there")
}

fn drive(command: &mut Command, id: &str, file: &str) {
    command.arg("-drive").arg(format!("{file},if=none,id={id},cache=writeback"));
}
