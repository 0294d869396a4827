//! Every decision about driver, firmware and account, as tables.

use super::{DriverInput, plan};
use crate::bootstrap::observed::{BootSeen, CardsSeen, DriverSeen, Observed};
use crate::bootstrap::plan::{InstallRun, PackageKind, Part, ResumeAfterBoot, Step};
use crate::bootstrap::samples::machine;
use crate::model::Size;
use crate::model::driver::{AccountSeen, DriverFacts, PackagesSeen, RunFile};
use crate::profile::DriverWants;

const DRIVER: &str = "Ascend-hdk-910b-npu-driver_25.5.1_linux-aarch64.run";
const FIRMWARE: &str = "Ascend-hdk-910b-npu-firmware_7.8.0.6.201.run";

fn run_file(name: &str) -> RunFile {
    RunFile { name: name.into(), size: Size(7), objection: None }
}

/// A bare node with both packages.
pub(super) fn bare() -> Observed {
    let driver = DriverSeen {
        files: DriverFacts { kernel: "5.10.0".into(), headers: true, ..DriverFacts::default() },
        pci: vec!["19e5:d802".into()],
        account: AccountSeen::default(),
        packages: PackagesSeen {
            directory: "/data/packages".into(),
            files: vec![run_file(DRIVER), run_file(FIRMWARE)],
            error: None,
        },
    };
    let mut seen = Observed { driver: Some(driver), ..machine(Vec::new()) };
    seen.machine.id = "m-0123".into();
    seen
}

/// A node that works, with these versions.
pub(super) fn with_driver(driver: &str, firmware: &str) -> Observed {
    let mut seen = bare();
    let parts = seen.driver.as_mut().unwrap();
    parts.files = DriverFacts {
        version: Some(driver.into()),
        package_version: None,
        firmware_ranges: Vec::new(),
        firmware: Some(firmware.into()),
        install_status: Some("complete".into()),
        notes_no_status: false,
        directories: Vec::new(),
        user: Some("HwHiAiUser".into()),
        group: Some("HwHiAiUser".into()),
        module_loaded: true,
        kernel: "5.10.0".into(),
        headers: true,
    };
    parts.account =
        AccountSeen { user: Some((1000, 1000)), gid: Some(1000), is_member: true, ..AccountSeen::default() };
    seen.cards = Some(CardsSeen::default());
    seen
}

fn wants() -> DriverWants {
    DriverWants {
        packages: "/data/packages".into(),
        driver: "25.5.1".into(),
        firmware: "7.8.0.6.201".into(),
        ..DriverWants::default()
    }
}

fn newest() -> DriverWants {
    DriverWants { driver: String::new(), firmware: String::new(), ..wants() }
}

fn decide_after(seen: &Observed, wants: &DriverWants, unfinished: &[Step]) -> Part {
    let request = DriverInput {
        wants,
        pci_ids: &["19e5:d802".to_owned()],
        unfinished,
        resume: &ResumeAfterBoot { unit: None },
    };
    plan(seen, &request)
}

fn decide(seen: &Observed, wants: &DriverWants) -> Part {
    decide_after(seen, wants, &[])
}

fn keys(part: &Part) -> Vec<String> {
    part.steps.iter().map(|planned| planned.step.key()).collect()
}

fn files(seen: &mut Observed) -> &mut DriverFacts {
    &mut seen.driver.as_mut().unwrap().files
}

fn packages(seen: &mut Observed, names: &[&str]) {
    seen.driver.as_mut().unwrap().packages.files = names.iter().map(|name| run_file(name)).collect();
}

/// Refused, with these words.
#[track_caller]
pub(super) fn refused(part: &Part, words: &[&str]) {
    let all: Vec<String> = part
        .refusals
        .iter()
        .map(|refusal| format!("{} | {}", refusal.what, refusal.help.clone().unwrap_or_default()))
        .collect();
    for word in words {
        assert!(all.iter().any(|what| what.contains(word)), "{word}: {all:#?}");
    }
}

#[track_caller]
pub(super) fn accepted(part: &Part, steps: &[&str]) {
    assert_eq!(
        (keys(part), part.refusals.as_slice()),
        (steps.iter().map(|s| (*s).to_owned()).collect(), &[][..])
    );
}

const FRESH: &[&str] = &[
    "account.make:HwHiAiUser",
    "reboot.prepare",
    "package.install:driver",
    "package.install:firmware",
    "reboot.ask",
];

#[test]
fn a_bare_node_gets_account_driver_firmware_and_a_reboot() {
    for wants in [wants(), newest()] {
        let part = decide(&bare(), &wants);
        accepted(&part, FRESH);
        let installs: Vec<&InstallRun> = part
            .steps
            .iter()
            .filter_map(|planned| if let Step::InstallRun(run) = &planned.step { Some(run) } else { None })
            .collect();
        assert_eq!(installs[0].path, std::path::Path::new("/data/packages").join(DRIVER));
        assert!(!installs[0].completes && installs[1].completes);
        assert_eq!(
            part.steps[2].step.commands()[1],
            format!(
                "/data/packages/{DRIVER} --full --install-for-all --install-username=HwHiAiUser \
                 --install-usergroup=HwHiAiUser --quiet"
            )
        );
    }
}

#[test]
fn nothing_is_done_where_no_packages_are_named_or_all_is_right() {
    let part = decide(&bare(), &DriverWants::default());
    assert!(part.steps.is_empty() && part.right[0].contains("left alone"), "{part:?}");

    let seen = with_driver("25.5.1", "7.8.0.6.201");
    for wants in [wants(), newest()] {
        let part = decide(&seen, &wants);
        accepted(&part, &[]);
        assert!(part.right.iter().any(|right| right.contains("driver 25.5.1 and firmware 7.8.0.6.201")));
    }
    // Packages may be gone once they were installed.
    let mut seen = seen;
    packages(&mut seen, &[]);
    accepted(&decide(&seen, &wants()), &[]);
    accepted(&decide(&seen, &newest()), &[]);
    files(&mut seen).module_loaded = false;
    assert!(decide(&seen, &wants()).notes[0].contains("not loaded"));
}

#[test]
fn over_a_driver_that_works_the_firmware_comes_first() {
    let seen = with_driver("24.1.0.3", "7.5.0.5.220");
    let upgrade = ["reboot.prepare", "package.install:firmware", "package.install:driver", "reboot.ask"];
    accepted(&decide(&seen, &wants()), &upgrade);
    // One that is not loaded, or not whole, can write no firmware.
    let mut seen = with_driver("24.1.0.3", "7.5.0.5.220");
    files(&mut seen).module_loaded = false;
    assert_eq!(keys(&decide(&seen, &wants()))[1], "package.install:driver");
    files(&mut seen).module_loaded = true;
    files(&mut seen).install_status = None;
    assert_eq!(keys(&decide(&seen, &wants()))[1], "package.install:driver");
}

#[test]
fn what_an_interrupted_run_left_is_done_again() {
    let mut seen = with_driver("25.5.1", "7.8.0.6.201");
    files(&mut seen).install_status = None;
    let part = decide(&seen, &wants());
    accepted(&part, &["reboot.prepare", "package.install:driver", "reboot.ask"]);
    assert!(part.steps[1].why.contains("not whole (Driver_Install_Status is not noted)"));

    // Firmware that was begun: its version.info may be older than the last card's flash.
    let seen = with_driver("25.5.1", "7.8.0.6.201");
    let begun = decide(&with_driver("25.5.1", "7.8.0.5.201"), &wants());
    let step = begun.steps.iter().find(|planned| planned.step.key() == "package.install:firmware").unwrap();
    let part = decide_after(&seen, &wants(), std::slice::from_ref(&step.step));
    accepted(&part, &["reboot.prepare", "package.install:firmware", "reboot.ask"]);
}

#[test]
fn packages_are_matched_by_product_machine_and_version() {
    let driver = |rest: &str| format!("Ascend-hdk-{rest}.run");
    for (names, words) in [
        (
            vec![FIRMWARE.into()],
            vec!["no driver 25.5.1 for 910b on aarch64 in /data/packages", "(a firmware)"],
        ),
        (vec![driver("310p-npu-driver_25.5.1_linux-aarch64"), FIRMWARE.into()], vec!["(for 310p)"]),
        (vec![driver("910b-npu-driver_25.5.1_linux-x86-64"), FIRMWARE.into()], vec!["(for x86_64)"]),
        (vec![driver("910b-npu-driver_25.2.1_linux-aarch64"), FIRMWARE.into()], vec!["(another version)"]),
        (
            vec!["Ascend-cann-toolkit_8.5.0_linux-aarch64.run".into(), FIRMWARE.into()],
            vec!["no driver or firmware by its name"],
        ),
        (
            vec![],
            vec![
                "no .run file is there",
                "put the vendor's package into /data/packages: Ascend-hdk-910b-npu-driver_25.5.1_linux-aarch64.run",
            ],
        ),
        (vec![DRIVER.into()], vec!["no firmware 7.8.0.6.201 for 910b in"]),
    ] {
        let mut seen = bare();
        packages(&mut seen, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let part = decide(&seen, &wants());
        refused(&part, &words);
        assert!(!keys(&part).iter().any(|key| key.starts_with("package")), "{names:?}");
    }
    let mut seen = bare();
    seen.driver.as_mut().unwrap().packages = PackagesSeen {
        directory: "/none".into(),
        error: Some("/none cannot be read: x".into()),
        files: vec![],
    };
    refused(&decide(&seen, &wants()), &["/none cannot be read: x"]);
}

#[test]
fn two_packages_that_could_both_be_it_are_refused() {
    let mut seen = bare();
    let builds =
        ["25.5.0", "25.5.0.0", "24.1.0"].map(|v| format!("Ascend-hdk-910b-npu-driver_{v}_linux-aarch64.run"));
    packages(&mut seen, &[&builds[0], &builds[1], &builds[2], FIRMWARE]);
    refused(&decide(&seen, &newest()), &["more than one package could be the driver", "25.5.0_", "25.5.0.0"]);
    let one = DriverWants { driver: "25.5.0.0".into(), ..newest() };
    accepted(&decide(&seen, &one), FRESH);
}

#[test]
fn a_package_that_others_can_write_to_is_refused() {
    let mut seen = bare();
    seen.driver.as_mut().unwrap().packages.files[0].objection = Some("/data can be written by others".into());
    refused(&decide(&seen, &wants()), &["must not be run as root: /data can be written by others"]);
    // One that is not chosen may be what it likes.
    let mut seen = bare();
    let mut other = run_file("Ascend-hdk-310p-npu-driver_25.5.1_linux-aarch64.run");
    other.objection = Some("x".into());
    seen.driver.as_mut().unwrap().packages.files.push(other);
    accepted(&decide(&seen, &wants()), FRESH);
}

#[test]
fn the_newest_that_go_together_are_taken() {
    let mut seen = bare();
    let old = "Ascend-hdk-910b-npu-driver_25.2.1_linux-aarch64.run";
    let too_new = "Ascend-hdk-910b-npu-firmware_7.9.0.1.201.run";
    packages(&mut seen, &[old, DRIVER, FIRMWARE, too_new]);
    let part = decide(&seen, &newest());
    accepted(&part, FRESH);
    let text: Vec<String> = part.steps.iter().map(|planned| planned.step.describe()).collect();
    assert!(text[2].contains("25.5.1") && text[3].contains("7.8.0.6.201"), "{text:?}");

    packages(&mut seen, &[DRIVER, too_new]);
    refused(&decide(&seen, &newest()), &["(driver 25.5.1 goes with firmware 7.8.x)"]);
}

#[test]
fn pairs_that_do_not_go_together_are_refused() {
    let mut seen = bare();
    packages(&mut seen, &[DRIVER, "Ascend-hdk-910b-npu-firmware_7.5.0.5.220.run"]);
    let wrong = DriverWants { firmware: "7.5.0.5.220".into(), ..wants() };
    refused(
        &decide(&seen, &wrong),
        &["driver 25.5.1 goes with firmware 7.8.x, not with firmware 7.5.0.5.220"],
    );
    let trusting = DriverWants { trust_pair: true, ..wrong };
    let part = decide(&seen, &trusting);
    accepted(&part, FRESH);
    assert!(part.notes[0].contains("goes with firmware 7.8.x"));

    // What the installed driver says of itself counts.
    let mut seen = with_driver("25.5.1", "7.8.0.6.201");
    files(&mut seen).firmware_ranges = vec![("7.9.0".into(), "7.9.99".into())];
    refused(&decide(&seen, &wants()), &["goes with firmware 7.9.0 to 7.9.99, not with firmware 7.8.0.6.201"]);
    files(&mut seen).firmware_ranges = vec![("7.0.0".into(), "7.9.99".into())];
    accepted(&decide(&seen, &wants()), &[]);

    // A release that nobody knows yet is tried, and judged afterwards.
    let mut seen = bare();
    packages(&mut seen, &["Ascend-hdk-910b-npu-driver_26.1.0_linux-aarch64.run", FIRMWARE]);
    let part = decide(&seen, &newest());
    accepted(&part, FRESH);
    assert!(part.notes[0].contains("does not know whether driver 26.1.0"));
}

#[test]
fn nothing_is_downgraded_unless_told() {
    let seen = with_driver("25.5.2", "7.8.0.7.201");
    refused(
        &decide(&seen, &wants()),
        &[
            "driver 25.5.2 is installed, which is newer than 25.5.1",
            "firmware 7.8.0.7.201",
            "downgrade = true",
        ],
    );
    accepted(&decide(&seen, &newest()), &[]);
    let told = DriverWants { downgrade: true, ..wants() };
    accepted(
        &decide(&seen, &told),
        &["reboot.prepare", "package.install:firmware", "package.install:driver", "reboot.ask"],
    );
}

#[test]
fn nobody_may_have_a_card() {
    let mut seen = with_driver("24.1.0.3", "7.5.0.5.220");
    seen.cards =
        Some(CardsSeen { holders: vec!["card 3 is held by process 7 (python)".into()], not_looked: None });
    refused(&decide(&seen, &wants()), &["cannot install a driver or firmware: card 3 is held by process 7"]);
    for cards in [None, Some(CardsSeen { holders: vec![], not_looked: Some("Docker is silent".into()) })] {
        seen.cards = cards;
        refused(&decide(&seen, &wants()), &["who has cards could not be looked at"]);
    }
    // Without a driver nobody can have one.
    files(&mut seen).module_loaded = false;
    assert!(decide(&seen, &wants()).refusals.is_empty());
    // And where nothing is to be done, everybody may go on working.
    let mut right = with_driver("25.5.1", "7.8.0.6.201");
    right.cards =
        Some(CardsSeen { holders: vec!["card 3 is held by berth alice/train".into()], not_looked: None });
    accepted(&decide(&right, &wants()), &[]);
}

#[test]
fn headers_cards_and_the_account_of_before_are_needed() {
    for (os, command) in [
        ("debian", "apt-get install linux-headers-5.10.0"),
        ("ubuntu", "apt-get install linux-headers-5.10.0"),
        ("openEuler", "dnf install kernel-devel-5.10.0"),
        ("euleros", "yum install kernel-devel-5.10.0"),
    ] {
        let mut seen = bare();
        seen.machine.os = os.into();
        files(&mut seen).headers = false;
        refused(&decide(&seen, &wants()), &["no headers of the running kernel (5.10.0)", command]);
    }
    let mut seen = with_driver("25.5.1", "7.8.0.5.201");
    files(&mut seen).headers = false;
    assert!(decide(&seen, &wants()).refusals.is_empty(), "firmware is not compiled");

    let mut seen = bare();
    seen.driver.as_mut().unwrap().pci = vec!["19e5:d500".into()];
    refused(&decide(&seen, &wants()), &["no card (19e5:d802) is on the PCI bus; found 19e5:d500"]);

    let mut seen = with_driver("24.1.0.3", "7.5.0.5.220");
    files(&mut seen).user = Some("root".into());
    refused(&decide(&seen, &wants()), &["was installed for root:HwHiAiUser"]);
}

#[test]
fn the_account_is_made_where_its_numbers_are_free() {
    let with = |account: AccountSeen| {
        let mut seen = with_driver("25.5.1", "7.8.0.6.201");
        seen.driver.as_mut().unwrap().account = account;
        decide(&seen, &wants())
    };
    let part = with(AccountSeen::default());
    accepted(&part, &["account.make:HwHiAiUser"]);
    assert_eq!(
        part.steps[0].step.commands(),
        [
            "groupadd --gid 1000 HwHiAiUser",
            "useradd --gid HwHiAiUser --uid 1000 --home-dir /home/HwHiAiUser --create-home --shell /bin/bash \
             HwHiAiUser"
        ]
    );
    // Interrupted between the two.
    let part = with(AccountSeen { gid: Some(1000), ..AccountSeen::default() });
    assert_eq!(part.steps[0].step.describe(), "make user HwHiAiUser (1000), which the driver runs as");

    let taken = AccountSeen {
        gid_holder: Some("group staff".into()),
        uid_holder: Some("user alice".into()),
        ..AccountSeen::default()
    };
    let part = with(taken.clone());
    refused(&part, &["gid 1000, which group staff has", "uid 1000, which user alice has"]);
    assert!(part.steps.is_empty());
    // Whoever has the number is no matter where the account has another.
    let other = AccountSeen { user: Some((1005, 1006)), gid: Some(1006), is_member: true, ..taken };
    let part = with(other);
    accepted(&part, &[]);
    assert!(part.notes[0].contains("uid 1005 and gid 1006"));

    let alone = AccountSeen { user: Some((1000, 100)), ..AccountSeen::default() };
    refused(&with(alone), &["is not in a group HwHiAiUser", "groupadd --gid 1000 HwHiAiUser"]);
}

#[test]
fn a_reboot_is_awaited_in_the_boot_that_asked_for_it() {
    let boot = |marked: Option<&str>| BootSeen { id: "b1".into(), marked: marked.map(str::to_owned) };
    for (marked, is_awaited, is_over) in
        [(None, false, false), (Some("b1"), true, false), (Some("b0"), false, true)]
    {
        assert_eq!((boot(marked).is_awaited(), boot(marked).is_over()), (is_awaited, is_over));
    }
    // A driver that waits for its reboot is not one that is broken.
    let mut seen = with_driver("25.5.1", "7.8.0.6.201");
    files(&mut seen).module_loaded = false;
    seen.boot = boot(Some("b1"));
    assert!(decide(&seen, &wants()).notes.is_empty());
}

#[test]
fn steps_survive_a_plan_file() {
    let part = decide(&bare(), &wants());
    for planned in &part.steps {
        let text = serde_json::to_string(planned).unwrap();
        assert_eq!(&serde_json::from_str::<crate::bootstrap::plan::Planned>(&text).unwrap(), planned);
    }
    assert!(matches!(&part.steps[2].step, Step::InstallRun(run) if run.kind == PackageKind::Driver));
}
