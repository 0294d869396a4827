//! Disks whose names, blocks or places are not what one expects, on one server: another block size, blanks in a serial number,
//! one serial number for two, a disk behind a network, and one that somebody takes at the last moment.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::refusals::sum;
use crate::site;
use std::collections::BTreeMap;

const MIB: u64 = 768;
/// As the kernel makes it of vendor, serial number, model and namespace.
const WWID: &str = "-51454d55204e564d65204374726c-0000000";

fn disks() -> Vec<Disk> {
    let same = |name: &str| {
        let devices = [
            format!("nvme-subsys,id={name}"),
            format!("nvme,id={name}c,serial=SAME,subsys={name}"),
            format!("nvme-ns,bus={name}c,nsid=1"),
        ];
        Disk::odd(name, MIB, &devices.each_ref().map(String::as_str))
    };
    vec![
        Disk::new("FIVE", MIB),
        Disk::odd("FOUR", MIB, &["nvme,serial=FOUR,logical_block_size=4096,physical_block_size=4096"]),
        Disk::odd("BLANKS", MIB, &["nvme,serial= TWO  BLANKS"]),
        Disk::odd("PAIR1", MIB, &["nvme,id=pair,serial=PAIR", "nvme-ns,bus=pair,nsid=1"]),
        Disk::odd("PAIR2", MIB, &["nvme-ns,bus=pair,nsid=2"]),
        // The kernel believes none of the WWIDs that QEMU gives, so that these two have no name of their own.
        same("SAME1"),
        same("SAME2"),
        Disk::new("LATE", MIB),
    ]
}

/// A target of NVMe over TCP on the machine itself, with two namespaces of one serial number. Only the first is blank.
const NETWORK: &str = "set -e
modprobe -a nvmet-tcp nvme-tcp configfs
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
cd /sys/kernel/config/nvmet && mkdir ports/1
for what in trtype=tcp adrfam=ipv4 traddr=127.0.0.1 trsvcid=4420; do echo ${what#*=} >ports/1/addr_${what%=*}; done
for n in 1 2; do
    [ $n = 1 ] || echo theirs >/root/lun$n
    truncate -s 768M /root/lun$n
    mkdir -p subsystems/lun$n/namespaces/1
    echo 1 >subsystems/lun$n/attr_allow_any_host
    echo TWIN >subsystems/lun$n/attr_serial
    echo /root/lun$n >subsystems/lun$n/namespaces/1/device_path
    echo 52540000-0000-4000-8000-00000000000$n >subsystems/lun$n/namespaces/1/device_uuid
    echo 1 >subsystems/lun$n/namespaces/1/enable
    ln -s $PWD/subsystems/lun$n ports/1/subsystems/lun$n
    echo transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=lun$n >/dev/nvme-fabrics
done
timeout 60 sh -c 'until [ -e /dev/disk/by-id/nvme-uuid.52540000-0000-4000-8000-000000000002 ]; do sleep 0.2; done'";

/// What is theirs, with bytes of theirs on it.
const THEIRS: &str = "set -e; udevadm settle
for disk in /dev/nvme*n*; do
    of=/sys/block/${disk#/dev/}
    case $(cat $of/device/serial)_$(cat $of/nsid) in
        PAIR*_2 | SAME*_1) echo theirs >$disk ;;
    esac
done
sync";

#[test]
fn odd_disks_are_known_before_the_first_write() {
    let Some(rig) = Rig::find() else { return };
    let machine = Machine::boot(&rig, Base::Bare, disks());
    site::deliver(&machine, &[site::MERGE]);
    machine.ok(THEIRS);
    machine.ok(NETWORK);
    let before = sums(&machine);
    let state = written(&machine);

    machine.ok("losetup /dev/loop0 /dev/disk/by-id/nvme-*_LATE");
    let said = site::refused(&machine, "--apply --yes --wipe nvme-QEMU_NVMe_Ctrl_PAIR");
    let (first, second) = (wwid("PAIR", 1), wwid("PAIR", 2));
    for what in [
        format!("512 bytes on FIVE, TWO_BLANKS, {first}; 4096 bytes on FOUR"),
        "(LATE, 768MiB) is in use: loop device loop0 over it, from byte 0 on".into(),
        // udev gave this name to one of the two, and after a boot maybe to the other.
        "--wipe nvme-QEMU_NVMe_Ctrl_PAIR: several disks have this name".into(),
        format!("({second}, because serial number PAIR is not its own, 768MiB) holds data"),
        format!("--leave {second} leaves it alone; --wipe {second} destroys what is on it"),
        "--leave SAME leaves it alone".into(),
    ] {
        assert!(said.contains(&what), "{what:?} is not said:\n{said}");
    }
    let nameless =
        "(serial number SAME, which is not its own, 768MiB) has neither a serial number nor a WWID";
    assert_eq!(said.matches(nameless).count(), 2, "{said}");
    assert!(!said.contains("uuid."), "those behind the network are meant:\n{said}");
    machine.ok("losetup -d /dev/loop0 && timeout 60 sh -c 'while losetup /dev/loop0 >/dev/null 2>&1; do sleep 0.2; done'");
    assert_eq!((sums(&machine), written(&machine)), (before.clone(), state.clone()));

    somebody_takes_one_at_the_question(&machine, &format!("--leave FOUR --leave SAME --leave {second}"));
    assert_eq!((sums(&machine), written(&machine)), (before.clone(), state));

    // It is still taken. What was begun has written nothing, and so holds nobody to its disks.
    let leave = "--leave FOUR --leave SAME --leave /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_PAIR_2 --leave LATE"
        .to_owned();
    site::done(&site::bootstrap(&machine, &format!("--apply --yes {leave}")));
    let members = "for disk in $(pvs --noheadings -o pv_name -S vg_name=berth_data); do \
                   cat /sys/block/${disk#/dev/}/wwid; done | sort";
    let mut wanted = [wwid("FIVE", 1), first, wwid(" TWO  BLANKS", 1)];
    wanted.sort();
    assert_eq!(machine.ok(members).split_whitespace().collect::<Vec<_>>(), wanted);
    let again = site::bootstrap(&machine, &leave);
    assert!(again.code == 0 && again.out.contains("Nothing is to be done."), "{}{}", again.out, again.err);
    for n in [1, 2] {
        let note = format!(
            "(uuid.52540000-0000-4000-8000-00000000000{n}, because serial number TWIN is not its own, 768MiB) \
             is left alone: it is no nvme disk but nvme-tcp"
        );
        assert!(again.out.contains(&note), "{note:?} is not said:\n{}", again.out);
    }
    assert_eq!(machine.ok("stat -c %b /root/lun1 && head -n 1 /root/lun2 | tr -d '\\0'"), "0\ntheirs");
    let others = |mut sums: BTreeMap<String, String>| {
        sums.retain(|name, _| !["FIVE", "BLANKS", "PAIR1"].contains(&name.as_str()));
        sums
    };
    assert_eq!(others(sums(&machine)), others(before), "members are written to, and no others");
}

fn wwid(serial: &str, namespace: u8) -> String {
    let hex: Vec<_> = serial.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("nvme.1b36-{}{WWID}{namespace}", hex.concat())
}

/// Of whole disks, read from outside.
fn sums(machine: &Machine) -> BTreeMap<String, String> {
    machine.ok("sync");
    machine.disks.iter().map(|disk| (disk.serial.clone(), sum(&disk.file(machine.dir())))).collect()
}

/// What LVM, file systems and mounts are there. The loop device is the test's.
fn written(machine: &Machine) -> String {
    let state = site::state_of_disks(machine);
    state.lines().filter(|line| !line.starts_with("loop")).collect::<Vec<_>>().join("\n")
}

/// A person reads the plan, and says yes to it when one of its disks is no longer as it says.
fn somebody_takes_one_at_the_question(machine: &Machine, leave: &str) {
    let answered = format!(
        "cd /root && mkfifo keys && {{ script -qefc 'exec /root/berth bootstrap --apply {leave}' screen <>keys >/dev/null 2>&1; \
         echo $? >code; }} & cd /root; until_it() {{ timeout 600 sh -c \"until $1; do sleep 0.2; done\"; }}; \
         until_it \"grep -qs 'Type yes' screen\" && losetup /dev/loop0 /dev/disk/by-id/nvme-*_LATE && \
         printf 'yes\\n' >keys && until_it '[ -s code ]' && cat code"
    );
    assert_eq!(machine.ok_within(site::BOOTSTRAP, &answered), "3", "{}", machine.ok("cat /root/screen"));
    let screen = machine.ok("cat /root/screen");
    assert!(screen.contains("loop device loop0 over it"), "{screen}");
}
