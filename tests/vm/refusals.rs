//! Disks that are somebody's. Whatever bootstrap is told, they hold afterwards what they held before, byte by byte.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;
use rustix::fs::SeekFrom;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

/// Makes every kind of disk that must not be touched.
const PREPARE: &str = "set -e
disk() { readlink -f /dev/disk/by-id/nvme-*_$1; }
mkfs.ext4 -q $(disk EXT4) && mkdir -p /mnt/theirs && mount $(disk EXT4) /mnt/theirs
echo canary >/mnt/theirs/canary && umount /mnt/theirs
vgcreate -q theirs $(disk LVM) && lvcreate -q -y -n lv -l 50%FREE theirs && mkfs.ext4 -q /dev/theirs/lv
mount /dev/theirs/lv /mnt/theirs && echo canary >/mnt/theirs/canary && umount /mnt/theirs
echo 'label: gpt' | sfdisk -q $(disk GPT)
mkfs.xfs -q $(disk MOUNTED) && echo \"UUID=$(blkid -p -s UUID -o value $(disk MOUNTED)) /mnt/mine xfs nofail 0 0\" >>/etc/fstab
mkswap -q $(disk SWAP) && echo \"UUID=$(blkid -p -s UUID -o value $(disk SWAP)) none swap nofail 0 0\" >>/etc/fstab
mkdir -p /mnt/mine && systemctl daemon-reload && mount /mnt/mine && echo canary >/mnt/mine/canary && swapon -a
dd if=/dev/urandom of=$(disk RAW) bs=1M seek=300 count=16 conv=fsync 2>/dev/null
mkfs.btrfs -q -K $(disk LOST) && dd if=/dev/zero of=$(disk LOST) bs=1M count=32 conv=fsync 2>/dev/null
sync";

/// Makes holders that the kernel does not keep others away for; nothing of it is there after a boot.
const HOLD: &str = "set -e
disk() { readlink -f /dev/disk/by-id/nvme-*_$1; }
mkdir -p /mnt/looped /mnt/elsewhere
loop=$(losetup --find --show --offset 1048576 $(disk LOOPED)) && mkfs.ext4 -q -E lazy_itable_init=0 $loop
mount -o ro $loop /mnt/looped
systemd-run -q --unit=keeper sh -c \"exec 3<>$(disk OPENED); exec sleep infinity\"
mkfs.ext4 -q -E lazy_itable_init=0 $(disk ELSEWHERE)
systemd-run -q --unit=hidden -p PrivateMounts=yes \\
    sh -c \"mount -o ro $(disk ELSEWHERE) /mnt/elsewhere && touch /run/hidden; exec sleep infinity\"
timeout 60 sh -c 'until [ -e /run/hidden ]; do sleep 0.2; done'
if grep -q /mnt/elsewhere /proc/1/mountinfo; then exit 1; fi
sync";

/// A plan is for the machine as it is, and these would be gone after its next boot.
const LET_GO: &str = "set -e
umount /mnt/looped && losetup --detach /dev/loop0
systemctl stop keeper hidden
timeout 60 sh -c 'while grep -qs /mnt/elsewhere /proc/[0-9]*/mountinfo; do sleep 0.2; done'
sync";

/// In use while the machine runs, so that their bytes may change.
const USED: [&str; 2] = ["MOUNTED", "SWAP"];
const THEIRS: [&str; 10] =
    ["EXT4", "LVM", "GPT", "MOUNTED", "SWAP", "RAW", "LOST", "LOOPED", "OPENED", "ELSEWHERE"];
/// As big as real ones; the file is sparse.
const BIG: u64 = 3_400_000;

#[test]
fn what_is_on_somebodys_disk_stays() {
    let Some(rig) = Rig::find() else { return };
    let size = |serial: &str| if serial == "LOST" { BIG } else { 768 };
    let mut disks: Vec<_> = THEIRS.iter().map(|serial| Disk::new(serial, size(serial))).collect();
    // Those that become a volume have different sizes, and are striped as far as they go.
    disks.extend([Disk::new("SMALL", 256), Disk::new("EMPTY", 768), Disk::new("GONE", 896)]);
    let mut machine = Machine::boot(&rig, Base::Bare, disks);
    site::deliver(&machine, &[site::MERGE, "striped = true\n"]);
    machine.ok(PREPARE);
    machine.ok(HOLD);
    let before = sums(&machine);

    for args in ["", "--apply --yes"] {
        let said = site::refused(&machine, args);
        for serial in THEIRS {
            assert!(said.contains(&format!("({serial}, ")), "{serial} is not named:\n{said}");
        }
        for reason in [
            "ext4",
            "LVM",
            "partition table (gpt)",
            "mounted at /mnt/mine",
            "swap",
            "data of a kind",
            "left of btrfs",
        ] {
            assert!(said.contains(reason), "{reason:?} is not given:\n{said}");
        }
        assert!(!said.contains("(SMALL, ") && !said.contains("(EMPTY, "), "{said}");
        look_at(&machine, &before);
    }
    // What is in use cannot be wiped, whoever asks; a disk that is not there neither.
    for (serial, reason) in [
        ("MOUNTED", "mounted at /mnt/mine"),
        ("SWAP", "swap"),
        ("NONE", "NONE"),
        ("LOOPED", "loop device loop0 over it, from byte 1048576 on"),
        ("LOOPED", "mounted at /mnt/looped"),
        ("OPENED", "keeper.service"),
        ("ELSEWHERE", "mounted at /mnt/elsewhere in the mount namespace of"),
    ] {
        let said = site::refused(&machine, &format!("--apply --yes --wipe {serial}"));
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains(&format!("--wipe {serial} destroys")), "{said}");
        look_at(&machine, &before);
    }
    let said = site::refused(&machine, "--apply --yes --leave NOSUCH");
    assert!(said.contains("--leave NOSUCH: no disk here has this name"), "{said}");
    look_at(&machine, &before);
    machine.ok(LET_GO);
    look_at(&machine, &before);
    vanishes_and_comes_back_elsewhere(&mut machine, &before);
    one_is_wiped(&machine, before);
}

/// A plan for the two empty disks, which is applied when one has gone, and when all have other names.
fn vanishes_and_comes_back_elsewhere(machine: &mut Machine, before: &BTreeMap<String, String>) {
    let leave: Vec<_> = THEIRS.iter().map(|serial| format!("--leave {serial}")).collect();
    let leave = leave.join(" ");
    let made = site::bootstrap(machine, &format!("{leave} --out /root/plan.json"));
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    machine.unplug("GONE");
    let said = site::refused(machine, &format!("{leave} --apply /root/plan.json --yes"));
    assert!(said.contains("GONE"), "{said}");
    assert_eq!(machine.run("vgs berth_data").code, 5, "no volume was begun");
    look_at(machine, before);

    let first = machine.device("EMPTY");
    machine.power_off();
    machine.disks.rotate_right(4);
    machine.power_on();
    assert_ne!(machine.device("EMPTY"), first, "the name went to another disk");
    let applied = site::bootstrap(machine, &format!("{leave} --apply /root/plan.json --yes"));
    site::done(&applied);
    let members = machine.ok("pvs --noheadings -o pv_name -S vg_name=berth_data | sort");
    let mut wanted = ["EMPTY", "GONE"].map(|serial| machine.device(serial));
    wanted.sort();
    assert_eq!(members.split_whitespace().collect::<Vec<_>>(), wanted);
    // Striped over disks of two sizes, it is whole at once.
    let again = site::bootstrap(machine, &leave);
    assert!(again.code == 0 && again.out.contains("Nothing is to be done."), "{}{}", again.out, again.err);
    look_at(machine, before);
}

/// The one that a person named is wiped and used, and no other.
fn one_is_wiped(machine: &Machine, mut before: BTreeMap<String, String>) {
    let leave: Vec<_> =
        THEIRS.iter().filter(|serial| **serial != "GPT").map(|serial| format!("--leave {serial}")).collect();
    let applied = site::bootstrap(machine, &format!("--apply --yes --wipe GPT {}", leave.join(" ")));
    site::done(&applied);
    assert_eq!(machine.ok("vgs --noheadings -o pv_count berth_data").trim(), "3", "the volume grew");
    before.remove("GPT");
    look_at(machine, &before);
    for disk in [machine.device("EXT4"), "/dev/theirs/lv".to_owned()] {
        let read = format!("mount -o ro {disk} /mnt/theirs && cat /mnt/theirs/canary && umount /mnt/theirs");
        assert_eq!(machine.ok(&read), "canary", "{disk}");
    }
}

/// Checksums of whole disks, read from outside.
fn sums(machine: &Machine) -> BTreeMap<String, String> {
    machine.ok("sync");
    let known = machine.disks.iter().filter(|disk| {
        let serial = disk.serial.as_str();
        THEIRS.contains(&serial) && !USED.contains(&serial)
    });
    known.map(|disk| (disk.serial.clone(), sum(&disk.file(machine.dir())))).collect()
}

/// Of the blocks that are not zeros, with their places: a sparse file of many TiB is not read whole.
pub fn sum(file: &std::path::Path) -> String {
    const BLOCK: usize = 4096;
    const STEP: u64 = BLOCK as u64;
    let file = std::fs::File::open(file).unwrap();
    let mut hasher = Command::new("b2sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = std::io::BufWriter::new(hasher.stdin.take().unwrap());
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
        for place in (data / STEP..hole.div_ceil(STEP)).map(|number| number * STEP) {
            let mut block = [0; BLOCK];
            let length = file.read_at(&mut block, place).unwrap();
            if block.iter().any(|byte| *byte != 0) {
                input.write_all(&place.to_le_bytes()).unwrap();
                input.write_all(&block[..length]).unwrap();
            }
        }
        at = hole;
    }
    drop(input);
    let output = hasher.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().to_owned()
}

/// Theirs are as they were.
#[track_caller]
fn look_at(machine: &Machine, before: &BTreeMap<String, String>) {
    let mut now = sums(machine);
    now.retain(|serial, _| before.contains_key(serial));
    assert_eq!(now, *before, "somebody's disk has changed");
    assert_eq!(machine.ok("cat /mnt/mine/canary"), "canary");
    assert!(machine.ok("swapon --show=NAME --noheadings").contains(&machine.device("SWAP")));
}
