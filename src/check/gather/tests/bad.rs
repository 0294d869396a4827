//! Changes that make a good node a bad one: at least one for each check.

use super::machine::*;
use super::*;
use crate::check::seen::{DockerState, OpenBy};
use crate::model::facts::DockerFacts;

/// What makes a good node a bad one.
pub(super) enum Change {
    Host(fn(FakeHost) -> FakeHost),
    Facts(fn(&mut CheckFacts)),
}

pub(super) use Change::{Facts, Host as Machine};

pub(super) fn docker(facts: &mut CheckFacts, change: fn(&mut DockerFacts)) {
    if let Ok(DockerState::Answers(docker)) = &mut facts.docker {
        change(docker);
    }
}

const KYLIN: &str =
    "NAME=\"Kylin Linux Advanced Server\"\nVERSION=\"V10 (Lance)\"\nID=\"kylin\"\nVERSION_ID=\"V10\"\n";

/// The check, the change, and a word of the evidence.
pub(super) const BAD: &[(&str, Change, &str)] = &[
    ("npu.count", Machine(|h| h.with_output(SMI, 0, &info(&["OK"; 7], 3300), "")), "7 x 910B1"),
    (
        "npu.pci",
        Machine(|h| h.with_file("/sys/bus/pci/devices/0000:11:00.0/device", "0xd801")),
        "1 x 19e5:d801",
    ),
    (
        "npu.lost",
        Machine(|h| h.with_output(SMI, 0, &info(&["OK", "", "OK", "OK", "OK", "OK", "OK", "OK"], 0), "")),
        "0000:11:00.0",
    ),
    ("npu.lost", Machine(|h| h.with_file("/sys/bus/pci/devices/0000:11:00.0/device", "0x0000")), "7 of 8"),
    (
        "npu.health",
        Machine(|h| {
            let health = "\tError Code : 0x80E01801\n\tError Information : node\n";
            h.with_output(SMI, 0, &info(&["OK", "OK", "OK", "Alarm"], 0), "").with_output(
                "/usr/local/bin/npu-smi info -t health -i 3",
                0,
                health,
                "",
            )
        }),
        "card 3 alarm (error 0x80E01801: node)",
    ),
    ("npu.health", Machine(|h| h.with_output(SMI, 0, &info(&["Warning"; 8], 0), "")), "card 0 warning"),
    ("npu.nodes", Facts(|f| f.nodes.as_mut().unwrap().missing_managers.push("hisi_hdc".into())), "hisi_hdc"),
    (
        "npu.nodes",
        Facts(|f| f.nodes.as_mut().unwrap().wrong.push("/dev/davinci1 is not a character device".into())),
        "davinci1",
    ),
    ("npu.hbm-held", Machine(|h| h.with_output(SMI, 0, &info(&["OK"; 8], 40_000), "")), "card 0: 40000 MiB"),
    (
        "driver.version",
        Machine(|h| {
            h.with_output(SMI, 0, &info(&["OK"; 8], 0).replace("24.1.0.3", "23.0.rc2"), "")
                .with_file(DRIVER, "Version=23.0.rc2\n")
        }),
        "23.0.rc2",
    ),
    (
        "driver.version",
        Machine(|h| h.with_file(DRIVER, "Version=25.2.1\n")),
        "24.1.0.3 runs, 25.2.1 is installed",
    ),
    ("driver.loaded", Machine(|h| h.with_file("/proc/modules", "ext4 1 0 - Live 0x0\n")), "drv_pcie_host"),
    (
        "driver.firmware-pair",
        Machine(|h| h.with_file(FIRMWARE, "Version=7.7.0.1.231\n")),
        "7.7.0.1.231 is installed, 7.5.0.5.220 runs",
    ),
    (
        "driver.firmware-pair",
        Machine(|h| h.with_file(DRIVER, "Version=24.1.0.3\ncompatible_version_fw=[7.6.0,7.7.99]\n")),
        "goes with 7.6.0 to 7.7.99",
    ),
    (
        "driver.install-complete",
        Machine(|h| h.with_file("/etc/ascend_install.info", "Driver_Install_Status=installing\n")),
        "installing",
    ),
    ("driver.install-complete", Machine(|h| h.with_file("/etc/ascend_install.info", "")), "does not say"),
    (
        "driver.install-complete",
        Machine(|h| directory_for(h, "/etc/ascend_install.info")),
        "/etc/ascend_install.info is a directory",
    ),
    (
        "driver.install-complete",
        Machine(|h| directory_for(h, DRIVER)),
        "/usr/local/Ascend/driver/version.info is a directory",
    ),
    (
        "driver.kernel-headers",
        Machine(|h| h.with_file("/proc/sys/kernel/osrelease", "5.10.1")),
        "/lib/modules/5.10.1/build",
    ),
    (
        "cann.driver-pair",
        Machine(|h| {
            h.with_file(
                "/etc/berth/images.toml",
                "[[image]]\nname = \"new\"\nreference = \"r/ascend/cann:9.1.0-910b\"\n",
            )
        }),
        "image new: CANN 9.1.0",
    ),
    (
        "hccn.ip",
        Machine(|h| h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 2 -ip -g", 0, "\n", "")),
        "no address: card 2",
    ),
    (
        "hccn.ip",
        Machine(|h| {
            h.with_output("/usr/local/Ascend/driver/tools/hccn_tool -i 2 -ip -g", 0, "ipaddr:29.1.0.1\n", "")
        }),
        "two cards",
    ),
    (
        "hccn.conf",
        Machine(|h| h.with_file("/etc/hccn.conf", "address_0=29.1.0.1\naddress_1=29.1.0.9\n")),
        "card 1 has 29.1.0.2, the file 29.1.0.9, card 2 has 29.1.0.3, the file none",
    ),
    (
        "hccn.conf",
        Machine(|h| {
            h.remove(Path::new("/etc/hccn.conf")).unwrap();
            h
        }),
        "there is no /etc/hccn.conf",
    ),
    ("hccn.conf", Machine(|h| directory_for(h, "/etc/hccn.conf")), "/etc/hccn.conf is a directory"),
    (
        "hccn.link",
        Machine(|h| {
            h.with_output(
                "/usr/local/Ascend/driver/tools/hccn_tool -i 5 -link -g",
                0,
                "link status: DOWN\n",
                "",
            )
        }),
        "down: card 5",
    ),
    (
        "hccn.net-health",
        Machine(|h| {
            h.with_output(
                "/usr/local/Ascend/driver/tools/hccn_tool -i 0 -net_health -g",
                0,
                "net health status: Socket failed\n",
                "",
            )
        }),
        "card 0 Socket failed",
    ),
    (
        "hccn.tls",
        Machine(|h| {
            h.with_output(
                "/usr/local/Ascend/driver/tools/hccn_tool -i 6 -tls -g",
                0,
                "dev_id:6, tls switch[1](0:disable, 1:enable)\n",
                "",
            )
        }),
        "on for card 6",
    ),
    ("os.supported", Machine(|h| h.with_file("/etc/os-release", "ID=centos\nVERSION_ID=7\n")), "centos 7"),
    ("os.supported", Machine(|h| h.with_file("/etc/os-release", KYLIN)), "nobody has tried berth on it"),
    (
        "os.supported",
        Machine(|h| h.with_file("/etc/os-release", "ID=uos\nVERSION_ID=\"20\"\n")),
        "nobody has tried berth on it",
    ),
    ("os.arch", Facts(|f| f.os.as_mut().unwrap().arch = "riscv64".into()), "riscv64"),
    ("kernel.version", Facts(|f| f.os.as_mut().unwrap().kernel = "3.10.0-957.el7".into()), "3.10.0"),
    ("kernel.ip-forward", Machine(|h| h.with_file("/proc/sys/net/ipv4/ip_forward", "0\n")), "ip_forward = 0"),
    (
        "kernel.limits",
        Machine(|h| h.with_file("/proc/sys/fs/inotify/max_user_instances", "128\n")),
        "max_user_instances = 128",
    ),
    (
        "user.hwhiaiuser",
        Machine(|h| h.with_output("getent passwd -- HwHiAiUser", 2, "", "")),
        "no HwHiAiUser",
    ),
    ("user.hwhiaiuser", Facts(|f| f.nodes.as_mut().unwrap().gid = Some(1001)), "group 1001"),
    (
        "memory.total",
        Machine(|h| h.with_file("/proc/meminfo", "MemTotal: 1400000000 kB\nMemAvailable: 1 kB\n")),
        "1335 GiB",
    ),
    (
        "numa.nodes",
        Machine(|h| h.with_file("/sys/devices/system/node/node3/meminfo", "Node 3 MemTotal: 0 kB\n")),
        "node 3 has no memory",
    ),
    (
        "profile.fits",
        Machine(|h| h.with_file("/sys/devices/system/cpu/online", "0-95\n")),
        "promises 184 CPUs on all cards, and there are 96",
    ),
    ("numa.nodes", Facts(|f| f.cpu.as_mut().unwrap().numa_nodes.truncate(1)), "NUMA nodes: 1"),
    (
        "disk.data",
        Machine(|h| h.with_output(DF, 0, &df("400000000000", ""), "")),
        "/data/berth is on the root file system",
    ),
    (
        "disk.data",
        Machine(|h| {
            let empty = r#"{"blockdevices":[{"name":"nvme1n1","type":"disk","size":3840755982336}]}"#;
            h.with_output(DF, 0, &df("400000000000", ""), "").with_output(LSBLK, 0, empty, "")
        }),
        "empty disks: nvme1n1 3.4TiB",
    ),
    (
        "disk.data",
        Machine(|h| h.with_output(DF, 0, &df("400000000000", "/dev/sdb1 xfs 100 50 0 0 /data"), "")),
        "/dev/sdb1",
    ),
    (
        "disk.quota",
        Machine(|h| {
            h.with_file(
                "/proc/self/mountinfo",
                "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n40 25 8:3 / /data rw - xfs /dev/x rw\n",
            )
        }),
        "/data is xfs with rw",
    ),
    ("disk.root-space", Machine(|h| h.with_output(DF, 0, &df("1000000000", DATA), "")), "953.6MiB free"),
    (
        "disk.root-space",
        Machine(|h| h.with_file("/proc/self/mountinfo", "25 1 8:2 / / rw - ext4 /dev/sda2 ro\n")),
        "read-only",
    ),
    (
        "disk.root-space",
        Machine(|h| h.with_output(DF, 0, &df("400000000000", DATA).replace("28000000", "9"), "")),
        "9 of 29000000 inodes",
    ),
    (
        "disk.full",
        Machine(|h| {
            let full = "/dev/mapper/vg_data-lv_data xfs 11500000000000 0 1000000 900000 /data";
            h.with_output(DF, 0, &df("400000000000", full), "")
        }),
        "is full (file system /data): nobody can write more there",
    ),
    (
        "disk.full",
        Machine(|h| h.with_output(DF, 0, &df("400000000000", DATA).replace("28000000", "0"), "")),
        "file system / is full, where the ledger is",
    ),
    (
        "disk.fstab-nofail",
        Machine(|h| h.with_file("/etc/fstab", "UUID=1 / ext4\nUUID=2 /data xfs defaults 0 0\n")),
        "line 2 mounts /data without nofail",
    ),
    (
        "disk.fstab-nofail",
        Machine(|h| h.with_file("/etc/fstab", "/dev/nvme0n1 /data xfs nofail 0 0\n")),
        "by its name /dev/nvme0n1",
    ),
    (
        "disk.fstab-nofail",
        Machine(|h| h.with_file("/etc/fstab", "/dev/vdb /data xfs nofail 0 0\n")),
        "by its name /dev/vdb",
    ),
    ("disk.fstab-nofail", Machine(|h| h.with_file("/etc/fstab", "UUID=1 / ext4\nnonsense\n")), "line 2"),
    (
        "disk.smart",
        Machine(|h| {
            h.with_output(
                "smartctl -H /dev/nvme0n1",
                8,
                "SMART overall-health self-assessment test result: FAILED!\n",
                "",
            )
        }),
        "nvme0n1 expects to fail",
    ),
    ("docker.version", Facts(|f| docker(f, |d| d.version = "17.06.2".into())), "17.06.2"),
    (
        "docker.version",
        Facts(|f| f.docker = Ok(DockerState::Unusable { why: "no socket".into(), remedy: "start".into() })),
        "no socket",
    ),
    (
        "docker.data-root",
        Facts(|f| docker(f, |d| d.data_root = Some("/var/lib/docker".into()))),
        "/var/lib/docker",
    ),
    ("docker.log-rotation", Machine(|h| h.with_file("/etc/docker/daemon.json", "{}")), "without max-size"),
    ("docker.log-rotation", Machine(|h| h.with_file("/etc/docker/daemon.json", "{,}")), "no JSON"),
    ("docker.live-restore", Machine(|h| h.with_file("/etc/docker/daemon.json", "{}")), "off"),
    ("docker.runtime", Facts(|f| docker(f, |d| d.runtimes.clear())), "default runc"),
    ("docker.runtime", Facts(|f| docker(f, |d| d.default_runtime = Some("ascend".into()))), "default ascend"),
    (
        "docker.runtime",
        Machine(|h| h.with_file("/etc/docker/daemon.json", r#"{"default-runtime":"ascend"}"#)),
        "Docker does not start again",
    ),
    ("docker.log-rotation", Machine(|h| directory_for(h, "/etc/docker/daemon.json")), "it is a directory"),
    (
        "docker.networks",
        Machine(|h| {
            let pools = r#"{"default-address-pools":[{"base":"174.0.0.0/8","size":24}]}"#;
            h.with_file("/etc/docker/daemon.json", pools)
        }),
        "174.0.0.0/8 is public",
    ),
    (
        "docker.metadata-closed",
        Machine(|h| h.with_output(IPTABLES, 1, "", "iptables: Bad rule\n")),
        "169.254.169.254",
    ),
    ("docker.berths-apart", Facts(|f| f.can_filter_bridges = Ok(false)), "no berth is made"),
    (
        "coexist.kubelet",
        Machine(|h| {
            h.with_file("/proc/7/comm", "kubelet\n")
                .with_file("/var/lib/kubelet/device-plugins/Ascend910.sock", "")
        }),
        "Ascend910.sock",
    ),
    ("coexist.kubelet", Machine(|h| h.with_file("/proc/7/comm", "kubelet\n")), "pid 7"),
    ("coexist.kubelet", Machine(|h| h.with_file("/proc/7/comm", "k3s-server\n")), "k3s-server runs (pid 7)"),
    (
        "coexist.kubelet",
        Machine(|h| h.with_file("/var/lib/kubelet/device-plugins/Ascend910.sock", "")),
        "no kubelet by a known name runs, and there is a device plugin's socket: Ascend910.sock",
    ),
    ("coexist.container-manager", Machine(|h| h.with_file("/proc/7/comm", "container-manag\n")), "pid 7"),
    (
        "coexist.slurm",
        Machine(|h| {
            h.with_file("/proc/7/comm", "slurmd\n")
                .with_file("/etc/slurm/gres.conf", "Name=npu File=/dev/davinci[0-7]\n")
        }),
        "gres.conf",
    ),
    ("net.time-sync", Machine(|h| h.with_output(CLOCK, 0, "no\n", "")), "not synchronised"),
    (
        "net.registry",
        Facts(|f| f.registries = Ok(vec![("r.example.com".into(), Err("no such host".into()))])),
        "no such host",
    ),
    (
        "holders.foreign",
        Facts(|f| {
            f.holders.as_mut().unwrap().containers.as_mut().unwrap().push((5, container("vllm"), false));
        }),
        "card 5: container vllm",
    ),
    (
        "holders.foreign",
        Facts(|f| {
            let open = OpenBy {
                card: 1,
                pid: 77,
                name: "python".into(),
                user: Some("bob".into()),
                container_id: None,
            };
            f.holders.as_mut().unwrap().processes = Ok(vec![open]);
        }),
        "card 1: process 77 (python of bob)",
    ),
];
