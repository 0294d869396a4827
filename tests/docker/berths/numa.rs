//! Memory near the cards: the calls that `numactl` makes are for whom the profile gives SYS_NICE.

use crate::machine::{both, run};
use crate::rig::{Rig, Setup};
use serde_json::Value;
use std::path::Path;

/// A line of the simulated node's profile, to put others beside.
const SHM: &str = "shm-size = \"64MiB\"";

/// Debian's numactl, with the libraries that it wants, in an image that has none.
fn bring_numactl(rig: &Rig, berth: &Value) {
    let container = berth["container_id"].as_str().unwrap();
    let program = run("sh", &["-c", "command -v numactl"]);
    let listed = run("ldd", &[&program]);
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    rig.exec(berth, "mkdir -p /opt/numa");
    for file in libraries.chain([program.as_str()]) {
        rig.docker(&["cp", "-L", file, &format!("{container}:/opt/numa/")]);
    }
}

fn numactl(rig: &Rig, berth: &Value, args: &str) -> std::process::Output {
    let loader = rig.exec(berth, "echo /opt/numa/ld-linux*").trim().to_owned();
    rig.ssh(berth, &format!("{loader} --library-path /opt/numa /opt/numa/numactl {args}"))
}

#[test]
fn numactl_binds_memory_where_the_profile_lets_it() {
    if !Path::new("/sys/devices/system/node/node0").exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI's kernel has no NUMA");
        eprintln!("SKIPPED: this kernel has no NUMA");
        return;
    }
    let Some(rig) = Rig::start() else { return };
    if !std::process::Command::new("numactl")
        .arg("--show")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "numactl is not installed in CI");
        eprintln!("SKIPPED: numactl is not installed; run scripts/test docker");
        return;
    }
    let without = rig.request(&["--cards", "1"]);
    bring_numactl(&rig, &without);
    let refused = numactl(&rig, &without, "-m 0 /bin/busybox nproc");
    assert!(
        !refused.status.success() && both(&refused).contains("Operation not permitted"),
        "{}",
        both(&refused)
    );
    drop(rig);

    let profile = vec![
        ("cards = 8", "cards = 2".to_owned()),
        ("groups = [[0, 1, 2, 3], [4, 5, 6, 7]]", "groups = [[0], [1]]".to_owned()),
        ("cpus-per-card = 0", "cpus-per-card = 1".to_owned()),
        (SHM, format!("cap-add = [\"SYS_NICE\"]\n{SHM}")),
    ];
    let Some(rig) = Rig::with(Setup { profile, ..Setup::default() }) else { return };
    let berth = rig.request(&["--cards", "1"]);
    bring_numactl(&rig, &berth);
    let bound = numactl(&rig, &berth, "-m 0 /bin/busybox grep -o 'bind:0' /proc/self/numa_maps");
    assert!(
        both(&bound).lines().count() > 1 && both(&bound).lines().all(|line| line == "bind:0"),
        "{}",
        both(&bound)
    );
    let counted = numactl(&rig, &berth, "-m 0 /bin/busybox nproc");
    assert_eq!(both(&counted), "1\n", "as many as it was promised");
}
