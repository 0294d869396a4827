//! Disks whose beginning was lost: real programs make file systems on sparse files of many TiB, the first 32 MiB go, and
//! what is left must be seen for what it is.

use berth::host::block::look_at_content;
use berth::model::disk::Content;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// `false` leaves a case out, loudly; in CI nothing may be left out.
fn is_there(program: &str) -> bool {
    let is_there =
        Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{program} is not installed");
        eprintln!("SKIPPED: {program} is not installed; run scripts/test cli");
    }
    is_there
}

fn run(program: &str, args: &[&str], file: &Path) {
    let output = Command::new(program).args(args).arg(file).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The beginning, as `dd if=/dev/zero` leaves it.
fn lose(file: &File, length: u64) {
    file.write_all_at(&vec![0; usize::try_from(length).unwrap()], 0).unwrap();
}

#[test]
fn file_systems_whose_beginning_was_lost_are_seen() {
    let ext4 = ["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
    let small_blocks = ["-q", "-F", "-b", "1024", "-N", "65536", "-E", "nodiscard", "-O", "^has_journal"];
    let cases: [(&str, &[&str], u64, &str); 7] = [
        ("mkfs.btrfs", &["-q", "-K"], 3_400_000 * MIB, "btrfs"),
        ("mkfs.xfs", &["-q", "-K"], 3_400_000 * MIB, "xfs"),
        ("mkfs.xfs", &["-q", "-K", "-d", "agcount=37"], 2 * TIB, "xfs"),
        ("mkfs.xfs", &["-q", "-K"], 7 * TIB, "xfs"),
        ("mkfs.ext4", &ext4, 4 * TIB, "ext4"),
        ("mkfs.ext4", &small_blocks, TIB / 64, "ext4"),
        ("mkntfs", &["-Q", "-F", "-q"], 2 * TIB, "ntfs"),
    ];
    for (program, args, size, kind) in cases {
        if !is_there(program) {
            continue;
        }
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(size).unwrap();
        run(program, args, image.path());
        let whole = look_at_content(image.path(), "S1", false);
        assert!(whole.traces.iter().any(|trace| trace.kind == kind), "{program} {args:?}: {whole:?}");
        lose(image.as_file(), 32 * MIB);
        let lost = look_at_content(image.path(), "S1", false);
        assert_eq!(lost.content, Content::Data, "{program} {args:?} on {size}");
        assert!(lost.traces.iter().any(|trace| trace.kind == kind), "{program} {args:?}: {lost:?}");
    }
}

/// Windows begins its first partition of data behind one of its own.
#[test]
fn a_file_system_behind_a_lost_partition_table_is_seen() {
    if !is_there("mkntfs") || !is_there("mkfs.btrfs") {
        return;
    }
    for (program, args, kind) in
        [("mkntfs", &["-Q", "-F", "-q"][..], "ntfs"), ("mkfs.btrfs", &["-q", "-K"], "btrfs")]
    {
        let part = tempfile::NamedTempFile::new().unwrap();
        part.as_file().set_len(300 * MIB).unwrap();
        run(program, args, part.path());
        let bytes = std::fs::read(part.path()).unwrap();
        let disk = tempfile::NamedTempFile::new().unwrap();
        // Far from the disk's end, and only the front of the partition, as Windows leaves an empty one.
        disk.as_file().set_len(3 * TIB).unwrap();
        disk.as_file().write_all_at(&bytes[..4096], 17 * MIB).unwrap();
        disk.as_file().write_all_at(&bytes[64 << 10..(64 << 10) + 4096], 17 * MIB + (64 << 10)).unwrap();
        let found = look_at_content(disk.path(), "S1", false);
        assert_eq!(found.content, Content::Data, "{kind}");
        assert!(found.traces.iter().any(|trace| trace.kind == kind), "{kind}: {found:?}");
    }
}
