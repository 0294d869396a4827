//! Which cards count as free, and who is named for those that do not.

use super::*;
use crate::accel::{Ascend, tests::Other};
use crate::model::facts::{NpuError, NpuProcess, NpuTopology, NpuTrouble};
use crate::model::{BerthState, Health};
use crate::profile::parse_toml;
use std::path::Path;

fn profile() -> Profile {
    let text = include_str!("../../profiles/sim.toml");
    parse_toml(Path::new("sim.toml"), text).unwrap()
}

fn device(id: u32) -> NpuDevice {
    NpuDevice {
        id,
        npu: id,
        chip: 0,
        name: "910B3".into(),
        health: Health::Ok,
        bus_id: None,
        power_w: None,
        temperature_c: None,
        aicore_percent: None,
        hbm_used_mib: None,
        hbm_total_mib: None,
        ddr_used_mib: None,
        ddr_total_mib: None,
        hugepages_used: None,
        hugepages_total: None,
        processes: Vec::new(),
    }
}

pub(in crate::ops) fn npu() -> NpuFacts {
    NpuFacts { devices: (0..8).map(device).collect(), ..NpuFacts::default() }
}

pub(in crate::ops) fn seen() -> Snapshot {
    Snapshot { nodes: (0..8).map(|id| (CardId(id), (236, id))).collect(), ..Snapshot::default() }
}

pub(in crate::ops) fn berth(cards: &[u32]) -> Berth {
    Berth {
        id: 1,
        owner: "alice".into(),
        name: "a".into(),
        state: BerthState::Live,
        cards: cards.iter().copied().map(CardId).collect(),
        port: 20000,
        ssh_user: "ma-user".into(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        container_id: Some("c1".into()),
        memory: None,
        cpus: None,
        host_key: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        size: u32::try_from(cards.len()).unwrap(),
        next_cards: None,
        until: None,
        lease: None,
        unattended: false,
        stops_at: None,
        stops_for: None,
        condition: None,
        deadline: None,
        lock: None,
        stop: None,
        ended_at: None,
        note: None,
        conditions: Vec::new(),
    }
}

fn free(npu: &NpuFacts, seen: &Snapshot) -> Vec<u32> {
    let profile = profile();
    let view = view(&Ascend, &profile, npu, seen, &Listed::new());
    slots(&Ascend, &profile, npu, &view).iter().filter(|slot| slot.free).map(|slot| slot.id.0).collect()
}

pub(in crate::ops) fn open(card: u32, pid: u32, container: Option<&str>) -> OpenCard {
    OpenCard {
        card: CardId(card),
        device: OpenDevice {
            pid,
            name: "python".into(),
            uid: Some(1001),
            rdev: (236, card),
            container_id: container.map(Into::into),
        },
        user: Some("bob".into()),
    }
}

#[test]
fn only_healthy_cards_that_nobody_holds_are_free() {
    assert_eq!(free(&npu(), &seen()), [0, 1, 2, 3, 4, 5, 6, 7]);
    let mut sick = npu();
    sick.devices[0].health = Health::Alarm;
    sick.devices[1].health = Health::Warning;
    sick.devices[2].health = Health::Unknown;
    sick.devices.remove(7);
    let mut seen = seen();
    seen.nodes.remove(&CardId(6));
    seen.berths = vec![berth(&[3])];
    assert_eq!(free(&sick, &seen), [1, 4, 5]);
}

#[test]
fn nothing_is_free_when_it_could_not_be_looked_at() {
    let error = NpuError {
        trouble: NpuTrouble::Other,
        code: None,
        meaning: "npu-smi hung".into(),
        remedy: String::new(),
    };
    let blind = NpuFacts { error: Some(error), ..NpuFacts::default() };
    assert!(free(&blind, &seen()).is_empty());
    let no_proc = Snapshot { not_looked: Some("/proc is not mounted".into()), ..seen() };
    assert!(free(&npu(), &no_proc).is_empty());
}

#[test]
fn foreign_holders_are_named_and_our_own_processes_are_not() {
    let holder = Holder::Container {
        id: "f1".into(),
        name: "stray".into(),
        image: "x".into(),
        reason: ContainerReason::Device,
    };
    let mut seen = seen();
    seen.berths = vec![berth(&[0, 1])];
    seen.outside.held = vec![(CardId(2), holder.clone())];
    seen.open = vec![
        open(0, 10, Some("c1")),
        open(1, 11, None),
        open(2, 12, Some("f1")),
        open(3, 13, None),
        open(4, 14, Some("other")),
    ];
    let mut facts = npu();
    let process = |pid| NpuProcess { pid, name: "train".into(), memory_mib: 9, container_pid: None };
    facts.devices[0].processes = vec![process(10)];
    facts.devices[5].processes = vec![process(15)];
    let view = view(&Ascend, &profile(), &facts, &seen, &Listed::new());
    let pids = |card: usize| -> Vec<u32> {
        let holders = view[card].holders.iter();
        holders
            .filter_map(|holder| match holder {
                Holder::Process { pid, .. } => Some(*pid),
                _ => None,
            })
            .collect()
    };
    assert_eq!(pids(0), [] as [u32; 0], "a process in the berth's own container");
    assert_eq!(pids(1), [11], "a host process on a berth's card is an intruder");
    assert_eq!((pids(2), view[2].holders.len()), (vec![], 1));
    assert_eq!(view[2].holders[0], holder);
    assert_eq!((pids(3), pids(4), pids(5)), (vec![13], vec![14], vec![15]));
    assert_eq!(free(&facts, &seen), [6, 7]);
}

#[test]
fn groups_come_from_the_topology_and_else_from_the_profile() {
    let groups = |npu: &NpuFacts| -> Vec<(u32, u32)> {
        let view = view(&Ascend, &profile(), npu, &seen(), &Listed::new());
        slots(&Ascend, &profile(), npu, &view).iter().map(|slot| (slot.link, slot.numa)).collect()
    };
    assert_eq!(groups(&npu())[..5], [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1)]);
    let near = |id: u32, cpus: &str, hccs: &[u32]| NpuTopology {
        id,
        numa_node: None,
        cpu_affinity: Some(cpus.into()),
        hccs: hccs.to_vec(),
    };
    let told = NpuFacts {
        topology: vec![near(0, "144-167", &[1, 2]), near(1, "0-23", &[0, 2]), near(2, "144-167", &[0, 1])],
        ..npu()
    };
    assert_eq!(groups(&told)[..4], [(0, 0), (0, 1), (0, 0), (3, 0)]);
    // One NUMA node for all of them does not hide that some are nearer to each other.
    let one_node = told.topology.iter().map(|near| NpuTopology { numa_node: Some(0), ..near.clone() });
    let told = NpuFacts { topology: one_node.collect(), ..npu() };
    assert_eq!(groups(&told)[..3], [(0, 0), (0, 1), (0, 0)]);
}

#[test]
fn a_bad_node_is_one_bad_card() {
    let mut seen = seen();
    seen.nodes.remove(&CardId(7));
    seen.bad_nodes = vec![(CardId(7), "/dev/davinci7 is not a character device".into())];
    assert_eq!(free(&npu(), &seen), [0, 1, 2, 3, 4, 5, 6]);
    let reason = view(&Ascend, &profile(), &npu(), &seen, &Listed::new()).pop().unwrap().unusable.unwrap();
    assert!(reason.contains("is not a character device"), "{reason}");
}

#[test]
fn a_process_in_a_berth_or_a_container_is_named_by_it() {
    let mut seen = seen();
    seen.berths = vec![berth(&[0])];
    seen.outside.strangers = vec![crate::engine::Stranger {
        id: "m1".into(),
        name: "monitor".into(),
        image: "x".into(),
        exempt: true,
    }];
    // Each twice: a container is one holder, however many of its processes have a card open.
    seen.open = vec![open(3, 20, Some("c1")), open(4, 21, Some("m1")), open(4, 22, Some("m1"))];
    let mut facts = npu();
    facts.devices[5].processes =
        vec![NpuProcess { pid: 23, name: "t".into(), memory_mib: 9, container_pid: None }];
    let listed = Listed::from([(23, "m1".to_owned())]);
    let view = view(&Ascend, &profile(), &facts, &seen, &listed);
    let inside =
        Holder::BerthProcess { owner: "alice".into(), name: "a".into(), pid: 20, process: "python".into() };
    assert_eq!(view[3].holders, [inside]);
    let monitor = Holder::Container {
        id: "m1".into(),
        name: "monitor".into(),
        image: "x".into(),
        reason: ContainerReason::Open,
    };
    assert_eq!(
        view[4].holders,
        std::slice::from_ref(&monitor),
        "exempt is what it could have, not what it has open"
    );
    assert_eq!(view[5].holders, [monitor], "npu-smi lists it");
}

#[test]
fn a_card_that_is_cut_is_not_given_out_and_an_exempt_container_does_not_matter() {
    let mut seen = seen();
    seen.vnpus = BTreeMap::from([(CardId(2), BTreeSet::from([132, 133]))]);
    let monitor = Holder::Container {
        id: "m1".into(),
        name: "monitor".into(),
        image: "x".into(),
        reason: ContainerReason::Privileged,
    };
    seen.outside.exempt = vec![(CardId(1), monitor.clone())];
    let mut facts = npu();
    facts.vnpus = vec![crate::model::facts::NpuCut { card: 2, ids: vec![133, 134] }];
    assert_eq!(free(&facts, &seen), [0, 1, 3, 4, 5, 6, 7]);
    let view = view(&Ascend, &profile(), &facts, &seen, &Listed::new());
    assert_eq!(view[2].holders, [Holder::Vnpu { ids: vec![132, 133, 134] }]);
    assert_eq!((&view[1].exempt, &view[1].holders), (&vec![monitor], &vec![]));
}

#[test]
fn what_could_not_be_looked_at_blocks_the_cards_that_it_can_have_alone() {
    let mut seen = seen();
    seen.berths = vec![berth(&[0])];
    seen.unfinished = vec![open(6, 20, Some("c1")), open(7, 20, Some("c1"))];
    assert_eq!(free(&npu(), &seen), [1, 2, 3, 4, 5]);
    let said = view(&Ascend, &profile(), &npu(), &seen, &Listed::new())[6].holders[0].to_string();
    assert_eq!(
        said,
        "perhaps berth alice/a, with more open files than could be looked at (process 20, python)"
    );
}

#[test]
fn an_administrator_knows_better_than_the_health_of_a_card() {
    let ruling = |verdict| Ruling {
        verdict,
        why: None,
        until: None,
        by: "root".into(),
        since: jiff::Timestamp::UNIX_EPOCH,
    };
    let mut sick = npu();
    sick.devices[3].health = Health::Alarm;
    let mut seen = seen();
    seen.rulings = [(CardId(3), ruling(CardVerdict::Allow)), (CardId(5), ruling(CardVerdict::Block))].into();
    assert_eq!(free(&sick, &seen), [0, 1, 2, 3, 4, 6, 7]);
    assert_eq!(
        view(&Ascend, &profile(), &sick, &seen, &Listed::new())[5].unusable.as_deref(),
        Some("blocked by root")
    );
    // What is not there stays so, and what somebody has is theirs.
    sick.devices.remove(3);
    assert!(!free(&sick, &seen).contains(&3));
    seen.open.push(open(2, 9, None));
    seen.rulings.insert(CardId(2), ruling(CardVerdict::Allow));
    assert!(!free(&sick, &seen).contains(&2));
}

#[test]
fn thousands_of_processes_are_a_few_holders_and_a_number() {
    let many = Snapshot {
        open: (0..5000).map(|pid| open(2, 1000 + pid, None)).collect(),
        unfinished: (0..20).map(|pid| open(2, 9000 + pid, None)).collect(),
        ..seen()
    };
    let view = view(&Ascend, &profile(), &npu(), &many, &Listed::new());
    let holders = &view[2].holders;
    assert_eq!(holders.len(), 2 * (MOST_NAMED + 1));
    assert_eq!(holders[MOST_NAMED], Holder::More { count: 5000 - MOST_NAMED, sure: true });
    assert_eq!(holders.last(), Some(&Holder::More { count: 20 - MOST_NAMED, sure: false }));
    assert!(!view[2].free && view[3].free);
}

#[test]
fn another_kind_of_card_has_its_own_names_and_links() {
    let (mut npu, mut seen) = (npu(), seen());
    npu.devices.remove(0);
    seen.nodes.remove(&CardId(3));
    let view = view(&Other, &profile(), &npu, &seen, &Listed::new());
    assert_eq!(view[0].unusable.as_deref(), Some("other-smi does not list it"));
    assert_eq!(view[3].unusable.as_deref(), Some("its device node other131 is not there"));
    let links: Vec<u32> = slots(&Other, &profile(), &npu, &view).iter().map(|slot| slot.link).collect();
    assert_eq!(links, [0, 0, 1, 1, 2, 2, 3, 3]);
}
