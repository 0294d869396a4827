//! The simulated node: its npu-smi is read back by the same parsers that read a real one.
//! It makes device nodes, so it needs root.

use crate::npu::{facts_with, run_with};
use berth::accel::ascend::npu_smi::{map, table};
use berth::accel::simulated::{self, SimNode};
use berth::host::RealHost;
use berth::host::nodes::{device_node, make_char_node};
use berth::model::Health;
use berth::profile::{Config, Profile, load_config, load_profile};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

struct Sim {
    _dir: TempDir,
    config_path: PathBuf,
    config: Config,
    profile: Profile,
    node: SimNode,
}

/// Nothing when this user may not make device nodes.
fn simulated(test: &str) -> Option<Sim> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED {test}: mknod needs root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let config_path = dir.path().join("berth.toml");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let toml = format!(
        "profile = \"sim\"\n[paths]\nstate = \"state\"\nprofiles = \"{}\"\n[tools]\nnpu-smi-timeout = \"20s\"\n\
         [ssh]\nserver = \"{}\"\n",
        shipped.display(),
        env!("CARGO_BIN_EXE_berth")
    );
    std::fs::write(&config_path, toml).unwrap();
    let host = RealHost::default();
    let config = load_config(&host, Some(&config_path)).unwrap();
    let profile = load_profile(&host, &config).unwrap();
    let node = simulated::prepare(&host, &config, &profile).unwrap();
    Some(Sim { _dir: dir, config_path, config, profile, node })
}

impl Sim {
    fn berth(&self, args: &[&str]) -> Output {
        run_with(&self.config_path, args)
    }
    fn fault(&self, args: &[&str]) {
        let output = self.berth(&[&["sim", "fault"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fn npu_smi(&self, args: &[&str]) -> (String, Option<i32>) {
        let output = Command::new(&self.node.places.npu_smi).args(args).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }
}

#[test]
fn a_simulated_node_is_seen_as_a_real_one() {
    let Some(sim) = simulated("a_simulated_node_is_seen_as_a_real_one") else { return };
    let facts = facts_with(&sim.config_path);
    let npu = &facts.npu;
    assert_eq!((npu.error.as_ref(), npu.warnings.len()), (None, 0), "{:?}", npu.warnings);
    assert_eq!(facts.unreadable.iter().filter(|entry| entry.fact.starts_with("npu.")).count(), 0);
    assert_eq!(npu.tool_version.as_deref(), Some("25.5.1"));
    assert_eq!(
        npu.devices.iter().map(|d| (d.id, d.npu)).collect::<Vec<_>>(),
        (0..8).map(|n| (n, n)).collect::<Vec<_>>()
    );
    for device in &npu.devices {
        assert_eq!((device.name.as_str(), device.health), ("910B3", Health::Ok));
        assert_eq!(device.hbm_total_mib, Some(65536));
        assert!((3300..3700).contains(&device.hbm_used_mib.unwrap()), "{device:?}");
        assert!(device.processes.is_empty());
    }
    assert_eq!(npu.topology.len(), 8);
    assert!(npu.topology.iter().all(|t| t.hccs.len() == 7 && t.cpu_affinity.is_some()), "{:?}", npu.topology);
    assert_eq!(facts_with(&sim.config_path).npu, facts.npu);
}

#[test]
fn nodes_and_mounts_are_those_of_the_profile() {
    let Some(mut sim) = simulated("nodes_and_mounts_are_those_of_the_profile") else { return };
    let minor = |name: &str| {
        let node = device_node(&sim.node.places.dev.join(name)).unwrap().unwrap();
        assert_eq!((node.major, node.gid, node.mode), (236, 1000, 0o660), "{name}");
        node.minor
    };
    assert_eq!((minor("davinci0"), minor("davinci7")), (0, 7));
    assert_eq!((minor("davinci_manager"), minor("hisi_hdc"), minor("dvpp_cmdlist")), (100, 102, 103));
    sim.node.places.apply(&mut sim.config, &mut sim.profile);
    sim.node.places.apply(&mut sim.config, &mut sim.profile);
    let targets: Vec<_> = sim.profile.mounts.iter().map(|mount| mount.target().to_str().unwrap()).collect();
    assert_eq!(targets, ["/usr/local/bin/npu-smi", "/usr/local/Ascend/driver"]);
    assert!(sim.profile.mounts.iter().all(|mount| mount.source.exists() && !mount.source.is_symlink()));
    let version = std::fs::read_to_string(sim.profile.mounts[1].source.join("version.info")).unwrap();
    assert!(version.starts_with("Version=25.5.1\n"), "{version}");
}

#[test]
fn faults_are_switched_while_it_runs_and_outlive_a_restart() {
    let Some(sim) = simulated("faults_are_switched_while_it_runs_and_outlive_a_restart") else { return };
    sim.fault(&["--health", "3=alarm", "--missing", "7"]);
    sim.fault(&["--holder", "5:4242:a long name of a process"]);
    simulated::prepare(&RealHost::default(), &sim.config, &sim.profile).unwrap();
    let npu = facts_with(&sim.config_path).npu;
    assert_eq!(npu.devices.iter().map(|d| d.id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(npu.devices[3].health, Health::Alarm);
    let process = &npu.devices[5].processes[0];
    assert_eq!((process.pid, process.name.as_str(), process.memory_mib), (4242, "a long name of", 16384));
    assert!(npu.devices[5].hbm_used_mib.unwrap() > 16384);
    let shown = String::from_utf8(sim.berth(&["sim", "show"]).stdout).unwrap();
    assert!(shown.contains("card 3: health alarm\n") && shown.contains("card 7: not listed\n"), "{shown}");
    sim.fault(&["--health", "3=ok"]);
    assert_eq!(facts_with(&sim.config_path).npu.devices[3].health, Health::Ok);
    assert_eq!(sim.berth(&["sim", "clear"]).stdout, b"no faults\n");
    assert_eq!(facts_with(&sim.config_path).npu.devices.len(), 8);
}

#[test]
fn drivers_that_fail_are_told_apart() {
    let Some(sim) = simulated("drivers_that_fail_are_told_apart") else { return };
    for (flag, code, status) in [("--no-driver", -8005, 187), ("--device-used", -8020, 172)] {
        sim.fault(&[flag]);
        assert_eq!(sim.npu_smi(&["info"]).1, Some(status));
        let npu = facts_with(&sim.config_path).npu;
        assert_eq!(npu.error.unwrap().code, Some(code));
        assert!(npu.devices.is_empty());
        sim.berth(&["sim", "clear"]);
    }
    sim.fault(&["--no-queries"]);
    let facts = facts_with(&sim.config_path);
    assert_eq!((facts.npu.error, facts.npu.devices.len()), (None, 8));
    let refused: Vec<_> = facts.unreadable.iter().map(|entry| entry.fact.as_str()).collect();
    assert!(refused.contains(&"npu.ids") && refused.contains(&"npu.topology"), "{refused:?}");
    sim.berth(&["sim", "clear"]);
    sim.fault(&["--hang"]);
    let config = std::fs::read_to_string(&sim.config_path).unwrap().replace("20s", "300ms");
    std::fs::write(&sim.config_path, config).unwrap();
    let error = facts_with(&sim.config_path).npu.error.unwrap();
    assert!(error.meaning.contains("did not end within 300ms"), "{error:?}");
}

#[test]
fn the_other_queries_answer() {
    let Some(sim) = simulated("the_other_queries_answer") else { return };
    sim.fault(&["--holder", "5:4242:python", "--health", "2=critical", "--missing", "7"]);
    for (args, part) in [
        (&["info", "-l"][..], "\tTotal Count                    : 7\n"),
        (&["info", "-m"], "Ascend 910B3"),
        (&["info", "-t", "topo"], "CPU Affinity"),
        (&["info", "-t", "board", "-i", "1"], "\tSoftware Version               : 25.5.1\n"),
        (&["info", "-t", "health", "-i", "2"], "\tHealth Status                  : Critical\n"),
        (&["info", "-i", "5", "-t", "usages"], "\tHBM Capacity(MB)               : 65536\n"),
        (&["info", "-t", "proc-mem", "-i", "5"], "\tProcess id:4242    Process name:python"),
        (&["info", "-t", "proc-mem", "-i", "4"], "\tNo process in device.\n"),
    ] {
        let (text, status) = sim.npu_smi(args);
        assert!(text.contains(part) && status == Some(0), "{args:?}: {text}");
    }
    for args in
        [&["info", "-t", "board", "-i", "7"][..], &["info", "-t", "x"], &[], &["set"], &["info", "-t"]]
    {
        let (text, status) = sim.npu_smi(args);
        assert!(text.contains("Usage: npu-smi info") && status == Some(255), "{args:?}: {text}");
    }
}

#[test]
fn lines_have_the_width_of_the_real_tool() {
    let Some(sim) = simulated("lines_have_the_width_of_the_real_tool") else { return };
    sim.fault(&["--holder", "5:4194304:VLLM::EngineCore"]);
    let (text, _) = sim.npu_smi(&["info"]);
    for line in text.lines() {
        assert_eq!(line.len(), 98, "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let Some(sim) = simulated("a_reader_that_goes_away_is_no_panic") else { return };
    sim.fault(&["--delay", "100ms"]);
    let mut child = Command::new(&sim.node.places.npu_smi)
        .arg("info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

/// A root directory with what a berth is given, as a container has it.
#[test]
fn a_container_lists_only_its_own_cards_by_their_host_ids() {
    let Some(sim) = simulated("a_container_lists_only_its_own_cards_by_their_host_ids") else { return };
    let root = tempfile::tempdir().unwrap();
    let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
    for mount in &sim.node.places.mounts {
        let target = inside(mount.target().to_str().unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-r").arg(&mount.source).arg(&target).status().unwrap();
        assert!(copied.success());
    }
    std::fs::create_dir(inside("/dev")).unwrap();
    for (id, major) in [(3, 236), (5, 236), (6, 1)] {
        make_char_node(&inside(&format!("/dev/davinci{id}")), major, id, 0o660, 1000).unwrap();
    }
    let npu_smi = |args: &[&str]| {
        // A bare name, found by PATH, as a user types it.
        let mut command = Command::new("chroot");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin").arg(root.path()).arg("npu-smi");
        let output = command.args(args).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    sim.fault(&["--holder", "5:4242:python", "--holder", "1:77:other"]);
    let cards: Vec<u32> =
        table::parse(&npu_smi(&["info"]).0).cards.iter().map(|card| card.device.npu).collect();
    assert_eq!(cards, [3, 5]);
    let map = map::parse(&npu_smi(&["info", "-m"]).0);
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [((3, 0), 0), ((5, 0), 1)]);
    assert_eq!(npu_smi(&["info", "-t", "board", "-i", "1"]).1, Some(255));
    std::fs::remove_dir_all(inside("/dev")).unwrap();
    let (text, status) = npu_smi(&["info"]);
    assert!(text.contains("ret is -8005") && status == Some(187), "{text}");
}

#[test]
fn without_its_state_the_tool_has_no_driver() {
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("npu-smi");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_berth"), &tool).unwrap();
    let output = Command::new(&tool).arg("info").output().unwrap();
    assert_eq!(output.status.code(), Some(187));
    assert!(String::from_utf8(output.stdout).unwrap().contains("ret is -8005"));
}

#[test]
fn faults_need_a_simulated_node_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let config = dir.path().join("berth.toml");
    for (profile, part) in [("snt9b", "is that of a real node"), ("sim", "there is no simulated node in")] {
        let text = format!(
            "profile = \"{profile}\"\n[paths]\nstate = \"s\"\nprofiles = \"{}\"\n",
            shipped.display()
        );
        std::fs::write(&config, text).unwrap();
        let output = run_with(&config, &["sim", "fault", "--hang"]);
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(part) && said.contains("help: "), "{said}");
    }
    for args in [&["--health", "3"][..], &["--health", "x=ok"], &["--holder", "5:x:y"], &["--delay", "soon"]]
    {
        let output = run_with(&config, &[&["sim", "fault"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_state_that_is_not_understood_is_not_an_absent_one() {
    let Some(sim) = simulated("a_state_that_is_not_understood_is_not_an_absent_one") else { return };
    for (text, part) in [("{\"schema\": 9}", "has schema 9"), ("{", "is not understood")] {
        std::fs::write(&sim.node.state, text).unwrap();
        let output = sim.berth(&["sim", "show"]);
        assert_eq!(output.status.code(), Some(5));
        assert!(String::from_utf8(output.stderr).unwrap().contains(part));
        assert!(simulated::prepare(&RealHost::default(), &sim.config, &sim.profile).is_err());
        assert_eq!(std::fs::read_to_string(&sim.node.state).unwrap(), text);
    }
    assert_eq!(sim.berth(&["sim", "fault", "--missing", "99"]).status.code(), Some(5));
}

#[test]
fn help_fits_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    for words in [&["facts"][..], &["sim"], &["sim", "fault"], &["sim", "show"]] {
        let output = run_with(&dir.path().join("none"), &[words, &["--help"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
        assert!(words.contains(&"show") || text.contains("Example:\n"), "{text}");
    }
}
