//! `berth facts` on captured output, where there is any: what the parsers read is what a person reads.

use crate::npu::{captures, facts, node, script};
use berth::accel::ascend::npu_smi::{map, table, topo};
use berth::model::Health;
use berth::model::facts::NpuDevice;

/// What a person reads in each capture.
struct Truth {
    file: &'static str,
    /// (id, npu, chip)
    ids: &'static [(u32, u32, u32)],
    name: &'static str,
    health: Health,
    /// Used and total HBM, else DDR.
    memory: &'static [(u64, u64)],
    bus: &'static [Option<&'static str>],
    power: &'static [Option<f64>],
    temperature: &'static [i64],
    hugepages: (u64, u64),
    /// (npu, chip, pid, name, MB)
    processes: &'static [(u32, u32, u32, &'static str, u64)],
    versions: (Option<&'static str>, Option<&'static str>),
}

const EIGHT: &[(u32, u32, u32)] =
    &[(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 5, 0), (6, 6, 0), (7, 7, 0)];

const BLANK: Truth = Truth {
    file: "",
    ids: &[],
    name: "",
    health: Health::Ok,
    memory: &[],
    bus: &[],
    power: &[],
    temperature: &[],
    hugepages: (0, 0),
    processes: &[],
    versions: (None, None),
};

const TRUTHS: &[Truth] = &[
    Truth {
        file: "01-910b2c-2cards-23.0.2.1-proc.txt",
        ids: &[(0, 0, 0), (1, 1, 0)],
        name: "910B2C",
        memory: &[(20701, 65536), (20687, 65536)],
        bus: &[Some("0000:5A:00.0"), Some("0000:19:00.0")],
        power: &[Some(88.6), Some(99.6)],
        temperature: &[51, 50],
        processes: &[(0, 0, 124_528, "python3.8", 17400)],
        versions: (Some("23.0.2.1"), Some("23.0.2.1")),
        ..BLANK
    },
    Truth {
        file: "02-310b4-alarm-no-hbm-23.0.0.txt",
        ids: &[(0, 0, 0)],
        name: "310B4",
        health: Health::Alarm,
        memory: &[(3628, 15609)],
        bus: &[None],
        power: &[Some(0.0)],
        temperature: &[65],
        hugepages: (15, 15),
        versions: (Some("23.0.0"), Some("23.0.0")),
        ..BLANK
    },
    Truth {
        file: "03-910c-dualdie-25.2.0-proc.txt",
        ids: &[(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)],
        name: "Ascend910",
        memory: &[(3133, 65536), (2876, 65536), (3116, 65536), (10568, 65536)],
        power: &[Some(162.8), None, Some(167.1), None],
        temperature: &[37, 37, 38, 38],
        processes: &[(1, 1, 990_711, "python", 7746)],
        versions: (Some("25.2.0"), Some("25.2.0")),
        ..BLANK
    },
    Truth {
        file: "06-310p3-22.0.0-narrow.txt",
        ids: &[(0, 0, 0)],
        name: "310P3",
        memory: &[(4060, 21534)],
        bus: &[Some("0000:86:00.0")],
        power: &[Some(16.3)],
        temperature: &[53],
        hugepages: (1236, 1236),
        versions: (Some("22.0.0"), Some("22.0.2")),
        ..BLANK
    },
    Truth {
        file: "08-910a-8cards-23.0.rc3-8procs.txt",
        ids: EIGHT,
        name: "xxx",
        memory: &[
            (30710, 32768),
            (30710, 32768),
            (30710, 32768),
            (30709, 32768),
            (30709, 32768),
            (30709, 32768),
            (30710, 32768),
            (30710, 32768),
        ],
        hugepages: (1123, 1123),
        processes: &[
            (0, 0, 139_667, "python", 30780),
            (1, 0, 139_577, "python", 30782),
            (2, 0, 139_446, "python", 30780),
            (3, 0, 139_372, "python", 30780),
            (4, 0, 139_258, "python", 30780),
            (5, 0, 139_163, "python", 30780),
            (6, 0, 139_126, "python", 30780),
            (7, 0, 139_090, "python", 30780),
        ],
        versions: (Some("23.0.rc3"), Some("23.0.rc2.3")),
        ..BLANK
    },
    Truth {
        file: "10-910b3-8cards-24.1.0.3.txt",
        ids: EIGHT,
        name: "910B3",
        memory: &[
            (3382, 65536),
            (3594, 65536),
            (3594, 65536),
            (3595, 65536),
            (3597, 65536),
            (3594, 65536),
            (3593, 65536),
            (3594, 65536),
        ],
        bus: &[Some("0000:C1:00.0"), Some("0000:C2:00.0"), Some("0000:81:00.0"), Some("0000:82:00.0")],
        versions: (Some("24.1.0.3"), Some("24.1.0.3")),
        ..BLANK
    },
    Truth {
        file: "12-910b1-container-ids5-7-proc.txt",
        ids: &[(5, 5, 0), (7, 7, 0)],
        name: "910B1",
        memory: &[(59499, 65536), (3422, 65536)],
        bus: &[Some("0000:41:00.0"), Some("0000:42:00.0")],
        processes: &[(5, 0, 2_865_645, "VLLMEngineCor", 56131)],
        ..BLANK
    },
    Truth {
        file: "16-910b4-container-id5-25.5.2.txt",
        ids: &[(5, 5, 0)],
        name: "910B4",
        memory: &[(2922, 32768)],
        bus: &[Some("0000:41:00.0")],
        versions: (Some("25.5.2"), Some("25.5.2")),
        ..BLANK
    },
    Truth {
        file: "20-910b3-8cards-26.1.0-wide-containerpid.txt",
        ids: EIGHT,
        name: "910B3",
        memory: &[
            (8676, 65536),
            (3403, 65536),
            (3403, 65536),
            (3407, 65536),
            (3403, 65536),
            (3402, 65536),
            (3402, 65536),
            (3403, 65536),
        ],
        processes: &[(0, 0, 485_946, "pytest", 5175)],
        versions: (Some("26.1.0"), Some("26.1.0")),
        ..BLANK
    },
    Truth {
        file: "23-310p3-duo-npu2-25.2.0.txt",
        ids: &[(0, 2, 0), (1, 2, 1)],
        name: "310P3",
        memory: &[(1529, 44280), (1412, 43693)],
        bus: &[Some("0000:01:00.0"), Some("0000:01:00.0")],
        power: &[None, None],
        temperature: &[45, 43],
        versions: (Some("25.2.0"), Some("25.2.0")),
        ..BLANK
    },
];

#[test]
fn every_capture_reads_as_a_person_reads_it() {
    let Some(dir) = captures("every_capture_reads_as_a_person_reads_it") else { return };
    for truth in TRUTHS {
        let text = std::fs::read_to_string(dir.join(truth.file)).unwrap();
        for text in [text.clone(), text.replace('\n', "\r\n"), format!("$ npu-smi info\n{text}\nafter\n")] {
            check(truth, &text);
        }
    }
}

fn check(truth: &Truth, text: &str) {
    let file = truth.file;
    let table = table::parse(text);
    let wrong: Vec<_> =
        table.warnings.iter().filter(|line| !["$ npu-smi info", "after"].contains(&line.as_str())).collect();
    assert!(wrong.is_empty(), "{file}: {wrong:?}");
    assert_eq!((table.tool_version.as_deref(), table.driver_version.as_deref()), truth.versions, "{file}");
    let devices: Vec<NpuDevice> = table.cards.into_iter().map(|card| card.device).collect();
    let ids: Vec<_> = devices.iter().map(|d| (d.id, d.npu, d.chip)).collect();
    assert_eq!(ids, truth.ids, "{file}");
    for (index, device) in devices.iter().enumerate() {
        assert_eq!((device.name.as_str(), device.health), (truth.name, truth.health), "{file}");
        assert_eq!(
            (device.hugepages_used, device.hugepages_total),
            (Some(truth.hugepages.0), Some(truth.hugepages.1)),
            "{file}"
        );
        let no_hbm = truth.name.starts_with("310");
        assert_eq!(device.hbm_total_mib.is_none(), no_hbm, "{file}");
        let memory = if no_hbm {
            (device.ddr_used_mib, device.ddr_total_mib)
        } else {
            (device.hbm_used_mib, device.hbm_total_mib)
        };
        assert_eq!(memory, (Some(truth.memory[index].0), Some(truth.memory[index].1)), "{file}");
        if let Some(bus) = truth.bus.get(index) {
            assert_eq!(device.bus_id.as_deref(), *bus, "{file}");
        }
        if let Some(power) = truth.power.get(index) {
            assert_eq!(device.power_w, *power, "{file}");
        }
        if let Some(temperature) = truth.temperature.get(index) {
            assert_eq!(device.temperature_c, Some(*temperature), "{file}");
        }
    }
    let processes: Vec<_> = devices
        .iter()
        .flat_map(|d| d.processes.iter().map(|p| (d.npu, d.chip, p.pid, p.name.as_str(), p.memory_mib)))
        .collect();
    assert_eq!(processes, truth.processes, "{file}");
    assert!(devices.iter().flat_map(|d| &d.processes).all(|p| p.container_pid.is_none()), "{file}");
}

#[test]
fn captured_maps_and_topologies_are_read() {
    let Some(dir) = captures("captured_maps_and_topologies_are_read") else { return };
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    for file in ["68-map-m-910b4.txt", "65-mixed-910a-before.txt"] {
        let expected: map::IdMap = (0..8).map(|id| ((id, 0), id)).collect();
        assert_eq!(map::parse(&read(file)), expected, "{file}");
    }
    let rows = topo::parse(&read("60-topo-8x910b1.txt"));
    let affinity: Vec<_> = rows.iter().map(|row| row.cpu_affinity.as_deref().unwrap()).collect();
    assert_eq!(affinity, ["144-167", "0-23", "144-167", "0-23", "96-119", "48-71", "96-119", "48-71"]);
    assert!(rows.iter().all(|row| row.hccs.len() == 7 && !row.hccs.contains(&row.npu)));
    for file in ["61-usages-910b1.txt", "46-err-invalid-card.txt", "10-910b3-8cards-24.1.0.3.txt"] {
        assert_eq!(topo::parse(&read(file)), [], "{file}");
        assert!(map::parse(&read(file)).is_empty(), "{file}");
    }
}

#[test]
fn captured_errors_have_their_meaning() {
    let Some(dir) = captures("captured_errors_have_their_meaning") else { return };
    for (file, status, code, part) in [
        ("40-err-8005-container.txt", 187, Some(-8005), "the driver does not answer"),
        ("42-err-8020-device-used.txt", 172, Some(-8020), "in use by another container"),
        ("44-err-lib-missing.txt", 127, None, "libdrvdsmi_host.so"),
        ("46-err-invalid-card.txt", 255, None, "Invalid card id."),
    ] {
        let node = node();
        script(&node, &format!("cat '{}'; exit {status}", dir.join(file).display()));
        let error = facts(&node).npu.error.unwrap();
        assert_eq!(error.code, code, "{file}");
        assert!(error.meaning.contains(part), "{file}: {error:?}");
    }
}
