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

fn tools() -> Tools {
    Tools { npu_smi: "/smi".into(), ..Tools::default() }
}

fn ids(facts: &NpuFacts) -> Vec<u32> {
    facts.devices.iter().map(|device| device.id).collect()
}

#[test]
fn in_a_container_nodes_keep_the_hosts_numbers() {
    assert_eq!(ids(&gather(&machine(), &tools()).0), [0, 1]);
    let inside = machine().with_file("/dev/davinci5", "").with_file("/dev/davinci7", "");
    assert_eq!(ids(&gather(&inside, &tools()).0), [5, 7]);
    let host = inside.with_file("/dev/davinci0", "").with_file("/dev/davinci1", "");
    assert_eq!(ids(&gather(&host, &tools()).0), [0, 1]);
}

#[test]
fn sysfs_tells_the_numa_node_where_the_tool_refuses() {
    let (facts, unreadable) = gather(&machine(), &tools());
    let near = NpuTopology { id: 0, numa_node: Some(4), cpu_affinity: Some("96-119".into()), hccs: vec![] };
    assert_eq!(facts.topology, [near]);
    assert_eq!(unreadable.iter().map(|u| u.fact.as_str()).collect::<Vec<_>>(), ["npu.topology"]);
}

#[test]
fn a_second_look_asks_only_for_the_table() {
    let (first, _) = gather(&machine(), &tools());
    let short = FakeHost::default().with_output("/smi info", 0, INFO, "driver said something\n");
    let again = refresh(&short, &tools(), &first);
    assert_eq!((ids(&again), &again.topology, &again.pci), (ids(&first), &first.topology, &first.pci));
    assert_eq!(again.warnings, ["driver said something"]);
    // Another card: everything is asked again.
    let other = INFO.replace("| 7 ", "| 6 ");
    let changed = refresh(&machine().with_output("/smi info", 0, &other, ""), &tools(), &first);
    assert_eq!(ids(&changed), [0, 6]);
    let failed = refresh(&FakeHost::default().with_hang("/smi info"), &tools(), &first);
    assert!(failed.error.unwrap().meaning.contains("could not look") && failed.devices.is_empty());
}

#[test]
fn two_cards_with_one_number_are_warned_about() {
    let map = MAP.replace("7 0 1", "7 0 0");
    let (facts, _) = gather(&machine().with_output("/smi info -m", 0, &map, ""), &tools());
    assert_eq!(ids(&facts), [0, 0]);
    assert_eq!(facts.warnings, ["NPU 7 chip 0 and another card both have id 0"]);
}
