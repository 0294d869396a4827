//! A check without its facts is never `ok`: each test takes one source away from a good node.

use super::*;
use crate::check::seen::Holders;
use crate::model::check_facts::Conflicts;

fn lost<T>() -> Look<T> {
    Err("lost".to_owned().into())
}

type Lose = fn(&mut CheckFacts);

const SOURCES: [(Need, Lose); 26] = [
    (Need::Npu, |f| f.npu = lost()),
    (Need::Board, |f| f.board = lost()),
    (Need::Pci, |f| f.pci = lost()),
    (Need::Nodes, |f| f.nodes = lost()),
    (Need::Driver, |f| f.driver = lost()),
    (Need::Cann, |f| f.cann = lost()),
    (Need::Hccn, |f| f.hccn = lost()),
    (Need::HccnConf, |f| f.hccn_conf = lost()),
    (Need::Os, |f| f.os = lost()),
    (Need::Cpu, |f| f.cpu = lost()),
    (Need::Memory, |f| f.memory = lost()),
    (Need::Sysctl, |f| f.sysctl = lost()),
    (Need::Disks, |f| f.disks = lost()),
    (Need::Space, |f| f.space = lost()),
    (Need::Mounts, |f| f.mounts = lost()),
    (Need::Fstab, |f| f.fstab = lost()),
    (Need::Smart, |f| f.smart = lost()),
    (Need::Docker, |f| f.docker = lost()),
    (Need::Daemon, |f| f.daemon = lost()),
    (Need::Metadata, |f| f.metadata_closed = lost()),
    (Need::BridgeFilter, |f| f.can_filter_bridges = lost()),
    (Need::Conflicts, |f| f.conflicts = lost()),
    (Need::Clock, |f| f.clock = lost()),
    (Need::Registries, |f| f.registries = lost()),
    (Need::Account, |f| f.account = lost()),
    (Need::Holders, |f| f.holders = lost()),
];

/// Where a source only adds to what is shown of a bad node, or to its remedy: the verdict stands on the others.
const ADDS_WORDS: [(Need, &str); 10] = [
    (Need::Pci, "npu.count"),
    (Need::Os, "driver.kernel-headers"),
    (Need::Disks, "disk.data"),
    (Need::Driver, "npu.nodes"),
    // Tells only why npu-smi is not there.
    (Need::Driver, "npu.count"),
    (Need::Driver, "npu.lost"),
    (Need::Driver, "npu.health"),
    (Need::Driver, "npu.hbm-held"),
    (Need::Driver, "holders.foreign"),
    // It is the driver that runs that counts.
    (Need::Driver, "cann.driver-pair"),
];

/// The kernel's own record of open cards stands without npu-smi's list.
const SECOND_OPINION: (Need, &str) = (Need::Npu, "holders.foreign");

#[test]
fn without_one_source_no_check_that_needs_it_is_ok() {
    let good = facts_of(&good_host());
    for check in table() {
        for need in check.needs {
            let (_, lose) = SOURCES.iter().find(|(source, _)| source == need).unwrap();
            let mut facts = good.clone();
            lose(&mut facts);
            let pair = (*need, check.id);
            let may_be_ok = ADDS_WORDS.contains(&pair) || pair == SECOND_OPINION;
            let found = result(&facts, check.id);
            assert_eq!(found.verdict == CheckVerdict::Ok, may_be_ok, "without {need:?}: {found:#?}");
            assert!(may_be_ok || found.verdict == CheckVerdict::CouldNotLook, "without {need:?}: {found:#?}");
        }
    }
}

fn conflicts(facts: &mut CheckFacts) -> &mut Conflicts {
    facts.conflicts.as_mut().unwrap()
}

fn holders(facts: &mut CheckFacts) -> &mut Holders {
    facts.holders.as_mut().unwrap()
}

fn hang(facts: &mut CheckFacts) {
    let host = FakeHost::default().with_hang(SMI);
    let facts = &mut facts.npu.as_mut().unwrap().facts;
    *facts = gather_table(&host, &config().tools);
}

fn held(facts: &mut CheckFacts) {
    let host = FakeHost::default().with_output(SMI, 172, "", "");
    let facts = &mut facts.npu.as_mut().unwrap().facts;
    *facts = gather_table(&host, &config().tools);
}

/// A part of a source, and the checks that need it.
const PARTS: [(Lose, &[&str]); 15] = [
    (hang, &["npu.count", "npu.lost", "npu.health", "npu.hbm-held"]),
    (hang, &["driver.version", "driver.install-complete", "cann.driver-pair"]),
    (held, &["npu.lost", "npu.health", "npu.hbm-held", "driver.version"]),
    (|f| f.board.as_mut().unwrap().firmware = None, &["driver.firmware-pair"]),
    (|f| conflicts(f).device_plugins = lost(), &["coexist.kubelet"]),
    (
        |f| {
            conflicts(f).slurmd.push(7);
            conflicts(f).slurm_has_cards = lost();
        },
        &["coexist.slurm"],
    ),
    (|f| holders(f).nodes = lost(), &["holders.foreign"]),
    (|f| holders(f).containers = lost(), &["holders.foreign"]),
    (|f| holders(f).processes = lost(), &["holders.foreign"]),
    (|f| f.hccn.as_mut().unwrap()[3].address = lost(), &["hccn.ip", "hccn.conf"]),
    (|f| f.hccn.as_mut().unwrap()[3].link = lost(), &["hccn.link"]),
    (|f| f.hccn.as_mut().unwrap()[3].health = lost(), &["hccn.net-health"]),
    (|f| f.hccn.as_mut().unwrap()[3].tls = lost(), &["hccn.tls"]),
    (
        |f| f.sysctl.as_mut().unwrap().values_mut().for_each(|value| *value = lost()),
        &["kernel.ip-forward", "kernel.limits"],
    ),
    (|f| f.smart.as_mut().unwrap()[0].healthy = lost(), &["disk.smart"]),
];

#[test]
fn without_a_part_of_a_source_no_check_that_needs_it_is_ok() {
    for (lose, ids) in PARTS {
        let mut facts = facts_of(&good_host());
        lose(&mut facts);
        for id in ids {
            let found = result(&facts, id);
            assert_eq!(found.verdict, CheckVerdict::CouldNotLook, "{found:#?}");
        }
    }
    // Without Slurm nobody asks what its file says.
    let mut no_slurm = facts_of(&good_host());
    conflicts(&mut no_slurm).slurm_has_cards = lost();
    assert_eq!(result(&no_slurm, "coexist.slurm").verdict, CheckVerdict::Ok);
}

#[test]
fn what_is_bad_is_bad_whatever_else_was_not_seen() {
    let ranges = "Version=24.1.0.3\ncompatible_version_fw=[7.6.0,7.7.99]\n";
    let facts = CheckFacts { board: lost(), ..facts_of(&good_host().with_file(DRIVER, ranges)) };
    assert_eq!(result(&facts, "driver.firmware-pair").verdict, CheckVerdict::Fail);
    let nobody = good_host().with_output("getent passwd -- HwHiAiUser", 2, "", "");
    let facts = CheckFacts { nodes: lost(), ..facts_of(&nobody) };
    assert_eq!(result(&facts, "user.hwhiaiuser").verdict, CheckVerdict::Fail);
}

#[test]
fn a_driver_that_could_not_be_looked_at_is_not_missing() {
    let tool_is_gone = NpuLook {
        facts: gather_table(&FakeHost::default().with_missing(SMI), &config().tools),
        ..NpuLook::default()
    };
    let facts = CheckFacts { npu: Ok(tool_is_gone), driver: lost(), ..facts_of(&good_host()) };
    for id in ["npu.count", "driver.version"] {
        let found = result(&facts, id);
        assert_eq!(
            (found.verdict, found.reason.as_deref()),
            (CheckVerdict::CouldNotLook, Some("lost")),
            "{id}"
        );
    }
}

#[test]
fn a_directory_service_that_hangs_is_not_a_missing_account() {
    let host = good_host().with_hang("getent passwd -- HwHiAiUser");
    let found = result(&facts_of(&host), "user.hwhiaiuser");
    assert_eq!(found.verdict, CheckVerdict::CouldNotLook, "{found:#?}");
}
