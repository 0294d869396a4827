//! The guard, the journal and plans as files.

use super::journal::{Journal, JournalEvent};
use super::{
    AddMount, DiskPart, Expected, FilePurpose, Format, Held, MakeVolume, Plan, Planned, SCHEMA, Step,
    WipeDisk, WriteFile, approve, check_made_for, check_still_true, read_plan, write_plan,
};
use crate::bootstrap::samples::{GIB, disk, machine, mounted, signature, system_disk};
use crate::error::{ErrorClass, Fault};
use crate::host::{FakeHost, Host as _, RealHost, read_text};
use crate::model::Size;
use crate::model::disk::{Content, Disk, PhysicalVolume};
use crate::model::disk_use::Use;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;

const SIZE: Size = Size(3000 * GIB);

fn volume() -> Step {
    let id = disk("NV1").id.unwrap();
    let part = DiskPart { id, size: SIZE, pv_uuid: "p1".into() };
    Step::MakeVolume(MakeVolume {
        name: "data".into(),
        format: Format::XfsLinear,
        disks: vec![part],
        uuid: "fs".into(),
    })
}

fn mount_step() -> Step {
    Step::AddMount(AddMount {
        name: "data".into(),
        uuid: "fs".into(),
        kind: "xfs".into(),
        target: "/data".into(),
        options: "nofail".into(),
    })
}

fn objections(change: &dyn Fn(&mut Disk), expected: Expected) -> Vec<String> {
    let mut found = disk("NV1");
    change(&mut found);
    let id = disk("NV1").id.unwrap();
    approve(&machine(vec![found, system_disk()]), &id, SIZE, expected).err().unwrap_or_default()
}

const OWN: Expected = Expected::Own { member: "p1", group: "berth_data", file_system: "fs" };

#[test]
fn a_disk_is_approved_only_as_it_was_planned() {
    let none: &dyn Fn(&mut Disk) = &|_| {};
    assert!(objections(none, Expected::Empty).is_empty());
    let seen = machine(vec![disk("NV2")]);
    let gone = approve(&seen, &disk("NV1").id.unwrap(), SIZE, Expected::Named).unwrap_err();
    assert_eq!(gone, ["disk NV1 is not there any more"]);
    for (change, why) in [
        (&(|disk: &mut Disk| disk.size_bytes -= 1) as &dyn Fn(&mut Disk), "had 3221225472000 when"),
        (&|disk| disk.id.as_mut().unwrap().link = "other".into(), "is not called nvme-Model_NV1_1 any more"),
        (&|disk| disk.uses = vec![mounted("/x")], "in use: mounted at /x"),
        (&|disk| disk.content = Content::Held, "held by somebody"),
        (&|disk| disk.read_only = true, "read-only"),
    ] {
        for expected in [Expected::Empty, Expected::Named, OWN] {
            let said = objections(change, expected).join("; ");
            assert!(said.contains(why), "{said}");
        }
    }
    let full = |disk: &mut Disk| disk.signatures = vec![signature("ext4", None)];
    assert_eq!(objections(&full, Expected::Empty), ["disk nvme1n1 (NV1, 2.9TiB) holds ext4"]);
    assert!(objections(&full, Expected::Named).is_empty());
    assert!(!objections(&full, OWN).is_empty());
}

#[test]
fn only_what_an_interrupted_run_wrote_is_its_own() {
    let member = |uuid: &str, group: Option<&str>, used: Option<Use>| {
        let pv = PhysicalVolume { uuid: uuid.into(), group: group.map(str::to_owned) };
        let uses: Vec<Use> = used.into_iter().collect();
        objections(
            &move |disk: &mut Disk| {
                disk.signatures = vec![signature("LVM2_member", None)];
                disk.content = Content::Data;
                disk.pv = Some(pv.clone());
                disk.uses = uses.clone();
            },
            OWN,
        )
    };
    let volume = |name: &str| Some(Use::Volume { name: name.into() });
    assert!(member("p1", None, None).is_empty());
    assert!(member("p1", Some("berth_data"), volume("berth_data-data")).is_empty());
    assert!(!member("p2", None, None).is_empty());
    assert!(!member("p1", Some("vg0"), None).is_empty());
    assert!(!member("p1", Some("berth_data"), Some(mounted("/data"))).is_empty());
    assert!(!member("p1", Some("berth_data"), volume("berth_database-x")).is_empty());
    let btrfs = |uuid: &'static str| {
        objections(
            &move |disk: &mut Disk| {
                disk.signatures = vec![signature("btrfs", Some(uuid))];
                disk.content = Content::Data;
            },
            OWN,
        )
    };
    assert!(btrfs("fs").is_empty());
    assert!(!btrfs("other").is_empty());
}

fn journal(dir: &Path) -> Journal {
    Journal::read(&RealHost::default(), &dir.join("journal.jsonl"), "run").unwrap()
}

#[test]
fn a_journal_says_what_is_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let mut first = journal(dir.path());
    first.begin(now).unwrap();
    first.started(now, &volume()).unwrap();
    let mut second = journal(dir.path());
    assert_eq!(second.unfinished(), [volume()]);
    assert_eq!(second.fresh_volumes(), ["fs"]);
    second.started(now, &volume()).unwrap();
    second.failed(now, &volume(), "why").unwrap();
    assert_eq!(second.unfinished(), [volume()]);
    second.done(now, &volume()).unwrap();
    assert!(second.unfinished().is_empty());
    assert_eq!(journal(dir.path()).fresh_volumes(), ["fs"]);
    second.started(now, &mount_step()).unwrap();
    assert!(journal(dir.path()).fresh_volumes().is_empty());
    second.settled(now, &mount_step()).unwrap();
    assert!(journal(dir.path()).unfinished().is_empty());
    second.reboot(now, "boot-1").unwrap();
    assert_eq!(journal(dir.path()).awaited_reboot(), Some("boot-1"));
    let mut third = journal(dir.path());
    third.begin(now).unwrap();
    assert_eq!(journal(dir.path()).awaited_reboot(), None);
}

#[test]
fn what_an_interrupted_run_wiped_is_known_until_a_run_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let wipe = Step::WipeDisk(WipeDisk {
        disk: disk("NV1").id.unwrap(),
        size: Size(1),
        holds: Held::Things(Vec::new()),
    });
    let mut journal = journal(dir.path());
    journal.started(now, &wipe).unwrap();
    assert!(journal.wiped().is_empty(), "it may not have come to it");
    journal.settled(now, &wipe).unwrap();
    assert_eq!(journal.wiped(), ["NV1"], "a power cut took the line that said so");
    journal.done(now, &wipe).unwrap();
    journal.failed(now, &volume(), "why").unwrap();
    assert_eq!(journal.wiped(), ["NV1", "NV1"]);
    journal.finished(now).unwrap();
    assert!(journal.wiped().is_empty());
}

#[test]
fn a_line_that_a_power_cut_tore_is_cut_off_and_nothing_else() {
    let (dir, host) = (tempfile::tempdir().unwrap(), RealHost::default());
    let path = dir.path().join("journal.jsonl");
    let now = Timestamp::now();
    let mut first = journal(dir.path());
    first.begin(now).unwrap();
    first.started(now, &volume()).unwrap();
    let whole = read_text(&host, &path).unwrap();
    let torn = format!("{whole}{{\"schema\":2,\"at");
    host.write_atomic(&path, torn.as_bytes(), 0o600).unwrap();
    let mut second = journal(dir.path());
    assert_eq!(second.unfinished(), [volume()]);
    second.begin(now).unwrap();
    assert!(read_text(&host, &path).unwrap().starts_with(&whole));
    assert_eq!(journal(dir.path()).unfinished(), [volume()]);
    for (text, class) in [
        ("nonsense\n".to_owned(), ErrorClass::Host),
        (whole.replace("\"schema\":2", "\"schema\":3"), ErrorClass::Refused),
        (whole.replace("make-volume", "make-coffee"), ErrorClass::Host),
    ] {
        host.write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let fault = Journal::read(&RealHost::default(), &path, "run").unwrap_err();
        assert_eq!(fault.class, class, "{}", fault.message);
    }
}

#[test]
fn events_are_named_as_documented() {
    let name = |event: JournalEvent| serde_json::to_string(&event).unwrap();
    assert_eq!(name(JournalEvent::Begun), "\"begun\"");
    assert_eq!(name(JournalEvent::Settled), "\"settled\"");
}

fn plan() -> Plan {
    let step = Planned { step: volume(), why: "there is none".into() };
    Plan {
        schema: SCHEMA,
        version: "0".into(),
        made_at: "2026-01-01T10:00:00Z".parse().unwrap(),
        profile: "p".into(),
        seen: machine(vec![disk("NV1"), disk("NV2"), system_disk()]),
        steps: vec![step],
        right: Vec::new(),
    }
}

fn check(change: &dyn Fn(&mut Plan), hours: i64) -> Result<(), Fault> {
    let mut now = plan();
    change(&mut now);
    let at = plan().made_at + SignedDuration::from_hours(hours);
    check_made_for(&plan(), &now.seen, at)?;
    check_still_true(&plan(), &now.seen)
}

#[test]
fn a_plan_holds_for_the_machine_that_it_was_made_for() {
    check(&|_| {}, 1).unwrap();
    // The next boot gives other names.
    let rename = |plan: &mut Plan| plan.seen.disks.iter_mut().for_each(|disk| disk.name.insert(0, 'x'));
    check(&rename, 1).unwrap();
    let said = |change: &dyn Fn(&mut Plan), hours| check(change, hours).unwrap_err().message;
    assert!(said(&|_| {}, 13).contains("holds for 12 hours"));
    assert!(said(&|_| {}, -1).contains("holds for 12 hours"));
    assert!(said(&|plan| plan.seen.machine.id = "n".into(), 1).contains("another machine"));
    assert!(said(&|plan| drop(plan.seen.disks.remove(1)), 1).contains("disk NV2 has gone"));
    assert!(said(&|plan| plan.seen.disks.push(disk("NV3")), 1).contains("disk NV3 is new"));
    assert!(said(&|plan| plan.seen.disks[0].content = Content::Data, 1).contains("disk NV1 has other"));
    assert!(said(&|plan| plan.seen.fstab.text.push('#'), 1).contains("/etc/fstab"));
    assert!(said(&|plan| plan.seen.directories[0].entries = 1, 1).contains("directories to mount at"));
}

#[test]
fn a_plan_comes_back_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    write_plan(&RealHost::default(), &path, &plan()).unwrap();
    let mut expected = plan();
    // Names of the moment are not kept.
    expected.seen.disks.iter_mut().for_each(|disk| disk.name.clear());
    assert_eq!(read_plan(&RealHost::default(), &path).unwrap(), expected);
    for (text, class, why) in [
        ("", ErrorClass::Usage, "is no plan of berth bootstrap"),
        ("{}", ErrorClass::Usage, "it has no schema"),
        ("{\"schema\": 1}", ErrorClass::Usage, "missing field"),
        ("{\"schema\": 9}", ErrorClass::Refused, "has schema 9"),
    ] {
        let host = FakeHost::default().with_file("/p", text);
        let fault = read_plan(&host, Path::new("/p")).unwrap_err();
        assert!(fault.class == class && fault.message.contains(why), "{}", fault.message);
    }
    assert_eq!(read_plan(&FakeHost::default(), Path::new("/p")).unwrap_err().class, ErrorClass::Host);
}

#[test]
fn the_same_work_has_the_same_key() {
    let Step::MakeVolume(mut other) = volume() else { panic!() };
    other.uuid = "other".into();
    let other = Step::MakeVolume(other);
    assert!(other.is_same_work(&volume()) && other.key() == volume().key());
    assert!(!mount_step().is_same_work(&volume()));
    let file = |content: &str| {
        Step::WriteFile(WriteFile {
            path: "/etc/x".into(),
            content: content.into(),
            mode: 0o644,
            purpose: FilePurpose::Words("a test".into()),
        })
    };
    assert!(!file("a").is_same_work(&file("b")));
    assert_eq!(file("a").key(), file("b").key());
}
