//! A good node: what its tools print and its files say.

use super::*;
use crate::check::seen::{DockerState, Holders};
use crate::model::Holder;
use crate::model::check_facts::NodeFacts;
use crate::model::facts::DockerFacts;
use crate::model::holder::ContainerReason;
use crate::profile::load_profile;
use std::fmt::Write as _;

pub(super) const SMI: &str = "/usr/local/bin/npu-smi info";
pub(super) const HCCN: &str = "/usr/local/Ascend/driver/tools/hccn_tool";
pub(super) const IPTABLES: &str = "iptables --wait -C DOCKER-USER -d 169.254.169.254/32 -j REJECT";
pub(super) const IPTABLES_OWN: &str = "iptables --wait -C INPUT ! -i lo -d 169.254.169.254/32 -j REJECT";
pub(super) const LSBLK: &str = "lsblk --json --bytes -o NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID,MOUNTPOINTS";
pub(super) const DF: &str =
    "df --local --block-size=1 --output=source,fstype,size,avail,itotal,iavail,target";
pub(super) const CLOCK: &str = "timedatectl show --property=NTPSynchronized --value";
pub(super) const UNIT: &str = "systemctl show docker.service docker.socket --property=Id,LoadState,ActiveState,UnitFileState,ExecStart,Environment,EnvironmentFiles";
pub(super) const DRIVER: &str = "/usr/local/Ascend/driver/version.info";
pub(super) const FIRMWARE: &str = "/usr/local/Ascend/firmware/version.info";
pub(super) const KERNEL: &str = "5.10.0-60.18.0.50.aarch64";

/// The table of npu-smi, one health word a card; a card without one is not listed.
pub(super) fn info(health: &[&str], hbm_used: u32) -> String {
    let mut text = "| npu-smi 24.1.0.3         Version: 24.1.0.3  |\n+==+\n".to_owned();
    for (id, word) in health.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        let _ = writeln!(text, "| {id}   910B1 | {word} | 93.4 46 0 / 0 |");
        let _ = writeln!(text, "| 0 | 0000:{id}1:00.0 | 0 0 / 0 {hbm_used} / 65536 |\n+==+");
    }
    text
}

pub(super) fn df(root_free: &str, data: &str) -> String {
    format!(
        "Filesystem Type 1B-blocks Avail Inodes IFree Mounted on\n\
         /dev/sda2 ext4 478000000000 {root_free} 29000000 28000000 /\n{data}\n"
    )
}

pub(super) const DATA: &str =
    "/dev/mapper/vg_data-lv_data xfs 11500000000000 11000000000000 1000000 900000 /data";
pub(super) const MOUNTS: &str = "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n40 25 253:0 / /data rw - xfs /dev/mapper/vg_data-lv_data rw,prjquota\n";

/// dockerd is started with these flags.
pub(super) fn with_dockerd(host: FakeHost, flags: &str) -> FakeHost {
    let unit = format!(
        "Id=docker.service\nExecStart={{ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// {flags} ; ignore_errors=no }}\n\
         LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nId=docker.socket\nLoadState=loaded\n"
    );
    host.with_output(UNIT, 0, &unit, "")
}

/// What Docker makes of `-v PATH:…` where there is no such file.
pub(super) fn directory_for(host: FakeHost, path: &str) -> FakeHost {
    host.remove(Path::new(path)).unwrap();
    host.with_file(&format!("{path}/x"), "")
}

pub(super) fn good_host() -> FakeHost {
    let mut host = with_dockerd(FakeHost::default(), "")
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
        .with_file(
            "/etc/berth/images.toml",
            "[[image]]\nname = \"pt\"\nreference = \"r/x:cann_8.2.rc1-py\"\n",
        )
        .with_file("/etc/os-release", "ID=hce\nVERSION_ID=2.0\n")
        .with_file("/proc/sys/net/ipv4/ip_forward", "1\n")
        .with_file("/proc/cpuinfo", "processor : 0\n")
        .with_file("/sys/devices/system/cpu/online", "0-191\n")
        .with_file("/proc/meminfo", "MemTotal: 1584000000 kB\nMemAvailable: 1500000000 kB\n")
        .with_file("/proc/self/mountinfo", MOUNTS)
        .with_file("/etc/fstab", "UUID=1 / ext4 defaults 0 1\nUUID=2 /data xfs nofail,pquota 0 0\n")
        .with_file("/sys/block/nvme0n1/size", "1")
        .with_output(
            "smartctl -H /dev/nvme0n1",
            0,
            "SMART overall-health self-assessment test result: PASSED\n",
            "",
        )
        .with_output(LSBLK, 0, r#"{"blockdevices":[]}"#, "")
        .with_output(DF, 0, &df("400000000000", DATA), "")
        .with_file("/var/run/docker.sock", "")
        .with_file("/etc/docker/daemon.json", r#"{"log-opts":{"max-size":"100m"},"live-restore":true}"#)
        .with_output(IPTABLES, 0, "", "")
        .with_file("/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")
        .with_output(IPTABLES_OWN, 0, "", "")
        .with_file("/proc/1/comm", "systemd\n")
        .with_output(CLOCK, 0, "yes\n", "")
        .with_output(
            "getent passwd -- HwHiAiUser",
            0,
            "HwHiAiUser:x:1000:1000::/home/HwHiAiUser:/bin/bash\n",
            "",
        );
    for (name, least) in &profile().bootstrap.sysctl {
        host = host.with_file(&format!("/proc/sys/{}", name.replace('.', "/")), &least.to_string());
    }
    let mut conf = String::new();
    for id in 0..8 {
        let _ = writeln!(conf, "address_{id}=29.1.0.{}\nnetmask_{id}=255.255.0.0", id + 1);
    }
    host = host.with_file("/etc/hccn.conf", &conf);
    for id in 0..8 {
        let (node, card) =
            (format!("/sys/devices/system/node/node{id}"), format!("/sys/bus/pci/devices/0000:{id}1:00.0"));
        host = host
            .with_file(&format!("{node}/cpulist"), "0-23\n")
            .with_file(&format!("{node}/meminfo"), "Node 0 MemTotal: 198000000 kB\n")
            .with_file(&format!("{card}/vendor"), "0x19e5\n")
            .with_file(&format!("{card}/device"), "0xd802\n")
            .with_output(&format!("{HCCN} -i {id} -ip -g"), 0, &format!("ipaddr:29.1.0.{}\n", id + 1), "")
            .with_output(&format!("{HCCN} -i {id} -link -g"), 0, "link status: UP\n", "")
            .with_output(&format!("{HCCN} -i {id} -net_health -g"), 0, "net health status: Success\n", "")
            .with_output(
                &format!("{HCCN} -i {id} -tls -g"),
                0,
                "dev_id:0, tls switch[0](0:disable, 1:enable)\n",
                "",
            );
    }
    host
}

pub(super) fn config() -> Config {
    Config::default()
}

/// The one that is shipped, on a node that works with others.
pub(super) fn profile() -> Profile {
    let mut profile = load_profile(&FakeHost::default(), &config()).unwrap();
    profile.check.arch = Some(std::env::consts::ARCH.into());
    profile.check.registries = vec!["r.example.com".into()];
    profile.check.single_node = false;
    profile
}

/// What no text can say: device nodes, Docker's and the kernel's records.
pub(super) fn with_records(mut facts: CheckFacts) -> CheckFacts {
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
    facts.holders = Ok(Holders { nodes: Ok(()), containers: Ok(vec![berth]), processes: Ok(Vec::new()) });
    facts
}

pub(super) fn container(name: &str) -> Holder {
    Holder::Container {
        id: name.into(),
        name: name.into(),
        image: "pt".into(),
        reason: ContainerReason::Device,
    }
}
