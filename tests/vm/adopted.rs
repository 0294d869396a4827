//! Volumes outlive the system that made them: one that is installed anew finds them, and a disk that came since.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

/// Makes a volume, installs the system anew, puts a disk in; what is on the volume is there, and it has grown.
fn outlives_its_system(rig: &Rig, layout: &str) -> Machine {
    let disks = ["NV1", "NV2"].map(|serial| Disk::new(serial, 1024)).to_vec();
    let mut machine = Machine::boot(rig, Base::Bare, disks);
    let profile = format!("[disks]\n{layout}\nmin-size = \"512MiB\"\n");
    site::deliver(&machine, &[&profile]);
    site::done(&site::bootstrap(&machine, "--apply --yes"));
    machine.ok("echo kept >/data/file && sync");
    let uuid = machine.ok("findmnt -no UUID /data");

    machine.power_off();
    machine.reinstall(Base::Bare);
    machine.disks.insert(0, Disk::new("NV3", 1024));
    machine.power_on();
    assert_eq!(machine.run("findmnt /data").code, 1, "a new system knows nothing of it");
    site::deliver(&machine, &[&profile]);
    let ran = site::bootstrap(&machine, "--apply --yes");
    site::done(&ran);
    assert!(ran.err.contains("grow volume data by NV3"), "{}", ran.err);
    assert_eq!(machine.ok("cat /data/file && findmnt -no UUID /data"), format!("kept\n{uuid}"));
    let bytes: u64 = machine.ok("findmnt -bno SIZE /data").parse().unwrap();
    assert!(bytes > 2700 << 20, "the file system has {bytes} bytes");
    site::nothing_is_left(&machine);
    machine
}

#[test]
fn a_striped_volume_outlives_its_system() {
    let Some(rig) = Rig::find() else { return };
    let machine = outlives_its_system(&rig, "layout = \"merge\"\nstriped = true");
    let segments = machine.ok("lvs --noheadings --segments -o segtype,stripes berth_data | tr -s ' '");
    assert_eq!(segments, " striped 2\n linear 1");
}

#[test]
fn a_btrfs_outlives_its_system() {
    let Some(rig) = Rig::find() else { return };
    let machine = outlives_its_system(&rig, "layout = \"btrfs\"");
    assert_eq!(machine.ok("findmnt -no FSTYPE /data"), "btrfs");
    assert_eq!(machine.ok("btrfs filesystem show /data | grep -c devid"), "3");
    machine.ok("btrfs filesystem df /data | grep -q 'Metadata, RAID1'");
}
