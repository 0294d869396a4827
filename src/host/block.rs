//! Access to block devices: their stable names, their first and last bytes, and whether somebody else has them open.
//!
//! Opening a device exclusively fails while the kernel has it in use in any mount namespace.

mod blank;
mod copies;
mod names;

pub use super::device::block_number as number_of;
pub use blank::{Look, look_at_content};
pub use names::{Names, names_of, nvme_transport};

use super::Host;
use crate::error::Fault;
use crate::model::disk::DiskId;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BY_ID: &str = "/dev/disk/by-id";
/// What is looked at, and wiped, at each end: partition tables, RAID and ZFS labels, and the beginning of the first
/// partition, which lies at 1 MiB and has its file system's superblock when the table itself is lost.
const END: u64 = 16 << 20;

/// Names in /dev/disk/by-id, and the kernel name that each leads to.
pub fn stable_links() -> io::Result<Vec<(String, String)>> {
    let entries = match fs::read_dir(BY_ID) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A link that leads nowhere belongs to a disk that has just gone.
        let Ok(target) = fs::canonicalize(entry.path()) else { continue };
        if let (Some(name), Some(target)) = (entry.file_name().to_str(), target.file_name()) {
            links.push((name.to_owned(), target.to_string_lossy().into_owned()));
        }
    }
    links.sort();
    Ok(links)
}

/// What a wipe leaves at the start, so that the middle of the disk need not be overwritten.
fn wiped_mark(serial: &str) -> Vec<u8> {
    format!("wiped by berth: {serial}\n").into_bytes()
}

/// A device that is open exclusively: nobody else can do so while this value lives.
#[derive(Debug)]
pub struct Alone(File);

/// Opens a whole disk exclusively. Fails unless it is the disk of this id and size.
pub fn take_alone(host: &dyn Host, id: &DiskId, size_bytes: u64) -> Result<Alone, Fault> {
    let path = PathBuf::from(id.path());
    let wrong = |what: String| Fault::refused(format!("disk {}: {what}", id.serial));
    let name = kernel_name(&path).map_err(|error| wrong(format!("{} is gone: {error}", path.display())))?;
    let names = names_of(host, &name);
    if !names.has(&id.serial) {
        let found = names.serial.unwrap_or_else(|| "none".into());
        return Err(wrong(format!("{} leads to a disk with serial number {found}", path.display())));
    }
    let device = open(&path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL, Mode::empty()).map_err(
        |errno| match errno {
            Errno::BUSY => wrong("somebody has it open for themselves".into()),
            errno => wrong(format!("opening {}: {errno}", path.display())),
        },
    )?;
    let mut device = File::from(device);
    let is_block = device.metadata().is_ok_and(|meta| meta.file_type().is_block_device());
    let size = device.seek(SeekFrom::End(0)).unwrap_or(0);
    if !is_block || size != size_bytes {
        return Err(wrong(format!("it has {size} bytes now, and had {size_bytes} when it was approved")));
    }
    Ok(Alone(device))
}

impl Alone {
    /// Overwrites both ends, so that no program recognises anything there, and leaves a mark that berth wiped it.
    pub fn wipe_ends(mut self, serial: &str) -> io::Result<()> {
        let size = self.0.seek(SeekFrom::End(0))?;
        let zeros = vec![0; usize::try_from(END.min(size)).unwrap_or_default()];
        for start in [0, size.saturating_sub(END)] {
            self.0.seek(SeekFrom::Start(start))?;
            self.0.write_all(&zeros)?;
        }
        // Last, and only when the rest is on the disk.
        self.0.sync_all()?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&wiped_mark(serial))?;
        self.0.sync_all()
    }
}

/// The kernel's name of a whole disk behind a link.
pub fn kernel_name(link: &Path) -> io::Result<String> {
    let target = fs::canonicalize(link)?;
    Ok(target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Waits for a device node, because udev makes it some time after the device. Fails after `limit`.
pub fn wait_for_node(path: &Path, limit: Duration) -> Result<(), Fault> {
    let deadline = Instant::now() + limit;
    loop {
        if fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let limit = humantime::format_duration(limit);
            return Err(Fault::host(format!("{} did not appear within {limit}", path.display())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fails if the device cannot be read: programs that look for file systems take such a device for an empty one.
pub fn check_readable(path: &Path) -> io::Result<()> {
    File::open(path)?.read_exact(&mut [0; 512])
}

/// Whether mkfs.xfs finished: until then, byte 126 of the superblock (`sb_inprogress`) is set.
pub fn is_xfs_complete(path: &Path) -> io::Result<bool> {
    let mut start = [0; 127];
    File::open(path)?.read_exact(&mut start)?;
    Ok(start.starts_with(b"XFSB") && start.last() == Some(&0))
}

/// How many members a btrfs says it has: `num_devices` of its superblock, which starts at 64 KiB.
pub fn btrfs_members(path: &Path) -> io::Result<u64> {
    let mut device = File::open(path)?;
    let mut number = [0; 8];
    device.seek(SeekFrom::Start((64 << 10) + 0x88))?;
    device.read_exact(&mut number)?;
    Ok(u64::from_le_bytes(number))
}

/// The UUID of a btrfs that mkfs did not finish: until then, its superblock has another magic number.
pub fn half_made_btrfs(path: &Path) -> Option<String> {
    let mut superblock = [0; 0x48];
    let mut device = File::open(path).ok()?;
    device.seek(SeekFrom::Start(64 << 10)).ok()?;
    device.read_exact(&mut superblock).ok()?;
    if !superblock.ends_with(b"!BHRfS_M") {
        return None;
    }
    let hex: Vec<String> = superblock.get(0x20..0x30)?.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let groups = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?];
    Some(groups.join("-"))
}
