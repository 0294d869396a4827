//! Whole looks at made-up machines.

use super::*;
use crate::host::FakeHost;

const INFO: &str = "\
+==+
| 5     910B1               | OK            | 97.0        49                0    / 0             |
| 0                         | 0000:41:00.0  | 0           0    / 0          59499/ 65536         |
+==+
| 7     910B1               | OK            | 94.4        50                0    / 0             |
| 0                         | 0000:42:00.0  | 0           0    / 0          3422 / 65536         |
+==+
";
const MAP: &str =
    "\tNPU ID  Chip ID  Chip Logic ID  Chip Name\n\t5 0 0 Ascend 910B1\n\t5 1 - Mcu\n\t7 0 1 Ascend 910B1\n";

fn machine() -> FakeHost {
    FakeHost::default()
        .with_output("/smi info", 0, INFO, "")
        .with_output("/smi info -m", 0, MAP, "")
        .with_output("/smi info -t topo", 255, "Usage: npu-smi info\n", "")
        .with_file("/sys/bus/pci/devices/0000:41:00.0/vendor", "0x19e5")
        .with_file("/sys/bus/pci/devices/0000:41:00.0/device", "0xd802")
        .with_file("/sys/bus/pci/devices/0000:41:00.0/numa_node", "4")
        .with_file("/sys/devices/system/node/node4/cpulist", "96-119\n")
}

fn config() -> Config {
    Config { tools: Tools { npu_smi: "/smi".into(), ..Tools::default() }, ..Config::default() }
}

fn ids(facts: &NpuFacts) -> Vec<u32> {
    facts.devices.iter().map(|device| device.id).collect()
}

#[test]
fn in_a_container_nodes_keep_the_hosts_numbers() {
    assert_eq!(ids(&gather(&machine(), &config()).0), [0, 1]);
    let inside = machine().with_file("/dev/davinci5", "").with_file("/dev/davinci7", "");
    assert_eq!(ids(&gather(&inside, &config()).0), [5, 7]);
    let host = inside.with_file("/dev/davinci0", "").with_file("/dev/davinci1", "");
    assert_eq!(ids(&gather(&host, &config()).0), [0, 1]);
}

#[test]
fn sysfs_tells_the_numa_node_where_the_tool_refuses() {
    let (facts, unreadable) = gather(&machine(), &config());
    let near = NpuTopology { id: 0, numa_node: Some(4), cpu_affinity: Some("96-119".into()), hccs: vec![] };
    assert_eq!(facts.topology, [near]);
    assert_eq!(unreadable.iter().map(|u| u.fact.as_str()).collect::<Vec<_>>(), ["npu.topology"]);
}

#[test]
fn a_second_look_asks_only_for_the_table() {
    let (first, _) = gather(&machine(), &config());
    let short = FakeHost::default().with_output("/smi info", 0, INFO, "driver said something\n");
    let again = refresh(&short, &config(), &first);
    assert_eq!((ids(&again), &again.topology, &again.pci), (ids(&first), &first.topology, &first.pci));
    assert_eq!(again.warnings, ["driver said something"]);
    // Another card: everything is asked again.
    let other = INFO.replace("| 7 ", "| 6 ");
    let changed = refresh(&machine().with_output("/smi info", 0, &other, ""), &config(), &first);
    assert_eq!(ids(&changed), [0, 6]);
    let failed = refresh(&FakeHost::default().with_hang("/smi info"), &config(), &first);
    assert!(failed.error.unwrap().meaning.contains("could not look") && failed.devices.is_empty());
}

/// npu-smi's rows for processes on cards 5 and 7, with these names on card 5.
fn with_names(names: &[&str]) -> String {
    let rule = format!("+{}+\n", "=".repeat(93));
    let card = |npu: u32, bus: &str| {
        let first = format!("| {npu:<5} {:<20}| {:<13} | {:<47} |\n", "910B1", "OK", "97.0  49  0    / 0");
        let second = format!("| {:<26}| {bus:<13} | {:<47} |\n", 0, "0  0    / 0   59499/ 65536");
        format!("{first}{second}{rule}")
    };
    let row = |npu: u32, pid: u32, name: &str| {
        format!("| {npu:<7} {:<18}| {pid:<13} | {name:<24} | {:<20} |\n", 0, 5175)
    };
    let (place, pid, name, memory) = ("NPU     Chip", "Process id", "Process name", "Process memory(MB)");
    let header = format!("| {place:<26}| {pid:<13} | {name:<24} | {memory:<20} |\n");
    let mut text = format!("{rule}{}{}", card(5, "0000:41:00.0"), card(7, "0000:42:00.0")) + &header + &rule;
    for (index, name) in names.iter().enumerate() {
        text += &row(5, 100 + u32::try_from(index).unwrap(), name);
    }
    text + &rule + &row(7, 200, "python") + &rule
}

/// (card, pid) of each process.
fn holders(table: &Table) -> Vec<(u32, u32)> {
    let of = |card: &table::Card| card.device.processes.iter().map(|p| (card.device.npu, p.pid)).collect();
    table.cards.iter().flat_map(|card| -> Vec<_> { of(card) }).collect()
}

#[test]
fn the_name_of_a_process_makes_no_row() {
    let good = table::parse(&with_names(&["python", "a|b|1|2", "训练", "ünï"]));
    assert_eq!(good.warnings, [] as [&str; 0]);
    assert_eq!(holders(&good), [(5, 100), (5, 101), (5, 102), (5, 103), (7, 200)]);
    assert_eq!(good.cards[0].device.processes[2].name, "训练");
    // Fifteen bytes are what the kernel keeps of a name.
    for name in [
        "\n|7 0|1|x",
        "x|1|\n|7 0|1|x",
        "\n|7 0|1|x|1|\n",
        "\na\n|7 0|1|x|1",
        "\n\n|7 0|1|x|1|",
        "\n+\n|7 0|1|x|1",
        "x|1|\n+-=\n|7|1|",
        "\n|NPUprocess id",
        "\n|NPU health|\n",
        "\n|7 x|OK\n|0|0:",
        "\r\n|7 0|1|x|1|\r",
        "\n",
    ] {
        assert!(name.len() <= 15, "{name:?}");
        let table = table::parse(&with_names(&["first", name, "last"]));
        assert_eq!(holders(&table), [(5, 100), (5, 101), (5, 102), (7, 200)], "{name:?}");
        assert!(
            table.warnings[0].starts_with("could not look at all processes of NPU 5 chip 0: a name breaks"),
            "{name:?} {:?}",
            table.warnings
        );
        assert_eq!(table.cards.len(), 2);
        // Two of them, and the last of all.
        let table = table::parse(&with_names(&[name, name]));
        assert_eq!(holders(&table), [(5, 100), (7, 200)], "{name:?}");
    }
    // A name that is no text: one row alone is read as it stands.
    let table = table::parse(&with_names(&["caf\u{fffd}"]));
    assert_eq!((holders(&table), table.warnings.len()), (vec![(5, 100), (7, 200)], 0));
}

#[test]
fn two_cards_with_one_number_are_warned_about() {
    let map = MAP.replace("7 0 1", "7 0 0");
    let (facts, _) = gather(&machine().with_output("/smi info -m", 0, &map, ""), &config());
    assert_eq!(ids(&facts), [0, 0]);
    assert_eq!(facts.warnings, ["NPU 7 chip 0 and another card both have id 0"]);
}
