//! Every check on a good node and on a bad one: what tools print goes in, verdicts come out.

use super::*;
use crate::host::FakeHost;
use crate::model::Holder;
use crate::model::check::{Severity, Verdict};
use crate::model::check_facts::{DockerState, Holders, NodeFacts, OpenBy};
use crate::model::facts::DockerFacts;
use crate::model::holder::ContainerReason;
use crate::preflight::table;
use crate::profile::load_profile;

const SMI: &str = "/usr/local/bin/npu-smi info";
const HCCN: &str = "/usr/local/Ascend/driver/tools/hccn_tool";
const IPTABLES: &str = "iptables --wait -C DOCKER-USER -d 169.254.169.254/32 -j REJECT";
const LSBLK: &str = "lsblk --json --bytes -o NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID,MOUNTPOINTS";
const DF: &str = "df --local --block-size=1 --output=source,fstype,size,avail,itotal,iavail,target";
const CLOCK: &str = "timedatectl show --property=NTPSynchronized --value";
const DRIVER: &str = "/usr/local/Ascend/driver/version.info";
const FIRMWARE: &str = "/usr/local/Ascend/firmware/version.info";
const KERNEL: &str = "5.10.0-60.18.0.50.aarch64";

/// The table of npu-smi, one health word a card; a card without one is not listed.
fn info(health: &[&str], hbm_used: u32) -> String {
    let mut text = "| npu-smi 24.1.0.3         Version: 24.1.0.3  |\n+==+\n".to_owned();
    for (id, word) in health.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        text += &format!("| {id}   910B1 | {word} | 93.4 46 0 / 0 |\n");
        text += &format!("| 0 | 0000:{id}1:00.0 | 0 0 / 0 {hbm_used} / 65536 |\n+==+\n");
    }
    text
}

fn df(root_free: &str, data: &str) -> String {
    format!(
        "Filesystem Type 1B-blocks Avail Inodes IFree Mounted on\n\
         /dev/sda2 ext4 478000000000 {root_free} 29000000 28000000 /\n{data}\n"
    )
}

const DATA: &str = "/dev/mapper/vg_data-lv_data xfs 11500000000000 11000000000000 1000000 900000 /data";
const MOUNTS: &str = "/dev/sda2 / ext4 rw 0 0\n/dev/mapper/vg_data-lv_data /data xfs rw,prjquota 0 0\n";

fn good_host() -> FakeHost {
    let mut host = FakeHost::default()
        .with_file("/usr/local/bin/npu-smi", "")
        .with_output(SMI, 0, &info(&["OK"; 8], 3300), "")
        .with_output(
            &format!("{SMI} -t board -i 0"),
            0,
            "\tSoftware Version : 24.1.0.3\n\tFirmware Version : 7.5.0.5.220\n\tCompatibility : OK\n",
            "",
        )
        .with_file(DRIVER, "Version=24.1.0.3\ncompatible_version_fw=[7.0.0,7.5.99]\n")
        .with_file(FIRMWARE, "Version=7.5.0.5.220\n")
        .with_file("/etc/ascend_install.info", "Driver_Install_Status=complete\n")
        .with_file("/proc/modules", "drv_pcie_host 1 0 - Live 0x0\n")
        .with_file("/proc/sys/kernel/osrelease", KERNEL)
        .with_file("/proc/sys/kernel/hostname", "node1\n")
        .with_file(&format!("/lib/modules/{KERNEL}/build/Makefile"), "")
        .with_file("/etc/berth/images.toml", "[[image]]\nname = \"pt\"\nreference = \"r/x:cann_8.2.rc1-py\"\n")
        .with_file("/etc/os-release", "ID=hce\nVERSION_ID=2.0\n")
        .with_file("/proc/sys/net/ipv4/ip_forward", "1\n")
        .with_file("/proc/cpuinfo", "processor : 0\n")
        .with_file("/proc/meminfo", "MemTotal: 1584000000 kB\nMemAvailable: 1500000000 kB\n")
        .with_file("/proc/self/mounts", MOUNTS)
        .with_file("/etc/fstab", "UUID=1 / ext4 defaults 0 1\nUUID=2 /data xfs nofail,pquota 0 0\n")
        .with_file("/sys/block/nvme0n1/size", "1")
        .with_output("smartctl -H /dev/nvme0n1", 0, "SMART overall-health self-assessment test result: PASSED\n", "")
        .with_output(LSBLK, 0, r#"{"blockdevices":[]}"#, "")
        .with_output(DF, 0, &df("400000000000", DATA), "")
        .with_file("/var/run/docker.sock", "")
        .with_file("/etc/docker/daemon.json", r#"{"log-opts":{"max-size":"100m"},"live-restore":true}"#)
        .with_output(IPTABLES, 0, "", "")
        .with_file("/proc/1/comm", "systemd\n")
        .with_output(CLOCK, 0, "yes\n", "")
        .with_output("getent passwd -- HwHiAiUser", 0, "HwHiAiUser:x:1000:1000::/home/HwHiAiUser:/bin/bash\n", "");
    for (name, least) in &profile().check.sysctl {
        host = host.with_file(&format!("/proc/sys/{}", name.replace('.', "/")), &least.to_string());
    }
    for id in 0..8 {
        let (node, card) = (format!("/sys/devices/system/node/node{id}"), format!("/sys/bus/pci/devices/0000:{id}1:00.0"));
        host = host
            .with_file(&format!("{node}/cpulist"), "0-23\n")
            .with_file(&format!("{node}/meminfo"), "Node 0 MemTotal: 198000000 kB\n")
            .with_file(&format!("{card}/vendor"), "0x19e5\n")
            .with_file(&format!("{card}/device"), "0xd802\n")
            .with_output(&format!("{HCCN} -i {id} -ip -g"), 0, &format!("ipaddr:29.1.0.{}\n", id + 1), "")
            .with_output(&format!("{HCCN} -i {id} -link -g"), 0, "link status: UP\n", "")
            .with_output(&format!("{HCCN} -i {id} -net_health -g"), 0, "net health status: Success\n", "")
            .with_output(&format!("{HCCN} -i {id} -tls -g"), 0, "dev_id:0, tls switch[0](0:disable, 1:enable)\n", "");
    }
    host
}

fn config() -> Config {
    Config::default()
}

/// The one that is shipped, on a node that works with others.
fn profile() -> Profile {
    let mut profile = load_profile(&FakeHost::default(), &config()).unwrap();
    profile.check.arch = Some(std::env::consts::ARCH.into());
    profile.check.registries = vec!["r.example.com".into()];
    profile.check.single_node = false;
    profile
}

/// What no text can say: device nodes, Docker's and the kernel's records.
fn with_records(mut facts: CheckFacts) -> CheckFacts {
    facts.root = true;
    facts.nodes = Ok(NodeFacts { cards: (0..8).collect(), gid: Some(1000), ..NodeFacts::default() });
    facts.docker = Ok(DockerState::Answers(DockerFacts {
        version: "24.0.7".into(),
        api_version: "1.43".into(),
        data_root: Some("/data/docker".into()),
        storage_driver: None,
        cgroup_version: None,
        default_runtime: Some("runc".into()),
        runtimes: vec!["ascend".into(), "runc".into()],
        lacks: Vec::new(),
    }));
    facts.registries = Ok(vec![("r.example.com".into(), Ok(()))]);
    let berth = (3, container("berth-ab12-alice-dev-1"), true);
    facts.holders = Ok(Holders { containers: Ok(vec![berth]), processes: Ok(Vec::new()) });
    facts
}

fn container(name: &str) -> Holder {
    Holder::Container { id: name.into(), name: name.into(), image: "pt".into(), reason: ContainerReason::Device }
}

const ELSEWHERE: [Need; 4] = [Need::Nodes, Need::Docker, Need::Registries, Need::Holders];

fn facts_of(host: &FakeHost) -> CheckFacts {
    let (config, profile) = (config(), profile());
    let node = Node { host, config: &config, profile: &profile };
    let needs: BTreeSet<Need> =
        table().flat_map(|check| check.needs.iter().copied()).filter(|need| !ELSEWHERE.contains(need)).collect();
    with_records(gather(node, &needs).0)
}

fn results_in(facts: &CheckFacts, profile: &Profile) -> Vec<CheckResult> {
    let config = config();
    let scope = Scope { facts, profile, config: &config };
    table().map(|check| check.run(&scope)).collect()
}

fn results(facts: &CheckFacts) -> Vec<CheckResult> {
    results_in(facts, &profile())
}

fn result(facts: &CheckFacts, id: &str) -> CheckResult {
    results(facts).into_iter().find(|result| result.id == id).unwrap()
}

/// What makes a good node a bad one.
enum Change {
    Host(fn(FakeHost) -> FakeHost),
    Facts(fn(&mut CheckFacts)),
}

use Change::{Facts, Host as Machine};

fn docker(facts: &mut CheckFacts, change: fn(&mut DockerFacts)) {
    if let Ok(DockerState::Answers(docker)) = &mut facts.docker {
        change(docker);
    }
}

/// The check, the change, and a word of the evidence.
const BAD: &[(&str, Change, &str)] = &[
    ("npu.count", Machine(|h| h.with_output(SMI, 0, &info(&["OK"; 7], 3300), "")), "7 x 910B1"),
    ("npu.pci", Machine(|h| h.with_file("/sys/bus/pci/devices/0000:11:00.0/device", "0xd801")), "1 x 19e5:d801"),
    ("npu.lost", Machine(|h| h.with_output(SMI, 0, &info(&["OK", "", "OK", "OK", "OK", "OK", "OK", "OK"], 0), "")), "0000:11:00.0"),
    ("npu.lost", Machine(|h| h.with_file("/sys/bus/pci/devices/0000:11:00.0/device", "0x0000")), "7 of 8"),
    (
        "npu.health",
        Machine(|h| {
            let health = "\tError Code : 0x80E01801\n\tError Information : node\n";
            h.with_output(SMI, 0, &info(&["OK", "OK", "OK", "Alarm"], 0), "")
                .with_output("/usr/local/bin/npu-smi info -t health -i 3", 0, health, "")
        }),
        "card 3 alarm (error 0x80E01801: node)",
    ),
    ("npu.health", Machine(|h| h.with_output(SMI, 0, &info(&["Warning"; 8], 0), "")), "card 0 warning"),
    ("npu.nodes", Facts(|f| f.nodes.as_mut().unwrap().missing_managers.push("hisi_hdc".into())), "hisi_hdc"),
    ("npu.nodes", Facts(|f| f.nodes.as_mut().unwrap().wrong.push("/dev/davinci1 is not a character device".into())), "davinci1"),
    ("npu.hbm-held", Machine(|h| h.with_output(SMI, 0, &info(&["OK"; 8], 40_000), "")), "card 0: 40000 MiB"),
    (
        "driver.version",
        Machine(|h| h.with_output(SMI, 0, &info(&["OK"; 8], 0).replace("24.1.0.3", "23.0.rc2"), "").with_file(DRIVER, "Version=23.0.rc2\n")),
        "23.0.rc2",
    ),
    ("driver.version", Machine(|h| h.with_file(DRIVER, "Version=25.2.1\n")), "24.1.0.3 runs, 25.2.1 is installed"),
    ("driver.loaded", Machine(|h| h.with_file("/proc/modules", "ext4 1 0 - Live 0x0\n")), "drv_pcie_host"),
    ("driver.firmware-pair", Machine(|h| h.with_file(FIRMWARE, "Version=7.7.0.1.231\n")), "7.7.0.1.231 is installed, 7.5.0.5.220 runs"),
    ("driver.firmware-pair", Machine(|h| h.with_file(DRIVER, "Version=24.1.0.3\ncompatible_version_fw=[7.6.0,7.7.99]\n")), "goes with 7.6.0 to 7.7.99"),
    ("driver.install-complete", Machine(|h| h.with_file("/etc/ascend_install.info", "Driver_Install_Status=installing\n")), "installing"),
    ("driver.install-complete", Machine(|h| h.with_file("/etc/ascend_install.info", "")), "does not say"),
    ("driver.kernel-headers", Machine(|h| h.with_file("/proc/sys/kernel/osrelease", "5.10.1")), "/lib/modules/5.10.1/build"),
    ("cann.driver-pair", Machine(|h| h.with_file("/etc/berth/images.toml", "[[image]]\nname = \"new\"\nreference = \"r/ascend/cann:9.1.0-910b\"\n")), "image new: CANN 9.1.0"),
    ("hccn.ip", Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 2 -ip -g", 0, "\n", "")), "no address: card 2"),
    ("hccn.ip", Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 2 -ip -g", 0, "ipaddr:29.1.0.1\n", "")), "two cards"),
    ("hccn.link", Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 5 -link -g", 0, "link status: DOWN\n", "")), "down: card 5"),
    ("hccn.net-health", Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 0 -net_health -g", 0, "net health status: Socket failed\n", "")), "card 0 Socket failed"),
    ("hccn.tls", Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 6 -tls -g", 0, "dev_id:6, tls switch[1](0:disable, 1:enable)\n", "")), "on for card 6"),
    ("os.supported", Machine(|h| h.with_file("/etc/os-release", "ID=centos\nVERSION_ID=7\n")), "centos 7"),
    ("os.arch", Facts(|f| f.os.as_mut().unwrap().arch = "riscv64".into()), "riscv64"),
    ("kernel.version", Facts(|f| f.os.as_mut().unwrap().kernel = "3.10.0-957.el7".into()), "3.10.0"),
    ("kernel.ip-forward", Machine(|h| h.with_file("/proc/sys/net/ipv4/ip_forward", "0\n")), "ip_forward = 0"),
    ("kernel.limits", Machine(|h| h.with_file("/proc/sys/fs/inotify/max_user_instances", "128\n")), "max_user_instances = 128"),
    ("user.hwhiaiuser", Machine(|h| h.with_output("getent passwd -- HwHiAiUser", 2, "", "")), "no HwHiAiUser"),
    ("user.hwhiaiuser", Facts(|f| f.nodes.as_mut().unwrap().gid = Some(1001)), "group 1001"),
    ("memory.total", Machine(|h| h.with_file("/proc/meminfo", "MemTotal: 1400000000 kB\nMemAvailable: 1 kB\n")), "1335 GiB"),
    ("numa.nodes", Machine(|h| h.with_file("/sys/devices/system/node/node3/meminfo", "Node 3 MemTotal: 0 kB\n")), "node 3 has no memory"),
    ("numa.nodes", Facts(|f| f.cpu.as_mut().unwrap().numa_nodes.truncate(1)), "NUMA nodes: 1"),
    ("disk.data", Machine(|h| h.with_output(DF, 0, &df("400000000000", ""), "")), "/data/berth is on the root file system"),
    (
        "disk.data",
        Machine(|h| {
            let empty = r#"{"blockdevices":[{"name":"nvme1n1","type":"disk","size":3840755982336}]}"#;
            h.with_output(DF, 0, &df("400000000000", ""), "").with_output(LSBLK, 0, empty, "")
        }),
        "empty disks: nvme1n1 3.4TiB",
    ),
    ("disk.data", Machine(|h| h.with_output(DF, 0, &df("400000000000", "/dev/sdb1 xfs 100 50 0 0 /data"), "")), "/dev/sdb1"),
    ("disk.quota", Machine(|h| h.with_file("/proc/self/mounts", "/dev/sda2 / ext4 rw 0 0\n/dev/x /data xfs rw 0 0\n")), "/data is xfs with rw"),
    ("disk.root-space", Machine(|h| h.with_output(DF, 0, &df("1000000000", DATA), "")), "953.6MiB free"),
    ("disk.root-space", Machine(|h| h.with_file("/proc/self/mounts", "/dev/sda2 / ext4 ro 0 0\n")), "read-only"),
    ("disk.root-space", Machine(|h| h.with_output(DF, 0, &df("400000000000", DATA).replace("28000000", "9"), "")), "9 of 29000000 inodes"),
    ("disk.fstab-nofail", Machine(|h| h.with_file("/etc/fstab", "UUID=1 / ext4\nUUID=2 /data xfs defaults 0 0\n")), "line 2 mounts /data without nofail"),
    ("disk.fstab-nofail", Machine(|h| h.with_file("/etc/fstab", "/dev/nvme0n1 /data xfs nofail 0 0\n")), "by its name /dev/nvme0n1"),
    ("disk.fstab-nofail", Machine(|h| h.with_file("/etc/fstab", "UUID=1 / ext4\nnonsense\n")), "line 2"),
    ("disk.smart", Machine(|h| h.with_output("smartctl -H /dev/nvme0n1", 8, "SMART overall-health self-assessment test result: FAILED!\n", "")), "nvme0n1 expects to fail"),
    ("docker.version", Facts(|f| docker(f, |d| d.version = "17.06.2".into())), "17.06.2"),
    ("docker.version", Facts(|f| f.docker = Ok(DockerState::Unusable { why: "no socket".into(), remedy: "start".into() })), "no socket"),
    ("docker.data-root", Facts(|f| docker(f, |d| d.data_root = Some("/var/lib/docker".into()))), "/var/lib/docker"),
    ("docker.log-rotation", Machine(|h| h.with_file("/etc/docker/daemon.json", "{}")), "without max-size"),
    ("docker.log-rotation", Machine(|h| h.with_file("/etc/docker/daemon.json", "{,}")), "no JSON"),
    ("docker.live-restore", Machine(|h| h.with_file("/etc/docker/daemon.json", "{}")), "off"),
    ("docker.runtime", Facts(|f| docker(f, |d| d.runtimes.clear())), "default runc"),
    ("docker.runtime", Facts(|f| docker(f, |d| d.default_runtime = Some("ascend".into()))), "default ascend"),
    ("docker.metadata-closed", Machine(|h| h.with_output(IPTABLES, 1, "", "iptables: Bad rule\n")), "169.254.169.254"),
    (
        "coexist.kubelet",
        Machine(|h| h.with_file("/proc/7/comm", "kubelet\n").with_file("/var/lib/kubelet/device-plugins/Ascend910.sock", "")),
        "Ascend910.sock",
    ),
    ("coexist.kubelet", Machine(|h| h.with_file("/proc/7/comm", "kubelet\n")), "pid 7"),
    ("coexist.container-manager", Machine(|h| h.with_file("/proc/7/comm", "container-manag\n")), "pid 7"),
    (
        "coexist.slurm",
        Machine(|h| h.with_file("/proc/7/comm", "slurmd\n").with_file("/etc/slurm/gres.conf", "Name=npu File=/dev/davinci[0-7]\n")),
        "gres.conf",
    ),
    ("net.time-sync", Machine(|h| h.with_output(CLOCK, 0, "no\n", "")), "not synchronised"),
    ("net.registry", Facts(|f| f.registries = Ok(vec![("r.example.com".into(), Err("no such host".into()))])), "no such host"),
    (
        "holders.foreign",
        Facts(|f| f.holders.as_mut().unwrap().containers.as_mut().unwrap().push((5, container("vllm"), false))),
        "card 5: container vllm",
    ),
    (
        "holders.foreign",
        Facts(|f| {
            let open = OpenBy { card: 1, pid: 77, name: "python".into(), user: Some("bob".into()), container_id: None };
            f.holders.as_mut().unwrap().processes = Ok(vec![open]);
        }),
        "card 1: process 77 (python of bob)",
    ),
];

#[test]
fn every_check_is_ok_on_a_good_node() {
    for result in results(&facts_of(&good_host())) {
        assert_eq!(result.verdict, Verdict::Ok, "{result:#?}");
        assert!(result.seen.is_some() && result.remedy.is_none(), "{result:#?}");
    }
}

#[test]
fn every_check_has_a_node_on_which_it_is_not_ok() {
    for (id, change, evidence) in BAD {
        let mut facts = match change {
            Machine(change) => facts_of(&change(good_host())),
            Facts(_) => facts_of(&good_host()),
        };
        if let Facts(change) = change {
            change(&mut facts);
        }
        let found = result(&facts, id);
        assert!(matches!(found.verdict, Verdict::Warn | Verdict::Fail), "{found:#?}");
        assert!(found.seen.as_ref().unwrap().contains(evidence), "{evidence}: {found:#?}");
        assert!(!found.remedy.as_ref().unwrap().is_empty(), "{found:#?}");
        assert!(found.wanted.is_some(), "{found:#?}");
        let may_fail = found.severity == Severity::Required;
        assert!(may_fail || found.verdict == Verdict::Warn, "{found:#?}");
    }
    for check in table() {
        let cases: Vec<_> = BAD.iter().filter(|(id, ..)| *id == check.id).collect();
        assert!(!cases.is_empty(), "{} has no bad node", check.id);
    }
    assert!(BAD.iter().all(|(id, ..)| table().any(|check| check.id == *id)));
}

#[test]
fn what_was_not_looked_at_is_never_ok() {
    let facts = CheckFacts::nothing(true);
    for result in results(&facts) {
        assert_eq!(result.verdict, Verdict::CouldNotLook, "{result:#?}");
        assert!(result.reason.is_some() && result.seen.is_none(), "{result:#?}");
        assert_eq!(result.stops(), result.severity == Severity::Required);
    }
    // One source missing at a time: no check that needs it may say that all is well with what it did not see.
    let silent = FakeHost::default();
    for result in results(&facts_of(&silent)) {
        assert!(
            result.verdict != Verdict::Ok || ELSEWHERE_OR_DEFAULT.contains(&result.id.as_str()),
            "{result:#?}"
        );
    }
}

/// Judged by records alone, or where no file means the default.
const ELSEWHERE_OR_DEFAULT: [&str; 6] =
    ["npu.nodes", "docker.version", "docker.runtime", "net.registry", "holders.foreign", "disk.fstab-nofail"];

/// What the three checks of the cards say when npu-smi gives no table.
#[test]
fn lost_no_driver_held_and_unknown_are_told_apart() {
    use Verdict::{CouldNotLook, Fail};
    let without = |change: fn(FakeHost) -> FakeHost| facts_of(&change(good_host()));
    let no_tool = CheckFacts {
        npu: Ok(NpuLook {
            facts: facts::npu::gather_table(&FakeHost::default().with_missing(SMI), &config().tools),
            ..NpuLook::default()
        }),
        ..facts_of(&good_host())
    };
    let cases: [(CheckFacts, Verdict, &str); 6] = [
        (without(|h| h.with_output(SMI, 187, "dcmi module initialize failed. ret is -8005\n", "")), Fail, "no driver answers (-8005)"),
        (without(|h| h.with_output(SMI, 187, "", "")), Fail, "no driver answers (-8005)"),
        (without(|h| h.with_output(SMI, 172, "the device is used. ret is -8020\n", "")), Fail, "a container has cards (-8020)"),
        (without(|h| h.with_output(SMI, 172, "", "")), Fail, "a container has cards (-8020)"),
        (no_tool, Fail, "no driver is installed: there is no /usr/local/bin/npu-smi"),
        (without(|h| h.with_hang(SMI)), CouldNotLook, "did not end within"),
    ];
    for (facts, verdict, evidence) in cases {
        let count = result(&facts, "npu.count");
        assert_eq!(count.verdict, verdict, "{evidence}: {count:#?}");
        assert!(count.seen.or(count.reason).unwrap().contains(evidence), "{evidence}");
        let (lost, health) = (result(&facts, "npu.lost"), result(&facts, "npu.health"));
        assert_eq!((lost.verdict, health.verdict), (CouldNotLook, CouldNotLook), "{evidence}: {lost:#?}");
    }
    // A card that is not on the bus is lost, whatever npu-smi says; and a user who may not ask knows nothing.
    let off_the_bus = without(|h| {
        h.with_output(SMI, 187, "ret is -8005\n", "").with_file("/sys/bus/pci/devices/0000:11:00.0/vendor", "0xffff")
    });
    assert_eq!(result(&off_the_bus, "npu.lost").verdict, Fail);
    let nobody = CheckFacts { root: false, ..without(|h| h.with_output(SMI, 187, "ret is -8005\n", "")) };
    let count = result(&nobody, "npu.count");
    assert_eq!((count.verdict, count.remedy.as_deref()), (CouldNotLook, Some("sudo berth check --only npu")));
}

#[test]
fn a_single_node_s_link_warns_and_a_fleet_s_fails() {
    let host = good_host().with_output(&format!("{HCCN} -i 5 -link -g"), 0, "link status: DOWN\n", "");
    let facts = facts_of(&host);
    assert_eq!(result(&facts, "hccn.link").verdict, Verdict::Fail);
    let mut alone = profile();
    alone.check.single_node = true;
    let results = results_in(&facts, &alone);
    assert_eq!(results.iter().find(|result| result.id == "hccn.link").unwrap().verdict, Verdict::Warn);
    // A card that hangs does not hide one that is down, and alone it is unknown.
    let hangs = good_host().with_hang(&format!("{HCCN} -i 1 -ip -g"));
    assert_eq!(result(&facts_of(&hangs), "hccn.link").verdict, Verdict::CouldNotLook);
    let both = host.with_hang(&format!("{HCCN} -i 1 -ip -g"));
    assert_eq!(result(&facts_of(&both), "hccn.link").verdict, Verdict::Fail);
}

#[test]
fn hostile_output_makes_bounded_results_and_no_panic() {
    let garbage: String = "|\u{0}\u{1b}[31m é 99999999999999999999 : = [,] \n".repeat(20_000);
    let mut host = good_host().with_output(SMI, 0, &garbage, &garbage);
    for command in [LSBLK, DF, CLOCK, IPTABLES, "smartctl -H /dev/nvme0n1", "getent passwd -- HwHiAiUser"] {
        host = host.with_output(command, 0, &garbage, &garbage);
    }
    for path in [DRIVER, FIRMWARE, "/etc/fstab", "/etc/os-release", "/proc/meminfo", "/etc/docker/daemon.json"] {
        host = host.with_file(path, &garbage);
    }
    for id in 0..8 {
        for question in ["-ip", "-link", "-net_health", "-tls"] {
            host = host.with_output(&format!("{HCCN} -i {id} {question} -g"), 0, &garbage, "");
        }
    }
    for result in results(&facts_of(&host)) {
        for text in [&result.seen, &result.remedy, &result.reason].into_iter().flatten() {
            assert!(text.chars().count() <= 301 && !text.chars().any(char::is_control), "{result:#?}");
        }
    }
}

#[test]
fn only_what_is_needed_is_asked() {
    let checks: Vec<&'static Check> = table().filter(|check| check.id == "kernel.ip-forward").collect();
    let host = FakeHost::default().with_file("/proc/sys/net/ipv4/ip_forward", "1\n");
    let report = run(&host, &config(), &profile(), &checks);
    assert_eq!(report.probes.iter().map(|time| time.probe.as_str()).collect::<Vec<_>>(), ["sysctl"]);
    assert!(report.summary.passed && report.summary.ok == 1);
}
