//! `berth check` as a program: what people and scripts read, on a machine that is a directory, and what it refuses.

use crate::npu::captures;
use berth::accel::ascend::npu_smi::detail;
use berth::check::report::{CheckReport, CheckVerdict, Severity};
use berth::facts::{driver, hccn};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CARDS: u32 = 2;
/// All but what needs device nodes, which only root makes, and an engine.
const ON_FILES: &str = "npu.count,npu.pci,npu.lost,npu.health,npu.hbm-held,driver,cann,hccn,os,kernel,memory,numa,disk,\
    coexist,net";

/// A machine in a directory: files, and programs that print.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// Everything as the profile wants it.
    fn good() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        machine.file("profile.toml", PROFILE);
        let config = "profile = \"profile.toml\"\n[paths]\nstate = \"state\"\ndev = \"dev\"\nstorage = \"/data/berth\"\n\
            images = \"none.toml\"\n[docker]\nsocket = \"/no/such/docker.sock\"\n[tools]\nnpu-smi = \"/usr/local/bin/npu-smi\"\n";
        machine.file("berth.toml", &format!("{config}npu-smi-timeout = \"20s\"\n"));
        machine.file("hang.toml", &format!("{config}npu-smi-timeout = \"300ms\"\n"));
        machine.npu_smi(&table(&["OK", "OK"]));
        machine.tool(
            "usr/local/Ascend/driver/tools/hccn_tool",
            "case $3 in -ip) echo ipaddr:29.1.0.$2;; -link) echo link status: UP;;\n\
             -net_health) echo net health status: Success;; -tls) echo 'dev_id:0, tls switch[0](0:disable, 1:enable)';; esac",
        );
        machine.tool("usr/bin/lsblk", "echo '{\"blockdevices\":[]}'");
        machine.tool("usr/bin/df", &format!("cat <<'E'\n{DF}E"));
        machine.tool("usr/bin/timedatectl", "echo yes");
        machine.tool("usr/sbin/smartctl", "echo 'SMART overall-health self-assessment test result: PASSED'");
        for (path, text) in FILES {
            machine.file(&format!("root/{path}"), text);
        }
        for id in 0..CARDS {
            for (name, text) in [("vendor", "0x19e5\n"), ("device", "0xd802\n"), ("class", "0x120000\n")] {
                machine.file(&format!("root/sys/bus/pci/devices/0000:c{id}:00.0/{name}"), text);
            }
            machine.file(&format!("root/sys/devices/system/node/node{id}/cpulist"), "0-23\n");
            machine.file(
                &format!("root/sys/devices/system/node/node{id}/meminfo"),
                "Node 0 MemTotal: 4194304 kB\n",
            );
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Written by another process, as in `npu::script`.
    fn tool(&self, name: &str, body: &str) {
        let path = self.path("root").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    fn npu_smi(&self, table: &str) {
        let board = "Firmware Version : 7.5.0.5.220";
        let health = "Error Code : 0x80E01801";
        self.tool(
            "usr/local/bin/npu-smi",
            &format!("case \"$*\" in *board*) echo '{board}';; *health*) echo '{health}';; *) cat <<'E'\n{table}E\nesac"),
        );
    }

    fn check_with(&self, config: &str, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_berth"))
            .env_remove("BERTH_CONFIG")
            .arg("--config")
            .arg(self.path(config))
            .args(["check", "--root"])
            .arg(self.path("root"))
            .args(args)
            .output()
            .unwrap()
    }

    fn check(&self, args: &[&str]) -> Output {
        self.check_with("berth.toml", args)
    }

    fn report(&self, only: &str) -> CheckReport {
        serde_json::from_slice(&self.check(&["--json", "--only", only]).stdout).unwrap()
    }

    fn verdict(&self, id: &str) -> CheckVerdict {
        self.report(id).checks[0].verdict
    }

    /// Every file with its size and time of change.
    fn listing(&self) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    left.push(entry.path());
                }
                found.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
            }
        }
        found
    }
}

const PROFILE: &str = r#"
name = "two"
description = "a machine of two cards"
[devices]
cards = 2
pci-ids = ["19e5:d802"]
manager = ["davinci_manager"]
[berth]
memory-per-card = "1GiB"
shm-size = "64MiB"
pids-limit = 512
default-lease = "8h"
max-lease = "2days"
storage-mount = "/home/u/work"
[check]
os = ["hce 2.0"]
kernel = "4.19"
driver = "24.1.rc1"
memory = "4GiB"
numa-nodes = 2
data = "1TiB"
quota = true
[bootstrap.sysctl]
"kernel.pid_max" = 262144
"#;

const DF: &str = "\
Filesystem                  Type    1B-blocks        Avail    Inodes     IFree Mounted on
/dev/sda2                   ext4 478000000000 400000000000  29000000  28000000 /
/dev/mapper/vg_data-lv_data xfs 3838000000000 3500000000000 300000000 299000000 /data
";

const FILES: &[(&str, &str)] = &[
    ("proc/sys/kernel/hostname", "node1\n"),
    ("proc/sys/kernel/osrelease", "5.10.0-60.hce2\n"),
    ("proc/sys/kernel/pid_max", "4194304\n"),
    ("proc/sys/net/ipv4/ip_forward", "1\n"),
    ("proc/modules", "drv_pcie_host 1 0 - Live 0x0\n"),
    ("proc/cpuinfo", "processor : 0\n"),
    ("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n"),
    (
        "proc/self/mountinfo",
        "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n40 25 253:0 / /data rw - xfs /dev/mapper/vg_data-lv_data rw,prjquota\n",
    ),
    ("proc/1/comm", "systemd\n"),
    ("etc/os-release", "ID=hce\nVERSION_ID=2.0\nPRETTY_NAME=\"Huawei Cloud EulerOS 2.0\"\n"),
    ("etc/fstab", "UUID=1 / ext4 defaults 0 1\nUUID=2 /data xfs nofail,pquota 0 0\n"),
    ("etc/ascend_install.info", "Driver_Install_Status=complete\n"),
    ("etc/hccn.conf", "address_0=29.1.0.0\naddress_1=29.1.0.1\n"),
    ("usr/local/Ascend/driver/version.info", "Version=24.1.0.3\ncompatible_version_fw=[7.0.0,7.5.99]\n"),
    ("usr/local/Ascend/firmware/version.info", "Version=7.5.0.5.220\n"),
    ("lib/modules/5.10.0-60.hce2/build/Makefile", ""),
    ("sys/block/nvme0n1/size", "1\n"),
];

fn table(health: &[&str]) -> String {
    let rows = health.iter().enumerate().map(|(id, word)| {
        format!(
            "| {id}  910B3 | {word} | 93.4 46 0 / 0 |\n| 0 | 0000:C{id}:00.0 | 0 0 / 0 3300 / 65536 |\n+==+\n"
        )
    });
    format!("| npu-smi 24.1.0.3 Version: 24.1.0.3 |\n+==+\n{}", rows.collect::<String>())
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check").join(name))
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_good_machine_passes_and_reads_as_it_should() {
    let machine = Machine::good();
    let before = machine.listing();
    let output = machine.check(&["--only", ON_FILES]);
    assert_eq!(text(&output.stdout), golden("good.txt"));
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(machine.listing(), before, "it changes nothing");
}

#[test]
fn a_bad_machine_fails_with_evidence_and_remedies() {
    let machine = Machine::good();
    machine.npu_smi(&table(&["OK", "Alarm"]));
    machine.file("root/proc/sys/net/ipv4/ip_forward", "0\n");
    machine.file("root/etc/fstab", "UUID=2 /data xfs defaults 0 0\n");
    machine.file("root/proc/77/comm", "kubelet\n");
    machine.tool("usr/bin/timedatectl", "exit 1");
    let output = machine
        .check(&["--only", "npu.count,npu.health,kernel,disk.fstab-nofail,coexist,net,docker.version"]);
    let shown = text(&output.stdout);
    assert_eq!(shown, golden("bad.txt"));
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(text(&output.stderr), "berth: failed: npu.health, kernel.ip-forward, docker.version\n");
    assert!(shown.lines().all(|line| line.chars().count() <= 100 && !line.contains('\u{1b}')), "{shown}");
}

#[test]
fn the_json_has_the_documented_shape() {
    let machine = Machine::good();
    machine.npu_smi(&table(&["OK", "Alarm"]));
    let output = machine.check(&["--json", "--only", "npu.health,net.registry"]);
    let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let times = ["total_ms", "probes"].map(|key| value.as_object_mut().unwrap().remove(key).unwrap());
    assert!(times[0].is_u64() && times[1][0]["ms"].is_u64() && times[1][0]["probe"] == "npu");
    let expected = json!({
        "schema": 1,
        "profile": "two",
        "host": "node1",
        "checks": [
            {
                "id": "npu.health", "title": "Health of the cards", "severity": "required", "verdict": "fail",
                "seen": "card 1 alarm (error 0x80E01801)", "wanted": "every card OK",
                "remedy": "npu-smi info -t health -i 1; look the code up in the vendor's fault list; a reset takes the \
                    whole HCCS ring: only when all cards of the node are idle (berth cards): npu-smi set -t reset -i 1 -c 0",
                "reason": null,
            },
            {
                "id": "net.registry", "title": "Image registries", "severity": "required", "verdict": "skipped",
                "seen": null, "wanted": null, "remedy": null, "reason": "the profile names no registries",
            },
        ],
        "summary": {"ok": 0, "warn": 0, "fail": 1, "could_not_look": 0, "skipped": 1, "passed": false},
    });
    assert_eq!(value, expected);
    // The document shows every key, and no other.
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks.md")).unwrap();
    let example: Value =
        serde_json::from_str(docs.split("```json\n").nth(1).unwrap().split("\n```").next().unwrap()).unwrap();
    let real: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&example), keys(&real));
    assert_eq!(keys(&example["checks"][0]), keys(&real["checks"][0]));
    assert_eq!(keys(&example["summary"]), keys(&real["summary"]));
}

#[test]
fn the_document_lists_every_check() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_berth")).args(["check", "--list", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            let worst = if check["severity"] == "required" { "fail" } else { "warn" };
            format!(
                "| `{}` | {worst} | {} |",
                check["id"].as_str().unwrap(),
                check["title"].as_str().unwrap()
            )
        })
        .collect();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks.md")).unwrap();
    let shown: Vec<&str> = docs
        .lines()
        .skip_while(|line| !line.starts_with("| id |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(shown.len(), rows.len());
    for (shown, row) in shown.iter().zip(&rows) {
        assert!(shown.starts_with(row), "{shown}\n{row}");
    }
}

#[test]
fn what_could_not_be_looked_at_counts_as_the_worst_it_could_have_been() {
    let machine = Machine::good();
    // Advised: no more than a warning. Required: as a failure.
    machine.tool("usr/bin/timedatectl", "exit 1");
    let advised = machine.check(&["--json", "--only", "net.time-sync"]);
    assert_eq!(advised.status.code(), Some(0));
    let report: CheckReport = serde_json::from_slice(&advised.stdout).unwrap();
    assert_eq!(
        (report.checks[0].verdict, report.checks[0].severity),
        (CheckVerdict::CouldNotLook, Severity::Advised)
    );
    machine.tool("usr/bin/df", "exit 9");
    let required = machine.check(&["--only", "disk.root-space"]);
    assert_eq!(required.status.code(), Some(4));
    assert_eq!(text(&required.stderr), "berth: could not be looked at: disk.root-space\n");
}

#[test]
fn a_tool_that_hangs_is_unknown_and_holds_up_nobody() {
    let machine = Machine::good();
    machine.tool("usr/local/bin/npu-smi", "exec sleep 600");
    let began = Instant::now();
    let output = machine.check_with("hang.toml", &["--json", "--only", "npu.count,npu.lost,npu.health,os"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    let report: CheckReport = serde_json::from_slice(&output.stdout).unwrap();
    for check in report.checks.iter().filter(|check| check.id.starts_with("npu.")) {
        assert_eq!(check.verdict, CheckVerdict::CouldNotLook, "{check:?}");
        assert!(check.reason.as_ref().unwrap().contains("did not end within 300ms"), "{check:?}");
    }
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn lost_cards_a_missing_driver_and_held_cards_are_told_apart() {
    let machine = Machine::good();
    machine.npu_smi(&table(&["OK"]));
    assert_eq!(
        (machine.verdict("npu.count"), machine.verdict("npu.lost")),
        (CheckVerdict::Fail, CheckVerdict::Fail)
    );
    assert_eq!(machine.verdict("npu.health"), CheckVerdict::Ok, "the card that is left");
    for (status, word) in [(187, "(-8005)"), (172, "a container has cards (-8020)")] {
        machine.tool("usr/local/bin/npu-smi", &format!("exit {status}"));
        let report = machine.report("npu.count");
        let said =
            [&report.checks[0].seen, &report.checks[0].reason].into_iter().flatten().next().unwrap().clone();
        let unknown = status == 187 && !nix::unistd::geteuid().is_root();
        assert!(said.contains(word) || unknown && said.contains("-8005 for this user"), "{said}");
        assert_eq!(machine.verdict("npu.lost"), CheckVerdict::CouldNotLook);
    }
}

#[test]
fn hostile_tools_and_files_are_survived() {
    let machine = Machine::good();
    for tool in
        ["usr/local/bin/npu-smi", "usr/local/Ascend/driver/tools/hccn_tool", "usr/bin/lsblk", "usr/bin/df"]
    {
        machine.tool(tool, "head -c 3000000 /dev/urandom; head -c 3000000 /dev/zero");
    }
    machine.tool("usr/bin/timedatectl", "yes '\u{1b}[31m' | head -c 20000000");
    machine.tool("usr/sbin/smartctl", "kill -9 $$");
    for file in
        ["etc/os-release", "proc/meminfo", "proc/self/mountinfo", "usr/local/Ascend/driver/version.info"]
    {
        std::fs::write(machine.path("root").join(file), vec![0xff; 100_000]).unwrap();
    }
    // A directory in a file's place cannot be read.
    std::fs::remove_file(machine.path("root/etc/fstab")).unwrap();
    std::fs::create_dir(machine.path("root/etc/fstab")).unwrap();
    let output = machine.check(&["--only", ON_FILES]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.len() < 20_000 && !shown.contains(['\u{0}', '\u{1b}']), "{} bytes", shown.len());
    assert_eq!(machine.verdict("disk.fstab-nofail"), CheckVerdict::CouldNotLook);
    assert_eq!(machine.verdict("disk.smart"), CheckVerdict::CouldNotLook);
}

#[test]
fn wrong_words_name_what_there_is() {
    let machine = Machine::good();
    for (args, said) in [
        (
            &["--only", "npu.helth"][..],
            "berth: there is no check \"npu.helth\"\nhelp: did you mean npu.health?",
        ),
        (
            &["--profile", "snt9c"],
            "berth: there is no profile \"snt9c\" in /usr/share/berth/profiles\nhelp: there are: ",
        ),
        (&["--profile", "./no.toml"], "berth: profile "),
    ] {
        let output = machine.check(args);
        let code = if args[1].starts_with("./") { 5 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stderr).starts_with(said), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    machine.file("typo.toml", &PROFILE.replace("numa-nodes", "numa-node"));
    let typo = machine.path("typo.toml");
    let output = machine.check(&["--profile", typo.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("unknown field `numa-node`") && said.ends_with("help: did you mean `numa-nodes`?\n"),
        "{said}"
    );
}

#[test]
fn a_bare_server_needs_no_file_of_ours() {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["check", "--profile", "snt9b", "--json", "--only", "os.arch", "--root"])
        .arg(empty.path())
        .output()
        .unwrap();
    let report: CheckReport = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report.profile.as_str(), report.host), ("snt9b", None));
    assert_eq!(report.checks[0].verdict, CheckVerdict::CouldNotLook);
}

#[test]
fn captured_answers_are_read() {
    let Some(dir) = captures("captured_answers_are_read") else { return };
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(hccn::parse_address(&read("63-hccn-ip.txt")).as_deref(), Some("29.1.112.213"));
    assert_eq!(hccn::parse_link(&read("74-hccn-link-up.txt")).as_deref(), Some("UP"));
    assert_eq!(hccn::parse_health(&read("75-hccn-net_health-fail.txt")).as_deref(), Some("Socket failed"));
    let board = detail::parse_board(&read("69-board-910b-25.5.1.txt"));
    assert_eq!((board.software.as_deref(), board.firmware.as_deref()), (Some("25.5.1"), Some("7.8.0.6.201")));
    assert_eq!(detail::parse_board(&read("46-err-invalid-card.txt")).firmware, None);
    assert_eq!(detail::parse_errors(&read("65-mixed-910a-before.txt")), None, "a healthy card has none");

    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("usr/local/Ascend/driver");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(dir.join("73-version-info-driver.txt"), place.join("version.info")).unwrap();
    std::fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
    std::fs::write(root.path().join("proc/sys/kernel/osrelease"), "5.10.0\n").unwrap();
    let facts = driver::gather(&berth::host::RealHost::new(root.path()), Path::new(driver::DRIVER)).unwrap();
    assert_eq!(facts.version.as_deref(), Some("24.1.rc1"));
    assert_eq!(facts.firmware_ranges, [("7.0.0".to_owned(), "7.2.99".to_owned())]);
}
