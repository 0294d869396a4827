//! `berth facts`: the parsers on tables of every known kind, and the binary on tools that answer, fail or hang.

use crate::npu::{facts, facts_with, fixture, node, run, script};
use berth::accel::ascend::npu_smi::{map, table, topo};
use berth::model::Health;
use berth::model::facts::{Facts, NpuDevice};
use std::time::{Duration, Instant};

fn devices(text: &str) -> Vec<NpuDevice> {
    table::parse(text).cards.into_iter().map(|card| card.device).collect()
}

#[test]
fn names_may_be_cut_empty_or_hold_a_pipe() {
    let text = fixture("classic-names.txt");
    let cards = devices(&text);
    assert!(table::parse(&text).warnings.is_empty());
    let names: Vec<_> = cards[0].processes.iter().map(|p| (p.pid, p.name.as_str(), p.memory_mib)).collect();
    assert_eq!(names, [(3001, "", 30000), (3002, "a|b / c", 400), (3003, "VLLM::EngineCor", 20000)]);
    assert!(cards[1].processes.is_empty());
    assert_eq!((cards[0].hbm_used_mib, cards[0].aicore_percent), (Some(61234), Some(97)));
}

#[test]
fn an_a3_die_is_a_card_by_its_physical_id() {
    let cards = devices(&fixture("a3.txt"));
    let ids: Vec<_> = cards.iter().map(|d| (d.id, d.npu, d.chip, d.health)).collect();
    let ok = Health::Ok;
    assert_eq!(ids, [(0, 0, 0, ok), (1, 0, 1, Health::Alarm), (8, 4, 0, ok), (9, 4, 1, ok)]);
    assert_eq!((cards[0].power_w, cards[1].power_w), (Some(160.2), None));
    assert_eq!(cards[3].processes[0].pid, 777);
}

#[test]
fn a_health_that_is_not_known_is_not_healthy() {
    let table = table::parse(&fixture("odd-health.txt"));
    let health: Vec<_> = table.cards.iter().map(|card| card.device.health).collect();
    assert_eq!(health, [Health::Unknown, Health::Unknown, Health::Critical]);
    assert_eq!(table.warnings.len(), 2, "{:?}", table.warnings);
    assert!(table.warnings[0].contains("`Degraded`"), "{:?}", table.warnings);
    assert!(table.warnings[1].starts_with("[WARNING]"), "{:?}", table.warnings);
    assert_eq!((table.cards[1].device.power_w, table.cards[2].device.temperature_c), (None, Some(-5)));
}

#[test]
fn half_a_card_is_a_warning_and_not_a_card() {
    let table = table::parse(&fixture("half-rows.txt"));
    let ids: Vec<_> = table.cards.iter().map(|card| card.device.id).collect();
    assert_eq!(ids, [0]);
    for (index, part) in
        ["without its second row: | 1 ", "0000:81:00.0", "listed twice", "ghost"].iter().enumerate()
    {
        assert!(table.warnings[index].contains(part), "{part}: {:?}", table.warnings);
    }
}

#[test]
fn the_wide_table_names_the_pid_in_the_container() {
    let table = table::parse(&fixture("wide-26.txt"));
    assert_eq!(table.warnings, ["Mon Jan  5 10:00:00 2026"]);
    let process = |card: usize| table.cards[card].device.processes[0].clone();
    assert_eq!((process(0).pid, process(0).container_pid), (5150, Some(42)));
    assert_eq!((process(1).name.as_str(), process(1).container_pid), ("x|1", None));
    // The same rows without their header.
    let text = fixture("wide-26.txt");
    let headless: Vec<&str> = text.lines().filter(|line| !line.contains("Process id")).collect();
    let cards = devices(&headless.join("\n"));
    assert_eq!(cards[0].processes[0].container_pid, Some(42));
}

#[test]
fn the_950_has_its_number_in_a_column_of_its_own() {
    let table = table::parse(&fixture("950.txt"));
    assert!(table.warnings.is_empty(), "{:?}", table.warnings);
    let cards: Vec<_> = table.cards.iter().map(|card| &card.device).collect();
    assert_eq!((cards[0].id, cards[0].name.as_str(), cards[0].aicore_percent), (0, "Ascend950PR", Some(60)));
    assert_eq!((cards[1].id, cards[1].bus_id.as_deref(), cards[1].hbm_used_mib), (3, None, Some(6103)));
    assert_eq!(cards[1].processes[0].name, "trainer");
}

#[test]
fn a_310p_is_a_card_by_its_device_column() {
    let cards = devices(&fixture("310p-duo.txt"));
    let ids: Vec<_> = cards.iter().map(|d| (d.id, d.npu, d.chip, d.name.as_str())).collect();
    assert_eq!(ids, [(0, 2144, 0, "310P3"), (1, 2144, 1, "310P3"), (2, 32768, 0, "310")]);
    assert_eq!((cards[1].hbm_total_mib, cards[1].ddr_used_mib), (None, Some(1501)));
}

#[test]
fn tables_before_hugepages_are_read() {
    let table = table::parse(&fixture("310-20.txt"));
    assert!(table.warnings.is_empty(), "{:?}", table.warnings);
    let seen: Vec<_> =
        table.cards.iter().map(|c| (c.device.id, c.device.npu, c.device.temperature_c)).collect();
    assert_eq!(seen, [(0, 2048, Some(45)), (1, 2048, Some(46))]);
    assert_eq!(
        (table.cards[0].device.hugepages_total, table.cards[0].device.ddr_total_mib),
        (None, Some(8192))
    );
}

#[test]
fn a_table_without_its_rules_is_read() {
    for name in ["classic-names.txt", "wide-26.txt", "950.txt", "310-20.txt"] {
        let text = fixture(name);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        let bare = table::parse(&rows.join("\n"));
        assert!(bare.warnings.is_empty(), "{name}: {:?}", bare.warnings);
        assert_eq!(bare.cards, table::parse(&text).cards, "{name}");
    }
}

#[test]
fn topologies_with_gaps_and_maps_with_more_columns_are_read() {
    let rows = topo::parse(&fixture("topo-mixed.txt"));
    let seen: Vec<_> = rows.iter().map(|r| (r.npu, r.hccs.clone(), r.cpu_affinity.as_deref())).collect();
    let expected = [(0, vec![1], Some("0-23,48-71")), (1, vec![0, 4, 5], Some("0-23")), (4, vec![1], None)];
    assert_eq!(seen, expected);
    let rows = topo::parse(&fixture("topo-a3.txt"));
    let seen: Vec<_> = rows.iter().map(|r| (r.npu, r.hccs.clone())).collect();
    assert_eq!(seen, [(8, vec![9, 0]), (9, vec![8]), (0, vec![8])]);
    let map = map::parse(&fixture("map-slots.txt"));
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [((7, 0), 5), ((9, 0), 6)]);
}

#[test]
fn no_byte_of_a_table_can_break_the_parsers() {
    let names: Vec<_> =
        std::fs::read_dir(crate::npu::fixtures()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(names.len() > 8);
    for path in names {
        let bytes = std::fs::read(&path).unwrap();
        let whole = devices(&String::from_utf8_lossy(&bytes));
        for at in 0..bytes.len() {
            let cut = table::parse(&String::from_utf8_lossy(&bytes[..at]));
            // A cut table never makes a card better, nor one that the whole table does not have.
            for card in cut.cards {
                let device = card.device;
                let same = whole.iter().find(|d| (d.npu, d.chip) == (device.npu, device.chip)).unwrap();
                assert_eq!(
                    (same.health, same.id),
                    (device.health, device.id),
                    "{} cut at {at}",
                    path.display()
                );
            }
            // One kind of damage a place, each kind at every few places.
            let flips = [b'|', 0, 0xff, b'\n', bytes[at] ^ 1, bytes[at] ^ 0x10, b'/'];
            let mut changed = bytes.clone();
            changed[at] = flips[at % flips.len()];
            let text = String::from_utf8_lossy(&changed);
            table::parse(&text);
            topo::parse(&text);
            map::parse(&text);
        }
    }
}

#[test]
fn a_table_and_its_queries_become_facts() {
    let node = node();
    let map =
        fixture("map-slots.txt").replace("7         0         0         0               5", "0 0 0 0 5");
    script(
        &node,
        &format!(
            "case \"$*\" in info) cat <<'E'\n{}E\n;; 'info -m') cat <<'E'\n{map}E\n;; *) echo 'Usage: npu-smi'; exit 255;; esac",
            fixture("classic-names.txt")
        ),
    );
    let facts = facts(&node);
    assert_eq!(facts.npu.error, None);
    assert_eq!(facts.npu.tool_version.as_deref(), Some("24.1.0"));
    // The map moves NPU 0 to davinci5 and does not know NPU 1.
    let ids: Vec<_> = facts.npu.devices.iter().map(|d| (d.id, d.npu)).collect();
    assert_eq!(ids, [(1, 1), (5, 0)]);
    let reason = unreadable(&facts, "npu.topology").unwrap();
    assert!(reason.contains("status 255: Usage: npu-smi"), "{reason}");
    assert!(facts.os.is_some() && facts.memory.is_some() && facts.cpu.is_some());
}

fn unreadable<'a>(facts: &'a Facts, fact: &str) -> Option<&'a str> {
    facts.unreadable.iter().find(|entry| entry.fact == fact).map(|entry| entry.reason.as_str())
}

#[test]
fn a_tool_that_prints_the_same_whatever_it_is_asked_is_read() {
    let node = node();
    script(&node, &format!("cat <<'E'\n{}E\nexit 3", fixture("a3.txt")));
    let facts = facts(&node);
    assert_eq!(facts.npu.error, None);
    assert_eq!(facts.npu.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [0, 1, 8, 9]);
    assert_eq!(facts.npu.warnings, ["npu-smi info ended with status 3; its table was read"]);
}

#[test]
fn a_tool_without_a_table_is_an_error_and_never_no_cards() {
    let loader =
        "npu-smi: error while loading shared libraries: libx_host.so: cannot open shared object file";
    for (body, code, part) in [
        ("echo 'dcmi module initialize failed. ret is -8005' >&2; exit 187", Some(-8005), "does not answer"),
        ("echo 'the device is used. ret is -8020'; exit 172", Some(-8020), "another container"),
        ("echo 'ret is -8017'; exit 1", Some(-8017), "upgraded"),
        ("echo 'ret is -8099'; exit 1", Some(-8099), "does not know"),
        (&format!("echo '{loader}' >&2; exit 127"), None, "its library libx_host.so"),
        ("exit 0", None, "printed nothing (status 0)"),
        ("exit 187", Some(-8005), "as with DCMI error -8005"),
        ("exit 172", Some(-8020), "as with DCMI error -8020"),
        ("echo 'in other words'; exit 172", Some(-8020), "as with DCMI error -8020"),
        ("echo '| npu-smi 1 Version: 1 |'", None, "printed no table"),
        ("echo 'open: Permission denied' >&2; exit 1", None, "Permission denied"),
        ("echo 'There is no NPU card on this server.'", None, "no NPU card"),
    ] {
        let node = node();
        script(&node, body);
        let facts = facts(&node);
        let error = facts.npu.error.as_ref().unwrap();
        assert_eq!(error.code, code, "{body}: {error:?}");
        assert!(error.meaning.contains(part), "{body}: {error:?}");
        assert!(!error.remedy.is_empty() && facts.npu.devices.is_empty(), "{body}");
    }
}

#[test]
fn a_tool_that_is_missing_or_may_not_run_could_not_look() {
    use std::os::unix::fs::PermissionsExt;
    let node = node();
    let missing = facts(&node).npu.error.unwrap();
    assert!(missing.meaning.starts_with("could not look at the cards: "), "{missing:?}");
    assert!(missing.meaning.contains("npu-smi is not on this machine"), "{missing:?}");
    script(&node, "exit 0");
    std::fs::set_permissions(node.path().join("npu-smi"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = facts(&node).npu.error.unwrap();
    assert!(refused.meaning.starts_with("could not look at the cards: "), "{refused:?}");
    assert!(refused.meaning.contains("Permission denied"), "{refused:?}");
}

#[test]
fn a_tool_that_hangs_is_killed_and_could_not_look() {
    let node = node();
    script(&node, "echo $$ > \"$0.pid\"; exec sleep 600");
    let started = Instant::now();
    let error = facts_with(&node.path().join("hang.toml")).npu.error.unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(error.code, None);
    assert!(error.meaning.contains("could not look at the cards"), "{error:?}");
    assert!(error.meaning.contains("did not end within 300ms"), "{error:?}");
    let pid = std::fs::read_to_string(node.path().join("npu-smi.pid")).unwrap();
    let dead = || {
        // A process that was killed and not yet reaped has no command line.
        std::fs::read(format!("/proc/{}/cmdline", pid.trim())).map_or(true, |line| line.is_empty())
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !dead() {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn people_get_tables_without_escape_codes_in_a_pipe() {
    let node = node();
    script(&node, &format!("cat <<'E'\n{}E", fixture("a3.txt").replace("python", "py\u{1b}[1m")));
    let output = run(&node, &["facts"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("CARD") && text.contains("alarm") && text.contains("777"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
}
