//! Every check on a good node and on a bad one. The input is the output of tools, the result is verdicts.

mod bad;
mod looked;
mod machine;
mod remedies;

use super::*;
use crate::accel::ascend::npu_smi::gather_table;
use crate::check::report::{CheckVerdict, Severity};
use crate::check::table;
use crate::host::FakeHost;
use crate::model::driver::DriverFacts;
use bad::{BAD, Facts, Machine};
use machine::*;

const ELSEWHERE: [Need; 4] = [Need::Nodes, Need::Docker, Need::Registries, Need::Holders];

fn facts_of(host: &FakeHost) -> CheckFacts {
    let (config, profile) = (config(), profile());
    let node = ProbeInput { host, accel: &accel::Ascend, config: &config, profile: &profile };
    let needs: BTreeSet<Need> = table()
        .flat_map(|check| check.needs.iter().copied())
        .filter(|need| !ELSEWHERE.contains(need))
        .collect();
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

#[test]
fn every_check_is_ok_on_a_good_node() {
    for result in results(&facts_of(&good_host())) {
        assert_eq!(result.verdict, CheckVerdict::Ok, "{result:#?}");
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
        assert!(matches!(found.verdict, CheckVerdict::Warn | CheckVerdict::Fail), "{found:#?}");
        assert!(found.seen.as_ref().unwrap().contains(evidence), "{evidence}: {found:#?}");
        assert!(!found.remedy.as_ref().unwrap().is_empty(), "{found:#?}");
        assert!(found.wanted.is_some(), "{found:#?}");
        let may_fail = found.severity == Severity::Required;
        assert!(may_fail || found.verdict == CheckVerdict::Warn, "{found:#?}");
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
        assert_eq!(result.verdict, CheckVerdict::CouldNotLook, "{result:#?}");
        assert!(result.reason.is_some() && result.seen.is_none(), "{result:#?}");
        assert_eq!(result.stops(), result.severity == Severity::Required);
    }
    // No tool answers and no file is there. One source at a time: looked.rs.
    let silent = FakeHost::default();
    for result in results(&facts_of(&silent)) {
        assert!(
            result.verdict != CheckVerdict::Ok || ELSEWHERE_OR_DEFAULT.contains(&result.id.as_str()),
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
    use CheckVerdict::{CouldNotLook, Fail};
    let without = |change: fn(FakeHost) -> FakeHost| facts_of(&change(good_host()));
    let no_tool = CheckFacts {
        npu: Ok(NpuLook {
            facts: gather_table(&FakeHost::default().with_missing(SMI), &config().tools),
            ..NpuLook::default()
        }),
        driver: Ok(DriverFacts::default()),
        ..facts_of(&good_host())
    };
    let elsewhere = CheckFacts { driver: facts_of(&good_host()).driver, ..no_tool.clone() };
    let cases: Vec<(CheckFacts, CheckVerdict, &str)> = vec![
        (elsewhere, CouldNotLook, "driver 24.1.0.3 is installed, and there is no /usr/local/bin/npu-smi"),
        (
            without(|h| h.with_output(SMI, 187, "dcmi module initialize failed. ret is -8005\n", "")),
            Fail,
            "no driver answers (-8005)",
        ),
        (without(|h| h.with_output(SMI, 187, "", "")), Fail, "no driver answers (-8005)"),
        (
            without(|h| h.with_output(SMI, 172, "the device is used. ret is -8020\n", "")),
            Fail,
            "a container has cards (-8020)",
        ),
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
        h.with_output(SMI, 187, "ret is -8005\n", "")
            .with_file("/sys/bus/pci/devices/0000:11:00.0/vendor", "0xffff")
    });
    assert_eq!(result(&off_the_bus, "npu.lost").verdict, Fail);
    // With other ids than the profile's on the bus, nothing can be compared.
    let none_on_the_bus = CheckFacts { pci: Ok(Vec::new()), ..facts_of(&good_host()) };
    assert_eq!(result(&none_on_the_bus, "npu.lost").verdict, CheckVerdict::Skipped);
    let nobody = CheckFacts { root: false, ..without(|h| h.with_output(SMI, 187, "ret is -8005\n", "")) };
    let count = result(&nobody, "npu.count");
    assert_eq!((count.verdict, count.remedy.as_deref()), (CouldNotLook, Some("sudo berth check --only npu")));
}

#[test]
fn a_single_node_s_link_warns_and_a_fleet_s_fails() {
    let host = good_host().with_output(&format!("{HCCN} -i 5 -link -g"), 0, "link status: DOWN\n", "");
    let facts = facts_of(&host);
    assert_eq!(result(&facts, "hccn.link").verdict, CheckVerdict::Fail);
    let mut alone = profile();
    alone.check.single_node = true;
    let results = results_in(&facts, &alone);
    assert_eq!(results.iter().find(|result| result.id == "hccn.link").unwrap().verdict, CheckVerdict::Warn);
    // A card that hangs does not hide one that is down, and alone it is unknown.
    let hangs = good_host().with_hang(&format!("{HCCN} -i 1 -ip -g"));
    assert_eq!(result(&facts_of(&hangs), "hccn.link").verdict, CheckVerdict::CouldNotLook);
    let both = host.with_hang(&format!("{HCCN} -i 1 -ip -g"));
    assert_eq!(result(&facts_of(&both), "hccn.link").verdict, CheckVerdict::Fail);
}

#[test]
fn hostile_output_makes_bounded_results_and_no_panic() {
    let garbage: String = "|\u{0}\u{1b}[31m é 99999999999999999999 : = [,] \n".repeat(20_000);
    let mut host = good_host().with_output(SMI, 0, &garbage, &garbage);
    for command in
        [LSBLK, DF, CLOCK, IPTABLES, IPTABLES_OWN, "smartctl -H /dev/nvme0n1", "getent passwd -- HwHiAiUser"]
    {
        host = host.with_output(command, 0, &garbage, &garbage);
    }
    for path in
        [DRIVER, FIRMWARE, "/etc/fstab", "/etc/os-release", "/proc/meminfo", "/etc/docker/daemon.json"]
    {
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
