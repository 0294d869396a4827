//! Every kind of difference between what was asked for and what a container got.

use super::*;
use crate::engine::container::tests::spec;
use crate::host::readback::{ContainerNode, MountSeen};

fn numbers() -> DeviceNumbers {
    DeviceNumbers::from([("/dev/davinci3".into(), (236, 3))])
}

fn node(path: &str, number: (u32, u32)) -> ContainerNode {
    ContainerNode { path: path.into(), block: false, number }
}

/// What a container of the spec has when all is well.
fn seen() -> Observed {
    let spec = spec();
    let mut rules: Vec<String> = DEFAULT_RULES.map(str::to_owned).to_vec();
    rules.push("c 236:3 rw".into());
    Observed {
        engine: EngineView {
            image_id: spec.image_id,
            runtime: "runc".into(),
            devices: vec![("/dev/davinci3".into(), "/dev/davinci3".into(), "rw".into())],
            published: vec![spec.listen],
            binds: vec!["/home/ma-user/work".into()],
            network: "bridge".into(),
            nano_cpus: 1_500_000_000,
            capabilities_dropped: vec!["MKNOD".into(), "NET_RAW".into()],
            ..EngineView::default()
        },
        kernel: KernelView {
            device_rules: Some(rules),
            nodes: vec![node("/dev/null", (1, 3)), node("/dev/davinci3", (236, 3))],
            mounts: vec![MountSeen {
                target: "/home/ma-user/work".into(),
                read_only: Some(false),
                same_source: true,
            }],
            memory: Some((1 << 30) - 4096),
            pids: Some(512),
            nofile: Some(4096),
            cpuset: Some("0,1".into()),
            no_new_privileges: true,
            capabilities: 0xa004_05fb,
        },
    }
}

fn differences(change: impl FnOnce(&mut Observed)) -> Vec<String> {
    let mut seen = seen();
    change(&mut seen);
    compare(&spec(), &numbers(), &seen).iter().map(ToString::to_string).collect()
}

fn only(change: impl FnOnce(&mut Observed)) -> String {
    let found = differences(change);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn what_was_asked_for_is_no_difference() {
    assert_eq!(differences(|_| {}), Vec::<String>::new());
    assert_eq!(differences(|seen| seen.kernel.device_rules = None), Vec::<String>::new());
    assert_eq!(seen().unseen(), None);
    let mut unlisted = seen();
    unlisted.kernel.device_rules = None;
    assert!(unlisted.unseen().is_some());
}

#[test]
fn devices_beyond_or_below_the_spec_are_seen() {
    let rules = |seen: &mut Observed| seen.kernel.device_rules.take().unwrap();
    for extra in ["a *:* rwm", "c 236:4 rw", "c 236:* rw", "b 8:0 rwm", "c *:* rwm", "c 236:3 rwm"] {
        let text = only(|seen| seen.kernel.device_rules.as_mut().unwrap().push(extra.into()));
        assert!(text.starts_with("the kernel's device rules") && text.contains(extra), "{text}");
    }
    let text = only(|seen| {
        let mut less = rules(seen);
        less.retain(|rule| !rule.contains("236"));
        seen.kernel.device_rules = Some(less);
    });
    assert!(text.ends_with("is {}, not {\"c 236:3 rw\"}"), "{text}");
    only(|seen| seen.kernel.nodes.push(node("/dev/davinci4", (236, 4))));
    only(|seen| seen.kernel.nodes.retain(|node| node.number != (236, 3)));
    // The name of one card with the number of another.
    only(|seen| seen.kernel.nodes[1].number = (236, 5));
    only(|seen| seen.kernel.nodes.push(ContainerNode { block: true, ..node("/dev/sda", (8, 0)) }));
    only(|seen| seen.engine.devices[0].2 = "rwm".into());
    only(|seen| seen.engine.devices.clear());
    only(|seen| seen.engine.device_rules.push("c 236:* rwm".into()));
    only(|seen| seen.engine.device_requests = 1);
}

#[test]
fn privileges_and_shared_namespaces_are_seen() {
    assert_eq!(only(|seen| seen.engine.privileged = true), "privileged is true, not false");
    only(|seen| seen.engine.capabilities_added.push("SYS_ADMIN".into()));
    only(|seen| seen.engine.shared.push("pid".into()));
    only(|seen| seen.engine.runtime = "ascend".into());
    only(|seen| seen.engine.image_id = "sha256:11".into());
    only(|seen| seen.kernel.no_new_privileges = false);
}

#[test]
fn ports_and_networks_are_seen() {
    only(|seen| seen.engine.published.clear());
    only(|seen| seen.engine.published[0] = "0.0.0.0:20000".parse().unwrap());
    only(|seen| seen.engine.published.push("10.0.0.5:0".parse().unwrap()));
    only(|seen| seen.engine.network = "host".into());
}

#[test]
fn mounts_are_seen() {
    let mount = "mount /home/ma-user/work is";
    assert_eq!(
        only(|seen| seen.kernel.mounts[0].read_only = None),
        format!("{mount} not mounted, not read-write")
    );
    assert_eq!(
        only(|seen| seen.kernel.mounts[0].read_only = Some(true)),
        format!("{mount} read-only, not read-write")
    );
    let other = only(|seen| seen.kernel.mounts[0].same_source = false);
    assert_eq!(other, format!("{mount} something else, not /data/berth/alice"));
    only(|seen| seen.kernel.mounts.clear());
    assert_eq!(only(|seen| seen.engine.binds.push("/etc".into())), "mount /etc is mounted, not absent");
}

#[test]
fn limits_are_seen() {
    assert_eq!(only(|seen| seen.kernel.memory = None), "memory limit is no limit, not 1GiB");
    only(|seen| seen.kernel.memory = Some(1 << 31));
    only(|seen| seen.kernel.pids = None);
    only(|seen| seen.kernel.nofile = Some(1 << 20));
    only(|seen| seen.kernel.cpuset = Some("0-2".into()));
    only(|seen| seen.kernel.cpuset = None);
    only(|seen| seen.engine.nano_cpus = 0);
}

#[test]
fn a_container_that_somebody_started_has_its_own_devices_or_a_difference() {
    let own =
        OwnDevices { must: numbers(), may: DeviceNumbers::from([("/dev/dvpp_cmdlist".into(), (236, 99))]) };
    let differences = |change: fn(&mut Observed)| {
        let mut seen = seen();
        // What else a profile gives is not compared.
        seen.kernel.mounts.clear();
        seen.kernel.memory = None;
        change(&mut seen);
        compare_devices(&own, &seen).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(differences(|_| ()), Vec::<String>::new());
    assert_eq!(differences(|seen| with(seen, "/dev/dvpp_cmdlist", 99)), Vec::<String>::new());
    assert_eq!(differences(|seen| with(seen, "/dev/davinci4", 4)).len(), 2, "its rule and its node");
    assert_eq!(differences(|seen| seen.kernel.nodes.truncate(1)).len(), 1, "its own is not there");
    assert_eq!(differences(|seen| seen.engine.privileged = true), ["privileged is true, not false"]);
    assert_eq!(differences(|seen| seen.engine.device_rules.push("c *:* rwm".into())).len(), 1);
}

fn with(seen: &mut Observed, path: &str, minor: u32) {
    seen.kernel.nodes.push(node(path, (236, minor)));
    if let Some(rules) = &mut seen.kernel.device_rules {
        rules.push(format!("c 236:{minor} rw"));
    }
}

#[test]
fn capabilities_are_what_the_profile_says_and_no_more() {
    assert_eq!(differences(|seen| seen.kernel.capabilities |= 1 << 21).len(), 1, "SYS_ADMIN");
    assert_eq!(differences(|seen| seen.kernel.capabilities |= 1 << 13).len(), 1, "NET_RAW");
    assert_eq!(differences(|seen| seen.engine.capabilities_dropped.clear()).len(), 1);
    assert_eq!(differences(|seen| seen.engine.capabilities_added.push("SYS_ADMIN".into())).len(), 1);
    let nice = ContainerSpec { capabilities: vec![Capability::SysNice], ..spec() };
    let mut got = seen();
    assert_eq!(compare(&nice, &numbers(), &got).len(), 2, "not added, and not there");
    got.engine.capabilities_added = capability_names(Some(vec!["CAP_SYS_NICE".into()]));
    got.kernel.capabilities |= 1 << 23;
    assert_eq!(compare(&nice, &numbers(), &got), []);
}
