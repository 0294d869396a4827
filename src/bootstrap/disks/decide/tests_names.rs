//! Names of disks, and the messages about disks that cannot be used.

use super::tests::{asked, decide, refusals, steps};
use super::{Naming, resolve};
use crate::bootstrap::plan::Part;
use crate::bootstrap::samples::{disk, machine, signature, system_disk};
use crate::model::disk::{Content, Coverage, Disk};
use crate::model::disk_use::{Process, Use};
use crate::profile::Layout;

/// The second namespace of NV1's controller.
fn twin(wwid: &str) -> Disk {
    Disk {
        shared_serial: Some("NV1".into()),
        aliases: vec![wwid.into(), format!("nvme-{wwid}")],
        ..disk(wwid)
    }
}

#[test]
fn a_name_that_means_no_disk_is_refused_and_several_are_only_left() {
    let nameless = Disk { id: None, aliases: vec!["usb-X".into()], ..disk("NV9") };
    let seen = machine(vec![twin("eui.1"), twin("eui.2"), disk("NV3"), nameless]);
    let of = |option, typed: &str| {
        let mut part = Part::default();
        let names = resolve(&seen, option, &[typed.to_owned()], &mut part);
        (names, part.refusals.iter().map(|refusal| refusal.what.clone()).collect::<Vec<_>>().join("\n"))
    };
    let said = |typed: &str| of(Naming::Leave, typed);
    assert_eq!(said("NV3"), (vec!["NV3".into()], String::new()));
    assert_eq!(said("/dev/disk/by-id/nvme-eui.2"), (vec!["eui.2".into()], String::new()));
    assert_eq!(said("usb-X"), (vec!["usb-X".into()], String::new()));
    for typed in ["NOSUCH", "", "nv3", "NV"] {
        assert!(said(typed).1.contains(&format!("--leave {typed}: no disk here has this name")));
    }
    assert_eq!(said("NV1"), (vec!["NV1".into()], String::new()));
    let mut left = asked(Layout::Merge);
    left.wants.leave = said("NV1").0;
    let others = machine(vec![twin("eui.1"), twin("eui.2"), disk("NV3")]);
    assert!(steps(&decide(&others, &left))[0].ends_with("over NV3 (2.9TiB)"));
    let (names, why) = of(Naming::Wipe, "NV1");
    assert!(
        names.is_empty() && why.contains("several disks have this name") && why.contains("(eui.2, "),
        "{why}"
    );
}

#[test]
fn twins_and_disks_without_a_serial_number_can_be_left_and_wiped() {
    let full = Disk { signatures: vec![signature("ext4", None)], content: Content::Data, ..twin("eui.2") };
    let nameless = Disk { id: None, aliases: vec!["usb-X".into()], ..disk("NV9") };
    let seen = machine(vec![twin("eui.1"), full, nameless, system_disk()]);
    let mut named = asked(Layout::Merge);
    let said = refusals(&seen, &named);
    assert!(said.contains("because serial number NV1 is not its own"), "{said}");
    named.wants.leave = vec!["nvme-eui.2".into(), "usb-X".into()];
    assert!(steps(&decide(&seen, &named))[0].ends_with("over eui.1 (2.9TiB)"));
    named.wants.leave = vec!["usb-X".into()];
    named.wipe = vec!["eui.2".into()];
    assert!(steps(&decide(&seen, &named))[0].starts_with("wipe disk eui.2"));
    // Both have it: neither is meant for certain.
    let mut both = asked(Layout::Merge);
    both.wants.serials = vec!["NV1".into()];
    assert!(refusals(&seen, &both).contains("2 disks have this serial number"));
}

#[test]
fn only_what_a_wipe_can_help_gets_that_advice() {
    let help = |disk: Disk| {
        let part = decide(&machine(vec![disk, system_disk()]), &asked(Layout::Merge));
        part.refusals.iter().filter_map(|refusal| refusal.help.clone()).collect::<Vec<_>>().join("\n")
    };
    let data = || Disk { content: Content::Data, ..disk("NV1") };
    assert!(help(data()).contains("--wipe NV1"));
    let process = Process { pid: 7, name: "qemu".into(), unit: None };
    for disk in [
        Disk { content: Content::Held, ..disk("NV1") },
        Disk { content: Content::Unreadable("I/O error".into()), ..disk("NV1") },
        Disk { read_only: true, ..data() },
        Disk { id: None, aliases: vec!["usb-X".into()], ..data() },
        Disk { uses: vec![Use::Loop { name: "loop0".into(), offset: 0 }], ..data() },
        Disk { uses: vec![Use::Open { process }], ..data() },
        Disk { uses: vec![Use::Unseen { what: "why".into() }], ..data() },
    ] {
        let said = help(disk.clone());
        assert!(!said.contains("--wipe") && said.contains("--leave"), "{disk:?}: {said}");
    }
    assert!(
        help(Disk { uses: vec![Use::Loop { name: "loop0".into(), offset: 0 }], ..data() })
            .contains("losetup -d /dev/loop0")
    );
}

#[test]
fn disks_of_different_blocks_make_no_volume() {
    let seen = machine(vec![disk("NV1"), Disk { block_size: Some(4096), ..disk("NV2") }]);
    let said = refusals(&seen, &asked(Layout::Merge));
    assert!(said.contains("blocks of different sizes: 512 bytes on NV1; 4096 bytes on NV2"), "{said}");
    // btrfs has blocks of its own; one size is one.
    assert!(steps(&decide(&seen, &asked(Layout::Btrfs))).len() == 2);
    assert!(steps(&decide(&seen, &asked(Layout::Split))).len() == 4);
}

#[test]
fn a_plan_says_how_sure_it_is_of_an_empty_disk() {
    let coverage = Some(Coverage { known: 9, random: 2048 });
    let seen = machine(vec![Disk { coverage, ..disk("NV1") }, Disk { coverage, ..disk("NV2") }]);
    let notes = decide(&seen, &asked(Layout::Merge)).notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    for part in ["(NV1, 2.9TiB), nvme2n1 (NV2, 2.9TiB)", "9 places", "2048 at random", "0.2 % with 98.3 %"] {
        assert!(notes[0].contains(part), "{part}: {notes:?}");
    }
}

#[test]
fn a_namespace_over_a_network_is_not_taken_for_a_local_disk() {
    let far = Disk { transport: Some("nvme-tcp".into()), ..disk("NV2") };
    let part = decide(&machine(vec![disk("NV1"), far]), &asked(Layout::Merge));
    assert!(steps(&part)[0].ends_with("over NV1 (2.9TiB)"));
    assert!(part.notes.join("\n").contains("it is no nvme disk but nvme-tcp"), "{:?}", part.notes);
}

#[test]
fn a_disk_has_several_names() {
    let twin = Disk {
        shared_serial: Some("NV_1".into()),
        aliases: vec!["eui.1".into(), "nvme-eui.1".into()],
        ..disk("eui.1")
    };
    for name in ["eui.1", "nvme-eui.1", "/dev/disk/by-id/nvme-eui.1", "NV_1", "NV  1", " NV 1 "] {
        assert!(twin.is_called(name), "{name}");
    }
    for name in ["", "NV", "eui", "NV_", "/dev/disk/by-id/"] {
        assert!(!twin.is_called(name), "{name}");
    }
    assert!(
        twin.describe().contains("(eui.1, because serial number NV_1 is not its own, "),
        "{}",
        twin.describe()
    );
}
