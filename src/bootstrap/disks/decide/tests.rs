//! Every state in which disks can be, and what is decided about them.

use super::{DisksInput, plan};
use crate::bootstrap::observed::{BtrfsVolume, Observed};
use crate::bootstrap::plan::{AddMount, Danger, MakeVolume, Part, Step};
use crate::bootstrap::samples::{GIB, disk, machine, mount, mounted, signature, system_disk};
use crate::facts::fstab;
use crate::model::disk::{Content, Disk, HALF_BTRFS, Partition, PhysicalVolume, Signature};
use crate::model::disk_use::Use;
use crate::model::observed::{FileSystem, LogicalVolume, VolumeGroup};
use crate::profile::{DiskWants, Layout};
use std::cell::Cell;

#[derive(Default)]
pub(super) struct Asked {
    pub(super) wants: DiskWants,
    pub(super) wipe: Vec<String>,
    unfinished: Vec<Step>,
    fresh: Vec<String>,
}

pub(super) fn asked(layout: Layout) -> Asked {
    Asked { wants: DiskWants { layout, ..DiskWants::default() }, ..Asked::default() }
}

pub(super) fn decide(seen: &Observed, asked: &Asked) -> Part {
    let count = Cell::new(0);
    let new_uuid = || {
        count.set(count.get() + 1);
        format!("00000000-0000-4000-8000-{:012}", count.get())
    };
    let request = DisksInput {
        wants: &asked.wants,
        wipe: &asked.wipe,
        unfinished: &asked.unfinished,
        fresh: &asked.fresh,
        new_uuid: &new_uuid,
    };
    plan(seen, &request)
}

pub(super) fn steps(part: &Part) -> Vec<String> {
    assert!(part.refusals.is_empty(), "{:?}", part.refusals);
    part.steps.iter().map(|planned| planned.step.describe()).collect()
}

pub(super) fn refusals(seen: &Observed, asked: &Asked) -> String {
    let part = decide(seen, asked);
    assert!(!part.refusals.is_empty(), "{:?}", part.steps);
    part.refusals.iter().map(|refusal| refusal.what.clone()).collect::<Vec<_>>().join("\n")
}

/// A machine with a volume `data` that berth made over one disk.
fn with_volume() -> Observed {
    let member = Disk {
        pv: Some(PhysicalVolume { uuid: "p1".into(), group: Some("berth_data".into()) }),
        signatures: vec![signature("LVM2_member", None)],
        uses: vec![logical("berth_data-data"), mounted("/data")],
        content: Content::Data,
        ..disk("NV1")
    };
    let mut seen = machine(vec![member, system_disk()]);
    seen.groups.push(group("data", "fs"));
    seen.mounts.push(mount("/data", "fs"));
    let line = "UUID=fs /data xfs defaults,nofail,pquota 0 0\n";
    seen.fstab = fstab::parse(&format!("{}{line}", seen.fstab.text));
    seen
}

fn logical(name: &str) -> Use {
    Use::Volume { name: name.into() }
}

fn group(name: &str, uuid: &str) -> VolumeGroup {
    let file_system = FileSystem { kind: "xfs".into(), uuid: Some(uuid.into()), label: None, complete: true };
    VolumeGroup {
        name: format!("berth_{name}"),
        uuid: "g".into(),
        tags: vec!["berth".into(), format!("berth.volume.{name}")],
        missing_disks: 0,
        disks: 1,
        free_bytes: 0,
        volumes: vec![LogicalVolume {
            name: name.into(),
            tags: Vec::new(),
            size_bytes: GIB,
            active: true,
            stripes: 1,
            file_system: Some(file_system),
        }],
    }
}

#[test]
fn empty_disks_become_one_volume() {
    let seen = machine(vec![disk("NV1"), disk("NV2"), disk("NV3"), system_disk()]);
    let part = decide(&seen, &asked(Layout::Merge));
    assert_eq!(
        steps(&part),
        [
            "make volume data (LVM linear, XFS) over NV1 (2.9TiB), NV2 (2.9TiB), NV3 (2.9TiB)",
            "mount volume data at /data, now and at every boot"
        ]
    );
    let mut striped = asked(Layout::Merge);
    striped.wants.striped = true;
    assert!(steps(&decide(&seen, &striped))[0].contains("LVM striped"));
    assert!(steps(&decide(&seen, &asked(Layout::Btrfs)))[0].contains("(btrfs)"));
}

#[test]
fn names_of_the_kernel_decide_nothing() {
    let mut seen = machine(vec![disk("NV1"), disk("NV2"), disk("NV3")]);
    let before = decide(&seen, &asked(Layout::Split));
    for (disk, name) in seen.disks.iter_mut().zip(["nvme2n1", "nvme0n1", "nvme1n1"]) {
        disk.name = name.into();
    }
    assert_eq!(decide(&seen, &asked(Layout::Split)).steps, before.steps);
    let commands: Vec<String> = before.steps.iter().flat_map(|planned| planned.step.commands()).collect();
    assert!(commands.iter().all(|command| !command.contains("/dev/nvme")), "{commands:?}");
}

#[test]
fn the_first_disk_of_a_split_is_for_homes() {
    let seen = machine(vec![disk("NV1"), disk("NV2"), disk("NV3"), system_disk()]);
    let part = decide(&seen, &asked(Layout::Split));
    let words = steps(&part);
    assert!(words[0].starts_with("make volume home (LVM linear, XFS) over NV1"), "{words:?}");
    assert!(words[2].starts_with("make volume data (LVM linear, XFS) over NV2 (2.9TiB), NV3"), "{words:?}");
    assert!(
        refusals(&machine(vec![disk("NV1")]), &asked(Layout::Split)).contains("2 empty disks are needed")
    );
    // Where they are mounted below the other volume, that one is mounted first.
    let mut below = asked(Layout::Split);
    below.wants.first_mount = "/data/berth".into();
    let part = decide(&seen, &below);
    let targets = part.steps.iter().filter_map(|planned| match &planned.step {
        Step::AddMount(mount) => mount.target.to_str(),
        _ => None,
    });
    assert_eq!(targets.collect::<Vec<_>>(), ["/data", "/data/berth"]);
    assert!(steps(&part)[2].contains("volume home (LVM linear, XFS) over NV1"), "{part:?}");
}

#[test]
fn contents_are_never_hidden_unless_they_move() {
    let mut seen = machine(vec![disk("NV1"), disk("NV2")]);
    seen.directories[1].entries = 3;
    let mut asked = asked(Layout::Split);
    assert!(refusals(&seen, &asked).contains("/home is not empty (3 names)"));
    asked.wants.move_contents = true;
    let words = steps(&decide(&seen, &asked));
    assert_eq!(words[1], "copy /home to volume home and compare");
    assert!(words[2].starts_with("mount volume home"), "{words:?}");
    // A volume that another system filled is not one to copy into.
    let mut adopted = with_volume();
    adopted.disks.push(disk("NV2"));
    adopted.disks.push(Disk {
        pv: Some(PhysicalVolume { uuid: "p3".into(), group: Some("berth_home".into()) }),
        signatures: vec![signature("LVM2_member", None)],
        content: Content::Data,
        ..disk("NV3")
    });
    adopted.groups.push(group("home", "h"));
    adopted.directories[1].entries = 3;
    assert!(refusals(&adopted, &asked).contains("/home is not empty"));
    asked.fresh = vec!["h".into()];
    assert!(steps(&decide(&adopted, &asked))[0].starts_with("copy /home"));
    // A run that ended after it had begun to mount, and before fstab said so.
    asked.fresh = Vec::new();
    let target = "/home".into();
    let (name, uuid, kind, options) = ("home".into(), "h".into(), "xfs".into(), "defaults".into());
    asked.unfinished = vec![Step::AddMount(AddMount { name, uuid, kind, target, options })];
    assert!(steps(&decide(&adopted, &asked))[0].starts_with("copy /home"));
    // The old contents below a volume that is in fstab: of a run that did not come to mount it, they are compared again.
    adopted.fstab = fstab::parse("UUID=root / ext4\nUUID=h /home xfs defaults,nofail,pquota\n");
    assert!(steps(&decide(&adopted, &asked))[0].starts_with("copy /home"));
    asked.unfinished = Vec::new();
    assert!(steps(&decide(&adopted, &asked))[0].starts_with("mount volume home"));
    // The volume for everything else never moves anything.
    let mut seen = machine(vec![disk("NV1"), disk("NV2")]);
    seen.directories[0].entries = 1;
    assert!(refusals(&seen, &asked).contains("/data is not empty"));
    seen.directories[0].link_to = Some("/mnt/big".into());
    assert!(refusals(&seen, &asked).contains("/data leads to /mnt/big"));
}

#[test]
fn a_volume_on_disks_that_are_not_meant_is_not_used() {
    // Another server's disk, put in to be read.
    let mut seen = with_volume();
    seen.mounts.clear();
    seen.fstab = fstab::parse("UUID=root / ext4\n");
    seen.disks[0].uses.clear();
    seen.disks.push(disk("NV2"));
    let mut asked = asked(Layout::Merge);
    assert!(steps(&decide(&seen, &asked))[0].starts_with("mount volume data"));
    for change in [
        |asked: &mut Asked, _: &mut Observed| asked.wants.leave = vec!["NV1".into()],
        |asked: &mut Asked, _: &mut Observed| asked.wants.serials = vec!["NV2".into()],
        |_: &mut Asked, seen: &mut Observed| seen.disks[0].removable = true,
        |_: &mut Asked, seen: &mut Observed| seen.disks[0].transport = Some("iscsi".into()),
        |_: &mut Asked, seen: &mut Observed| seen.groups[0].disks = 2,
    ] {
        let (mut asked, mut seen) = (Asked { wants: asked.wants.clone(), ..Asked::default() }, seen.clone());
        change(&mut asked, &mut seen);
        assert!(refusals(&seen, &asked).contains("on disks that are not meant"), "{:?}", asked.wants);
        // What is in use already goes on being used.
        seen.mounts.push(mount("/data", "fs"));
        let refusals = decide(&seen, &asked).refusals;
        assert!(refusals.iter().all(|refusal| !refusal.what.contains("not meant")), "{refusals:?}");
    }
    asked.wants.leave = vec!["NV2".into()];
    assert!(steps(&decide(&seen, &asked))[0].starts_with("mount volume data"));
}

#[test]
fn an_interrupted_growth_goes_on() {
    let mut seen = with_volume();
    let orphan = |uuid: &str| Disk {
        pv: Some(PhysicalVolume { uuid: uuid.into(), group: None }),
        signatures: vec![signature("LVM2_member", None)],
        content: Content::Data,
        ..disk("NV2")
    };
    seen.disks.push(disk("NV2"));
    let mut asked = asked(Layout::Merge);
    let grow = decide(&seen, &asked).steps[0].step.clone();
    let Step::GrowVolume(volume) = &grow else { panic!("{grow:?}") };
    let uuid = volume.disks[0].pv_uuid.clone();
    *seen.disks.last_mut().unwrap() = orphan(&uuid);
    assert!(refusals(&seen, &asked).contains("(NV2, "), "nobody knows whose it is");
    asked.unfinished = vec![grow.clone()];
    assert_eq!(decide(&seen, &asked).steps[0].step, grow, "with the same identifiers");
    *seen.disks.last_mut().unwrap() = orphan("another");
    assert!(refusals(&seen, &asked).contains("(NV2, "));
    // It is in the volume, which has no room left, and the file system may not know of it.
    let mut joined = orphan(&uuid);
    joined.pv.as_mut().unwrap().group = Some("berth_data".into());
    *seen.disks.last_mut().unwrap() = joined;
    seen.groups[0].disks = 2;
    assert_eq!(decide(&seen, &asked).steps[0].step, grow);
    asked.unfinished.clear();
    assert!(decide(&seen, &asked).steps.is_empty());
}

#[test]
fn what_holds_or_does_anything_is_refused_with_its_holder() {
    let uses = |used: Use| Disk { uses: vec![used], content: Content::Data, ..disk("NV2") };
    let holds = |kind: &str| Disk {
        signatures: vec![signature(kind, Some("u"))],
        content: Content::Data,
        ..disk("NV2")
    };
    let part = Partition { part: "p1".into(), size_bytes: GIB, signatures: Vec::new() };
    for (other, why) in [
        (holds("ext4"), "holds ext4 u"),
        (holds("gpt"), "holds a partition table (gpt)"),
        (holds(HALF_BTRFS), "holds unfinished btrfs u"),
        (Disk { partitions: vec![part], content: Content::Data, ..disk("NV2") }, "holds partition p1 (1GiB)"),
        (
            Disk {
                pv: Some(PhysicalVolume { uuid: "x".into(), group: Some("vg0".into()) }),
                ..holds("LVM2_member")
            },
            "holds a part of the LVM volume group vg0",
        ),
        (uses(mounted("/mnt")), "is in use: mounted at /mnt"),
        (uses(Use::Swap), "is in use: used as swap"),
        (uses(Use::Stacked { kind: "raid1".into(), name: "md0".into() }), "is in use: raid1 device md0"),
        (Disk { content: Content::Data, ..disk("NV2") }, "data of a kind that nobody here knows"),
        (Disk { content: Content::Held, ..disk("NV2") }, "is held by somebody"),
        (
            Disk { content: Content::Unreadable("I/O error".into()), ..disk("NV2") },
            "cannot be read: I/O error",
        ),
        (Disk { read_only: true, ..disk("NV2") }, "is read-only"),
        (Disk { id: None, ..disk("NV2") }, "has neither a serial number nor a WWID"),
    ] {
        let seen = machine(vec![disk("NV1"), other.clone(), system_disk()]);
        let said = refusals(&seen, &asked(Layout::Merge));
        assert!(said.contains("nvme2n1") && said.contains(why), "{said}");
        // Left alone, the rest goes on.
        let mut leaving = asked(Layout::Merge);
        leaving.wants.leave = vec!["NV2".into()];
        if other.id.is_some() {
            assert!(steps(&decide(&seen, &leaving))[0].ends_with("over NV1 (2.9TiB)"));
        }
    }
}

#[test]
fn all_refusals_come_together() {
    let mut seen = machine(vec![
        Disk { signatures: vec![signature("ext4", None)], ..disk("NV1") },
        Disk { uses: vec![Use::Swap], ..disk("NV2") },
    ]);
    seen.fstab = fstab::parse("UUID=root / ext4\nnonsense\n");
    let said = refusals(&seen, &asked(Layout::Merge));
    for part in ["ext4", "swap", "/etc/fstab line 2 is no entry", "nonsense"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn disks_that_are_not_meant_are_left_alone() {
    let small = Disk { size_bytes: GIB, signatures: vec![signature("ext4", None)], ..disk("NV2") };
    let pulled = Disk { removable: true, ..disk("NV3") };
    let nvme_system = Disk { uses: vec![mounted("/boot/efi"), mounted("/")], ..disk("NV4") };
    let seen = machine(vec![disk("NV1"), small, pulled, nvme_system, system_disk()]);
    let part = decide(&seen, &asked(Layout::Merge));
    assert!(steps(&part)[0].ends_with("over NV1 (2.9TiB)"));
    let notes = part.notes.join("\n");
    for why in ["smaller than 400GiB", "can be pulled out", "the system runs from it (/boot/efi)", "sda"] {
        assert!(notes.contains(why), "{notes}");
    }
    let mut named = asked(Layout::Merge);
    named.wants.serials = vec!["NV9".into()];
    assert!(refusals(&seen, &named).contains("the profile names disk NV9"));
    assert!(refusals(&machine(vec![system_disk()]), &asked(Layout::Merge)).contains("0 are there"));
    assert!(decide(&seen, &asked(Layout::None)).steps.is_empty());
}

#[test]
fn only_the_disk_that_was_named_is_wiped() {
    let full = |serial: &str| Disk {
        signatures: vec![signature("ext4", None)],
        content: Content::Data,
        ..disk(serial)
    };
    let seen = machine(vec![disk("NV1"), full("NV2"), full("NV3"), system_disk()]);
    let mut named = asked(Layout::Merge);
    named.wipe = vec!["NV2".into()];
    let said = refusals(&seen, &named);
    assert!(said.contains("NV3") && !said.contains("NV2"), "{said}");
    named.wipe = vec!["NV2".into(), "NV3".into()];
    let part = decide(&seen, &named);
    assert_eq!(steps(&part)[0], "wipe disk NV2 (2.9TiB): it holds ext4");
    let destroyed = part.steps.iter().filter(|planned| matches!(planned.step.danger(), Danger::Destroys(_)));
    assert_eq!(destroyed.count(), 2);
    for wrong in ["SYS", "NV7", ""] {
        named.wipe = vec!["NV2".into(), "NV3".into(), wrong.into()];
        assert!(refusals(&seen, &named).contains(&format!("--wipe {wrong}: no disk")));
    }
    // Named or not: not while it is in use, and not what berth keeps its data on.
    let mut used = full("NV2");
    used.uses = vec![logical("vg0-lv")];
    named.wipe = vec!["NV2".into()];
    assert!(refusals(&machine(vec![disk("NV1"), used]), &named).contains("in use: LVM volume vg0-lv"));
    named.wipe = vec!["NV1".into()];
    assert!(refusals(&with_volume(), &named).contains("--wipe NV1: no disk"));
}

#[test]
fn a_volume_of_ours_is_adopted_and_grows() {
    let seen = with_volume();
    let part = decide(&seen, &asked(Layout::Merge));
    assert!(steps(&part).is_empty());
    assert_eq!(part.right, ["volume data is there", "volume data is mounted at /data"]);
    // After the system was installed anew: not mounted, not in fstab.
    let mut fresh = with_volume();
    fresh.mounts.pop();
    fresh.fstab = fstab::parse("UUID=root / ext4\n");
    fresh.disks[0].uses.pop();
    assert_eq!(
        steps(&decide(&fresh, &asked(Layout::Merge))),
        ["mount volume data at /data, now and at every boot"]
    );
    // A further disk.
    let mut more = with_volume();
    more.disks.push(disk("NV2"));
    assert_eq!(steps(&decide(&more, &asked(Layout::Merge))), ["grow volume data by NV2 (2.9TiB)"]);
    // An interrupted growth.
    let mut room = with_volume();
    room.groups[0].free_bytes = GIB;
    assert_eq!(steps(&decide(&room, &asked(Layout::Merge))), ["grow volume data into the room that it has"]);
}

#[test]
fn a_volume_that_is_not_whole_is_refused() {
    let change = |change: &dyn Fn(&mut Observed)| {
        let mut seen = with_volume();
        change(&mut seen);
        refusals(&seen, &asked(Layout::Merge))
    };
    assert!(change(&|seen| seen.groups[0].missing_disks = 1).contains("misses 1 of its 1 disks"));
    assert!(change(&|seen| seen.groups[0].volumes.clear()).contains("no whole file system"));
    assert!(change(&|seen| seen.groups[0].volumes[0].active = false).contains("is not active"));
    assert!(change(&|seen| seen.groups[0].volumes[0].file_system = None).contains("no whole file system"));
    assert!(change(&|seen| seen.groups[0].tags.clear()).contains("berth did not make it"));
    assert!(change(&|seen| seen.groups.push(group("data", "other"))).contains("2 volume groups say"));
    let other = |seen: &mut Observed| {
        let volume = &mut seen.groups[0].volumes[0];
        volume.file_system.as_mut().unwrap().kind = "ext4".into();
    };
    assert!(change(&other).contains("holds ext4, which berth did not make"));
    assert!(
        change(&|seen| seen.mounts[1].uuid = Some("x".into())).contains("something else is mounted at /data")
    );
    let entry = |line: &str| {
        let text = format!("{line}\n");
        change(&|seen: &mut Observed| seen.fstab = fstab::parse(&text))
    };
    assert!(entry("/dev/sdb1 /data ext4 defaults 0 0").contains("line 1 mounts /dev/sdb1 at /data"));
    assert!(entry("UUID=fs /mnt xfs defaults 0 0").contains("line 1 mounts volume data at /mnt"));
}

#[test]
fn an_interrupted_run_goes_on_with_what_it_had_chosen() {
    let seen = machine(vec![disk("NV1"), disk("NV2")]);
    let first = decide(&seen, &asked(Layout::Merge));
    let Step::MakeVolume(volume) = first.steps[0].step.clone() else { panic!("{:?}", first.steps) };
    let mut again = asked(Layout::Merge);
    again.unfinished = vec![Step::MakeVolume(volume.clone())];
    // Nothing was written: the same disks may become anything.
    assert!(matches!(&decide(&seen, &again).steps[0].step, Step::MakeVolume(_)));
    // Nor is what somebody else put there since the run's.
    let mut foreign = seen.clone();
    foreign.disks[1].signatures = vec![signature("ext4", None)];
    assert!(refusals(&foreign, &again).contains("(NV2, 2.9TiB) holds ext4"));
    again.wants.leave = vec!["NV2".into()];
    assert!(steps(&decide(&foreign, &again))[0].ends_with("over NV1 (2.9TiB)"));
    again.wants.leave = Vec::new();
    // One member was made.
    let member = |group: Option<&str>, volume: &MakeVolume| PhysicalVolume {
        uuid: volume.disks[0].pv_uuid.clone(),
        group: group.map(str::to_owned),
    };
    let mut half = seen.clone();
    half.disks[0].signatures = vec![signature("LVM2_member", None)];
    half.disks[0].content = Content::Data;
    half.disks[0].pv = Some(member(None, &volume));
    assert_eq!(decide(&half, &again).steps[0].step, Step::MakeVolume(volume.clone()));
    again.wants.leave = vec!["NV2".into()];
    assert!(refusals(&half, &again).contains("it is named to be left alone"));
    again.wants.leave = Vec::new();
    // Without the journal it is somebody's.
    assert!(refusals(&half, &asked(Layout::Merge)).contains("holds LVM2_member"));
    // The logical volume is there, its file system is not whole.
    let mut later = half.clone();
    for (disk, part) in later.disks.iter_mut().zip(&volume.disks) {
        disk.signatures = vec![signature("LVM2_member", None)];
        disk.content = Content::Data;
        disk.pv = Some(PhysicalVolume { uuid: part.pv_uuid.clone(), group: Some("berth_data".into()) });
        disk.uses = vec![logical("berth_data-data")];
    }
    later.groups.push(group("data", &volume.uuid));
    later.groups[0].volumes[0].file_system.as_mut().unwrap().complete = false;
    assert_eq!(decide(&later, &again).steps[0].step, Step::MakeVolume(volume.clone()));
    // Somebody mounted it, or put a file system of their own on a disk.
    later.disks[0].uses.push(mounted("/mnt"));
    assert!(
        refusals(&later, &again)
            .contains("cannot go on: disk nvme1n1 (NV1, 2.9TiB) is in use: mounted at /mnt")
    );
    half.disks[1].signatures = vec![signature("ext4", None)];
    assert!(refusals(&half, &again).contains("(NV2, 2.9TiB) holds ext4"));
    // A disk that is gone.
    half.disks.pop();
    assert!(refusals(&half, &again).contains("disk NV2 is not there"));
}

#[test]
fn btrfs_is_known_by_its_label_and_its_members() {
    let mut member = disk("NV1");
    member.signatures =
        vec![Signature { kind: "btrfs".into(), uuid: Some("b".into()), label: Some("berth-data".into()) }];
    member.content = Content::Data;
    let mut seen = machine(vec![member, disk("NV2")]);
    let volume = |expected| BtrfsVolume {
        uuid: "b".into(),
        label: Some("berth-data".into()),
        disks: vec!["NV1".into()],
        expected_disks: expected,
    };
    seen.btrfs = vec![volume(1)];
    let words = steps(&decide(&seen, &asked(Layout::Btrfs)));
    assert_eq!(
        words,
        ["mount volume data at /data, now and at every boot", "grow volume data by NV2 (2.9TiB)"]
    );
    seen.btrfs = vec![volume(2)];
    assert!(refusals(&seen, &asked(Layout::Btrfs)).contains("has 1 of its 2 disks"));
}

#[test]
fn options_of_an_admin_stay() {
    let mut seen = with_volume();
    seen.fstab = fstab::parse("UUID=fs /data xfs noauto,noatime,x-systemd.device-timeout=5 0 0\n");
    seen.mounts[1].options = vec!["rw".into()];
    let part = decide(&seen, &asked(Layout::Merge));
    let [planned] = part.steps.as_slice() else { panic!("{part:?}") };
    let Step::AddMount(mount) = &planned.step else { panic!("{part:?}") };
    assert_eq!(mount.options, "defaults,nofail,pquota,x-systemd.device-timeout=60s,noatime");
    assert!(part.notes.iter().any(|note| note.contains("without project quotas")), "{:?}", part.notes);
}
