//! Simulated packages in a test directory: what they print, leave behind and get wrong.
#![allow(clippy::disallowed_methods, reason = "the tests make a root of their own")]

use super::super::reboot::Ending;
use super::super::{addresses, reboot};
use super::*;
use crate::bootstrap::Context;
use crate::bootstrap::context::Silent;
use crate::bootstrap::plan::{NewAddress, ResumeAfterBoot, SetAddresses};
use crate::error::{ErrorClass, flatten};
use crate::facts::at_work::check_not_at_work;
use crate::host::RealHost;
use crate::model::Size;
use crate::profile::{Config, Profile, load_profile};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

#[path = "../../../tests/vm/packages.rs"]
mod packages;

const QUIET: Silent = Silent { wants_stop: false };

/// A machine below a directory: no cards, no Docker, an account for the driver.
struct Machine {
    dir: tempfile::TempDir,
    host: RealHost,
    config: Config,
    profile: Profile,
}

impl Machine {
    /// `None`: not root, to whom nothing here is trusted.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let _ = writeln!(std::io::stderr(), "SKIPPED: packages must belong to root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["etc", "data", "data/packages", "proc/sys/kernel/random", "dev", "var/lib/berth/bootstrap"]
        {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o755)).unwrap();
        }
        let mut config = Config { profile: "snt9b".into(), ..Config::default() };
        config.paths.profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let profile = load_profile(&RealHost::default(), &config).unwrap();
        config.paths.dev = dir.path().join("dev");
        config.docker.socket = dir.path().join("docker.sock");
        let machine = Self { host: RealHost::new(dir.path()), dir, config, profile };
        machine.write("etc/passwd", "HwHiAiUser:x:1000:1000::/home/HwHiAiUser:/bin/bash\n");
        machine.write("etc/group", "HwHiAiUser:x:1000:\n");
        machine.write("proc/sys/kernel/osrelease", "5.10.0\n");
        machine.write("proc/sys/kernel/random/boot_id", "boot-one\n");
        Some(machine)
    }

    fn context(&self) -> Context<'_> {
        Context {
            own_profile: "snt9b",
            host: &self.host,
            root: self.dir.path(),
            config: &self.config,
            profile: &self.profile,
            config_path: "/etc/berth/berth.toml".into(),
        }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.dir.path().join(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap_or_default()
    }

    fn mode(&self, mode: &str) {
        self.write("etc/sim-run-mode", mode);
    }

    fn package(&self, kind: PackageKind, version: &str) -> InstallRun {
        let root = self.dir.path().to_str().unwrap();
        let (name, text) = match kind {
            PackageKind::Driver => {
                let text = packages::driver_package(root, version, std::env::consts::ARCH, "7.8.0,7.8.99");
                (format!("Ascend-hdk-910b-npu-driver_{version}_linux-x86-64.run"), text)
            }
            PackageKind::Firmware => {
                let text = packages::firmware_package(root, version);
                (format!("Ascend-hdk-910b-npu-firmware_{version}.run"), text)
            }
        };
        let path = self.dir.path().join("data/packages").join(&name);
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        InstallRun {
            kind,
            version: version.into(),
            path: Path::new("/data/packages").join(name),
            size: Size(text.len() as u64),
            user: "HwHiAiUser".into(),
            group: "HwHiAiUser".into(),
            completes: kind == PackageKind::Firmware,
        }
    }

    fn install(&self, run: &InstallRun) -> Result<(), Fault> {
        install(&self.context(), run, &QUIET).map_err(|error| flatten(&error))
    }

    fn files(&self) -> DriverFacts {
        look(&self.context()).unwrap()
    }
}

#[test]
fn driver_and_firmware_are_installed_and_seen() {
    let Some(machine) = Machine::new() else { return };
    let driver = machine.package(PackageKind::Driver, "25.5.1");
    let firmware = machine.package(PackageKind::Firmware, "7.8.0.6.201");
    let error = machine.install(&firmware).unwrap_err();
    assert!(error.message.contains("ERR_NO:0x0080"), "{}", error.message);
    machine.install(&driver).unwrap();
    machine.install(&firmware).unwrap();
    let files = machine.files();
    assert!(files.is_complete() && files.user.as_deref() == Some("HwHiAiUser"));
    assert_eq!(files.firmware.as_deref(), Some("7.8.0.6.201"));
    assert_eq!(files.firmware_ranges, [("7.8.0".to_owned(), "7.8.99".to_owned())]);
    // Over itself: the same again.
    machine.install(&driver).unwrap();
    assert_eq!(machine.files(), files);
}

#[test]
fn each_way_to_fail_is_told_with_what_mends_it() {
    for (mode, kind, words, help) in [
        ("damaged-driver", PackageKind::Driver, "--check ended with status 2", "the package is damaged"),
        ("dkms", PackageKind::Driver, "Dkms install failed", "/var/lib/dkms/davinci_ascend"),
        ("tools", PackageKind::Driver, "missing tools: lspci,ifconfig", "pciutils"),
        ("full-driver", PackageKind::Driver, "free space only 12M", "make room"),
        ("busy", PackageKind::Driver, "ERR_NO:0x0094", "another installation"),
        ("half-driver", PackageKind::Driver, "ended with status 137", "run this again"),
        ("lies-driver", PackageKind::Driver, "no driver is installed", "run this again"),
        ("flash", PackageKind::Firmware, "Device [3] upgrade failed", "run this again"),
        ("lies-firmware", PackageKind::Firmware, "no firmware is installed", "run this again"),
    ] {
        let Some(machine) = Machine::new() else { return };
        if kind == PackageKind::Firmware {
            machine.install(&machine.package(PackageKind::Driver, "25.5.1")).unwrap();
        }
        machine.mode(mode);
        let version = if kind == PackageKind::Driver { "25.5.1" } else { "7.8.0.6.201" };
        let run = machine.package(kind, version);
        let error = machine.install(&run).unwrap_err();
        assert_eq!(error.class, ErrorClass::Host, "{mode}");
        assert!(error.message.contains(words), "{mode}: {}", error.message);
        assert!(!error.message.contains('\u{1b}'), "{mode}: {}", error.message);
        assert!(error.help.as_ref().is_some_and(|text| text.contains(help)), "{mode}: {:?}", error.help);
        // Mended, the same step goes through.
        machine.mode("");
        machine.install(&run).unwrap();
    }
}

#[test]
fn the_log_tells_what_the_package_did_not_print() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.package(PackageKind::Driver, "25.5.1");
    machine.install(&run).unwrap();
    assert!(machine.read("var/log/ascend_seclog/ascend_install.log").contains("UserCommand"));
    machine.mode("dkms");
    let error = machine.install(&run).unwrap_err();
    assert!(error.message.contains("[ERROR]make: *** [Makefile:7: davinci] Error 2"), "{}", error.message);
}

#[test]
fn a_user_that_is_missing_or_another_one_is_told() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.package(PackageKind::Driver, "25.5.1");
    machine.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    assert!(machine.install(&run).unwrap_err().message.contains("HwHiAiUser not exists"));
    machine.write("etc/passwd", "HwHiAiUser:x:1000:1000::/:/bin/sh\n");
    machine.write("etc/ascend_install.info", "UserName=other\n");
    let error = machine.install(&run).unwrap_err();
    assert!(error.message.contains("ERR_NO:0x0095") && error.help.unwrap().contains("another account"));
}

#[test]
fn what_does_not_go_together_is_seen_when_both_are_there() {
    let Some(machine) = Machine::new() else { return };
    machine.install(&machine.package(PackageKind::Driver, "25.5.1")).unwrap();
    let run = machine.package(PackageKind::Firmware, "7.5.0.5.220");
    let error = machine.install(&run).unwrap_err();
    assert!(error.message.contains("driver 25.5.1 goes with firmware 7.8.0 to 7.8.99"), "{}", error.message);
    machine.install(&InstallRun { completes: false, ..run }).unwrap();
}

#[test]
fn a_package_that_changed_or_that_others_can_change_is_not_run() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.package(PackageKind::Driver, "25.5.1");
    let error = machine.install(&InstallRun { size: Size(1), ..run.clone() }).unwrap_err();
    assert!(error.message.contains("had 1 when the plan was made"), "{}", error.message);
    fs::set_permissions(machine.dir.path().join("data"), Permissions::from_mode(0o777)).unwrap();
    let error = machine.install(&run).unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused);
    assert!(error.message.contains("must not be run as root: /data can be written"), "{}", error.message);
    assert_eq!(machine.read("var/log/ascend_seclog/ascend_install.log"), "", "nothing was run");
}

#[test]
fn a_loaded_driver_and_a_docker_that_is_silent_stop_it() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.package(PackageKind::Driver, "25.5.1");
    machine.write("proc/modules", "drv_pcie_host 1 0 - Live 0x0\n");
    machine.install(&run).unwrap();
    // A socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&machine.config.docker.socket).unwrap());
    let mut hidden = machine.config.clone();
    hidden.docker.socket = "/docker.sock".into();
    let context = Context { config: &hidden, ..machine.context() };
    let set = SetAddresses { ports: vec![address(0)] };
    for stopped in [install(&context, &run, &QUIET), addresses::set(&context, &set)] {
        let error = flatten(&stopped.unwrap_err());
        assert_eq!(error.class, ErrorClass::Refused);
        assert!(error.message.contains("who has cards could not be looked at"), "{}", error.message);
    }
}

#[test]
fn a_package_that_leaves_a_daemon_behind_has_ended() {
    let Some(machine) = Machine::new() else { return };
    machine.mode("daemon");
    let begun = std::time::Instant::now();
    machine.install(&machine.package(PackageKind::Driver, "25.5.1")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for the daemon's output");
}

#[test]
fn the_marker_knows_its_boot_and_goes_once() {
    let Some(machine) = Machine::new() else { return };
    let context = machine.context();
    assert_eq!(reboot::look(&context).unwrap().marked, None);
    let well = Ending { was_resumed: false, failed: false, installed: false };
    reboot::forget(&context, well).unwrap();
    reboot::prepare(&context, &ResumeAfterBoot { unit: None }).unwrap();
    let seen = reboot::look(&context).unwrap();
    assert!(seen.is_awaited() && !seen.is_over());
    // Before the reboot nothing takes it away.
    reboot::forget(&context, well).unwrap();
    reboot::forget(&context, Ending { failed: true, installed: true, ..well }).unwrap();
    assert!(reboot::look(&context).unwrap().is_awaited());
    let given = check_not_at_work(&machine.host, &context.config.paths.state);
    assert_eq!(given.unwrap_err().class, ErrorClass::Busy, "nobody gets a card before the reboot");
    machine.write("proc/sys/kernel/random/boot_id", "boot-two\n");
    assert!(reboot::look(&context).unwrap().is_over());
    check_not_at_work(&machine.host, &context.config.paths.state).unwrap();
    reboot::forget(&context, well).unwrap();
    assert_eq!(reboot::look(&context).unwrap().marked, None);
    // The first package fails: no boot tries it again. Nor does one try again what failed behind the reboot.
    for ending in
        [Ending { failed: true, ..well }, Ending { was_resumed: true, failed: true, installed: true }]
    {
        reboot::prepare(&context, &ResumeAfterBoot { unit: None }).unwrap();
        reboot::forget(&context, ending).unwrap();
        assert_eq!(reboot::look(&context).unwrap().marked, None, "{ending:?}");
    }
    machine.write("proc/sys/kernel/random/boot_id", "");
    assert!(reboot::look(&context).is_err(), "a boot without a name is no boot");
}

fn address(card: u32) -> NewAddress {
    NewAddress {
        card,
        address: format!("10.1.0.{}", card + 1),
        netmask: "255.255.0.0".into(),
        gateway: (card == 0).then(|| "10.1.255.254".into()),
    }
}

#[test]
fn addresses_are_set_and_asked_for_again() {
    let Some(mut machine) = Machine::new() else { return };
    machine.config.tools.hccn_tool = "/hccn_tool".into();
    machine.write("hccn_tool", &packages::hccn_tool(machine.dir.path().to_str().unwrap()));
    fs::set_permissions(machine.dir.path().join("hccn_tool"), Permissions::from_mode(0o755)).unwrap();
    let set = SetAddresses { ports: vec![address(0), address(1)] };
    addresses::set(&machine.context(), &set).unwrap();
    let conf = machine.read("etc/hccn.conf");
    for line in
        ["address_0=10.1.0.1", "netmask_0=255.255.0.0", "gateway_0=10.1.255.254", "address_1=10.1.0.2"]
    {
        assert!(conf.lines().any(|other| other == line), "{line}: {conf}");
    }
    let seen = crate::facts::addresses::gather(&machine.host, &machine.config.tools, 2, true).unwrap();
    assert_eq!(seen.ports[0].gateway.as_deref(), Some("10.1.255.254"));
    assert_eq!(seen.ports, crate::facts::addresses::parse_conf(&conf, 2), "both ways to look agree");

    for (mode, why) in
        [("deaf", "and the card has address 10.1.0.2"), ("no-link", "Hccn tool execution failed")]
    {
        machine.mode(mode);
        let other = NewAddress { address: "10.1.0.77".into(), ..address(1) };
        let wrong = addresses::set(&machine.context(), &SetAddresses { ports: vec![other] }).unwrap_err();
        assert!(flatten(&wrong).message.contains(why), "{mode}: {wrong:#}");
    }
    let ninth = addresses::set(&machine.context(), &SetAddresses { ports: vec![address(9)] }).unwrap_err();
    assert!(flatten(&ninth).message.contains("Invalid device id"));
}

#[test]
fn colours_and_long_lines_are_cut() {
    assert_eq!(plain("[ERROR]\u{1b}[31mno \u{1b}[0m\u{7}good"), "[ERROR]no good");
    assert!(plain(&"x".repeat(9_999)).len() <= 300);
    assert_eq!(plain("\u{1b}"), "");
    assert_eq!(excerpt(&[], &[]), "it printed nothing");
    let lines: Vec<String> = (0..100).map(|n| format!("[ERROR]{n}")).collect();
    assert_eq!(excerpt(&lines, &[]).matches("[ERROR]").count(), 8);
}
