//! Tests that remedies fit the node, and do no harm.

use super::*;
use crate::model::check_facts::NodeFacts;

fn remedy(facts: &CheckFacts, id: &str) -> String {
    let found = result(facts, id);
    let remedy = found.remedy.clone();
    remedy.unwrap_or_else(|| panic!("{found:#?}"))
}

const DAEMON: &str = "/etc/docker/daemon.json";

/// dockerd's flags, its file, the verdict of live-restore and of log-rotation, and a part of the remedy of each.
#[test]
fn what_dockerd_s_flags_say_counts_and_is_not_said_twice() {
    use CheckVerdict::{Ok as Good, Skipped, Warn};
    let both = "--live-restore --log-driver json-file --log-opt max-size=50m";
    let cases: [(&str, &str, CheckVerdict, CheckVerdict, &str, &str); 8] = [
        (both, "{}", Good, Good, "", ""),
        (
            "",
            "{}",
            Warn,
            Warn,
            "berth bootstrap --apply merges it; by hand: \"live-restore\": true in /etc/docker/daemon.json",
            "berth bootstrap --apply merges it; by hand: \"log-opts\": {",
        ),
        (
            "--live-restore=false",
            "{}",
            Warn,
            Warn,
            "take --live-restore=false out; systemctl cat",
            "log-opts",
        ),
        ("", r#"{"live-restore":false}"#, Warn, Warn, "\"live-restore\": true in /etc/docker", "log-opts"),
        ("--live-restore --log-opt max-file=3", "{}", Good, Warn, "", "add --log-opt max-size=100m"),
        ("--live-restore --log-driver=journald", "{}", Good, Good, "", ""),
        ("--live-restore", r#"{"live-restore":true}"#, Skipped, Warn, "", "take it out of /etc/docker"),
        ("", "{,}", Skipped, Warn, "", "python3 -m json.tool /etc/docker/daemon.json"),
    ];
    for (flags, file, live, logs, live_remedy, logs_remedy) in cases {
        let facts = facts_of(&with_dockerd(good_host(), flags).with_file(DAEMON, file));
        for (id, verdict, part) in
            [("docker.live-restore", live, live_remedy), ("docker.log-rotation", logs, logs_remedy)]
        {
            let found = result(&facts, id);
            assert_eq!(found.verdict, verdict, "{flags} {file}: {found:#?}");
            assert!(found.remedy.unwrap_or_default().contains(part), "{flags} {file}: {part}");
        }
    }
    // By another file, and by a systemd that does not answer.
    let elsewhere = with_dockerd(good_host(), "--config-file=/srv/d.json").with_file("/srv/d.json", "{}");
    assert!(remedy(&facts_of(&elsewhere), "docker.live-restore").contains("true in /srv/d.json"));
    let silent = facts_of(&good_host().with_missing(UNIT));
    for id in ["docker.live-restore", "docker.log-rotation"] {
        assert_eq!(result(&silent, id).verdict, CheckVerdict::CouldNotLook);
    }
}

#[test]
fn settings_of_the_kernel_overwrite_no_file() {
    let low = good_host()
        .with_file("/proc/sys/net/ipv4/ip_forward", "0\n")
        .with_file("/proc/sys/fs/inotify/max_user_instances", "128\n");
    let facts = facts_of(&low);
    let forward = remedy(&facts, "kernel.ip-forward");
    assert!(forward.contains("berth bootstrap --apply") && forward.contains(" >> /etc/sysctl.conf"));
    for text in [&forward, &remedy(&facts, "kernel.limits")] {
        assert!(
            text.starts_with("sysctl -w ") && !text.contains("99-zz-berth") && !text.contains(" > "),
            "{text}"
        );
    }
    let mut unnamed = profile();
    unnamed.bootstrap.sysctl.clear();
    let found = results_in(&facts, &unnamed);
    let found = found.iter().find(|found| found.id == "kernel.ip-forward").unwrap();
    assert!(
        !found.remedy.as_ref().unwrap().contains("bootstrap"),
        "the profile does not name it: {found:#?}"
    );
}

#[test]
fn a_reset_waits_for_the_whole_node() {
    let ill = facts_of(&good_host().with_output(SMI, 0, &info(&["Alarm"; 8], 40_000), ""));
    for id in ["npu.health", "npu.hbm-held"] {
        let text = remedy(&ill, id);
        assert!(text.contains("only when all cards of the node are idle (berth cards)"), "{text}");
        assert!(text.chars().count() <= 300 && !text.ends_with('…'), "{text}");
    }
    assert!(remedy(&ill, "npu.hbm-held").starts_with("ps -eo pid,ppid,stat,comm | awk '$3 ~ /^[DZ]/'"));
}

#[test]
fn the_driver_comes_from_where_the_profile_says() {
    let mut facts = facts_of(&good_host());
    facts.driver = Ok(DriverFacts::default());
    facts.nodes = Ok(NodeFacts::default());
    facts.npu = Ok(NpuLook {
        facts: gather_table(&FakeHost::default().with_missing(SMI), &config().tools),
        ..NpuLook::default()
    });
    let mut named = profile();
    named.bootstrap.driver.packages = "/srv/hdk".into();
    for id in ["driver.version", "driver.loaded", "npu.count", "npu.nodes"] {
        let bare = remedy(&facts, id);
        assert!(bare.contains("set packages in [bootstrap.driver] of the profile"), "{id}: {bare}");
        assert!(!bare.contains("modprobe"), "{id}: {bare}");
        let found = results_in(&facts, &named).into_iter().find(|found| found.id == id).unwrap();
        assert!(found.remedy.as_ref().unwrap().contains("berth bootstrap installs it from /srv/hdk"), "{id}");
    }
    let nodes = CheckFacts { nodes: Ok(NodeFacts::default()), ..facts_of(&good_host()) };
    assert!(remedy(&nodes, "npu.nodes").contains("modprobe drv_pcie_host"), "there is a driver to load");
}

#[test]
fn headers_come_with_the_system_s_own_tool() {
    for (os, tool) in [
        ("ubuntu", "apt-get "),
        ("euleros", "yum "),
        ("centos", "yum "),
        ("openEuler", "dnf "),
        ("hce", "dnf "),
    ] {
        let host = good_host()
            .with_file("/proc/sys/kernel/osrelease", "5.10.1")
            .with_file("/etc/os-release", &format!("ID={os}\nVERSION_ID=2.0\n"));
        assert!(remedy(&facts_of(&host), "driver.kernel-headers").starts_with(tool), "{os}");
    }
}
