//! What of a container's record is a card, and what is not.

use super::*;
use crate::accel::{Ascend, tests::Other};
use bollard::models::{ContainerConfig, DeviceMapping, HostConfig, Runtime};
use std::collections::HashMap;

fn cards() -> Vec<CardNode> {
    (0..8).map(|id| CardNode { id: CardId(id), number: Some((236, id)), part: None }).collect()
}

fn container(host: HostConfig, env: &[&str]) -> ContainerInspectResponse {
    let env = Some(env.iter().map(ToString::to_string).collect());
    ContainerInspectResponse {
        host_config: Some(host),
        config: Some(ContainerConfig { env, ..ContainerConfig::default() }),
        ..ContainerInspectResponse::default()
    }
}

fn given(inspect: &ContainerInspectResponse, runtimes: &Runtimes) -> Vec<(u32, ContainerReason)> {
    let at = |path: &Path| {
        Ok(match path.to_str() {
            Some("/dev/davinci3") => vec![(236, 3)],
            Some("/dev/other") => vec![(236, 4)],
            Some("/dev/dir") => vec![(1, 3), (236, 5), (236, 6)],
            Some("/dev/davinci1") => vec![(240, 1)],
            _ => vec![],
        })
    };
    let claim = Claim::of(inspect, runtimes, &Ascend).unwrap();
    claim.cards(&cards(), &at, &Ascend).unwrap().into_iter().map(|(card, reason)| (card.0, reason)).collect()
}

fn devices(paths: &[&str]) -> HostConfig {
    let device =
        |path: &&str| DeviceMapping { path_on_host: Some((*path).into()), ..DeviceMapping::default() };
    HostConfig { devices: Some(paths.iter().map(device).collect()), ..HostConfig::default() }
}

fn ids_of(found: &[(u32, ContainerReason)], reason: ContainerReason) -> Vec<u32> {
    assert!(found.iter().all(|(_, got)| *got == reason), "{found:?}");
    found.iter().map(|(id, _)| *id).collect()
}

#[test]
fn devices_are_known_by_number_and_by_name_when_gone() {
    let named = |paths| given(&container(devices(paths), &[]), &Runtimes::default());
    let device = ContainerReason::Device;
    assert_eq!(ids_of(&named(&["/dev/davinci3"]), device), [3]);
    assert_eq!(ids_of(&named(&["/dev/other"]), device), [4]);
    assert_eq!(ids_of(&named(&["/dev/dir"]), device), [5, 6]);
    assert_eq!(ids_of(&named(&["/dev/davinci7"]), device), [7], "a node that is gone");
    assert_eq!(named(&["/dev/davinci1", "/dev/null", ""]), [], "the name of a card, the number of none");
}

#[test]
fn rules_take_in_cards() {
    for (rule, cards) in [
        ("c 236:3 rwm", vec![3]),
        ("c 236:* r", (0..8).collect()),
        ("c *:2 w", vec![2]),
        ("c *:* rwm", (0..8).collect()),
        ("a *:* rwm", (0..8).collect()),
        ("a", (0..8).collect()),
        ("b 236:3 rwm", vec![]),
        ("c 236:3 m", vec![]),
        ("c 235:* rwm", vec![]),
        ("c x:y rwm", vec![]),
        ("", vec![]),
    ] {
        let host = HostConfig { device_cgroup_rules: Some(vec![rule.into()]), ..HostConfig::default() };
        let found = given(&container(host, &[]), &Runtimes::default());
        assert_eq!(ids_of(&found, ContainerReason::Device), cards, "{rule}");
    }
}

#[test]
fn the_ascend_runtime_reads_a_variable() {
    let runtimes = Runtimes { default: "runc".into(), plain: ["runc".to_owned()].into() };
    let host = || HostConfig { runtime: Some("ascend".into()), ..HostConfig::default() };
    for (value, cards) in [
        ("0", vec![0]),
        ("1,3", vec![1, 3]),
        ("0-2", vec![0, 1, 2]),
        ("0-1, 5,Ascend910-7", vec![0, 1, 5, 7]),
        ("npu-3", vec![3]),
        ("all", (0..8).collect()),
        ("void", vec![]),
        ("", vec![]),
        ("2-0,x,-1,0-4294967295,129,Ascend999-1", vec![]),
    ] {
        let entry = format!("ASCEND_VISIBLE_DEVICES={value}");
        let found = given(&container(host(), &["ASCEND_VISIBLE_DEVICES=6", &entry]), &runtimes);
        assert_eq!(ids_of(&found, ContainerReason::AscendRuntime), cards, "{value}");
    }
    let env = ["ASCEND_VISIBLE_DEVICES=0"];
    assert_eq!(given(&container(HostConfig::default(), &env), &runtimes), [], "another runtime");
    let default = Runtimes { default: "ascend".into(), ..runtimes };
    assert_eq!(given(&container(HostConfig::default(), &env), &default).len(), 1);
}

#[test]
fn any_runtime_but_a_plain_one_may_hand_out_cards() {
    let program = |path: &str| Runtime { path: Some(path.into()), ..Runtime::default() };
    let info = SystemInfo {
        default_runtime: Some("npu".into()),
        runtimes: Some(HashMap::from([
            ("npu".into(), program("/opt/run-npu")),
            ("linked".into(), program("/usr/bin/link-to-runc")),
            ("runc".into(), program("runc")),
            ("io.containerd.runc.v2".into(), Runtime::default()),
            ("gone".into(), program("/opt/gone")),
            ("shim".into(), Runtime::default()),
        ])),
        ..SystemInfo::default()
    };
    let at = |path: &str| match path {
        "/opt/run-npu" => {
            Some(PathBuf::from("/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"))
        }
        "/usr/bin/link-to-runc" | "runc" => Some(PathBuf::from("/usr/sbin/runc")),
        _ => None,
    };
    let runtimes = Runtimes::of(&info, &at, Ascend.words());
    for name in
        [None, Some(""), Some("npu"), Some("ascend"), Some("gone"), Some("shim"), Some("never-heard-of")]
    {
        assert!(runtimes.may_hand_out(name), "{name:?}");
    }
    for name in ["runc", "linked", "io.containerd.runc.v2"] {
        assert!(!runtimes.may_hand_out(Some(name)), "{name}");
    }
    // The engine's own name, with the ascend runtime behind it.
    let taken = |_: &str| Some(PathBuf::from("/usr/local/bin/ascend-docker-runtime"));
    assert!(Runtimes::of(&info, &taken, Ascend.words()).may_hand_out(Some("runc")));
}

#[test]
fn requests_to_a_driver_name_cards() {
    let request = |driver: &str, ids: &[&str], words: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let requests = vec![DeviceRequest {
            driver: Some(driver.into()),
            device_ids: Some(texts(ids)),
            capabilities: Some(vec![texts(words)]),
            ..DeviceRequest::default()
        }];
        let host = HostConfig { device_requests: Some(requests), ..HostConfig::default() };
        ids_of(&given(&container(host, &[]), &Runtimes::default()), ContainerReason::Cdi)
    };
    let all: Vec<u32> = (0..8).collect();
    assert_eq!(request("cdi", &["huawei.com/npu=3"], &[]), [3]);
    assert_eq!(request("cdi", &["huawei.com/npu=1", "huawei.com/Ascend910=Ascend910-6"], &[]), [1, 6]);
    assert_eq!(request("cdi", &["huawei.com/davinci=davinci2"], &[]), [2]);
    assert_eq!(request("cdi", &["huawei.com/npu=all"], &[]), all);
    assert_eq!(request("cdi", &["huawei.com/npu=the-first"], &[]), all, "what is behind a name is not known");
    assert!(request("cdi", &["nvidia.com/gpu=0"], &[]).is_empty());
    assert_eq!(request("", &["3"], &["npu"]), [3]);
    assert_eq!(request("", &[], &["npu"]), all);
    assert!(request("", &["0"], &["gpu"]).is_empty());
    assert_eq!(request("huawei", &[], &[]), all);
}

#[test]
fn a_vnpu_is_a_part_of_its_card() {
    let vnpu = ContainerReason::Vnpu;
    let named = |paths: &[&str]| given(&container(devices(paths), &[]), &Runtimes::default());
    assert_eq!(ids_of(&named(&["/dev/vdavinci164"]), vnpu), [4], "100 + 16 * 4, and its node is gone");
    assert_eq!(ids_of(&named(&["/dev/vdavinci115", "/dev/vdavinci116"]), vnpu), [0, 1]);
    assert_eq!(named(&["/dev/vdavinci99", "/dev/vdavinci1000"]), []);
    let mut nodes = cards();
    nodes.push(CardNode { id: CardId(4), number: Some((240, 64)), part: Some(164) });
    let at = |_: &Path| Ok(vec![(240, 64)]);
    let claim = Claim::of(&container(devices(&["/dev/x"]), &[]), &Runtimes::default(), &Ascend).unwrap();
    assert_eq!(claim.cards(&nodes, &at, &Ascend).unwrap(), BTreeMap::from([(CardId(4), vnpu)]));
    let env = ["ASCEND_RUNTIME_OPTIONS=NODRV,VIRTUAL", "ASCEND_VISIBLE_DEVICES=100,164"];
    let found = given(&container(HostConfig::default(), &env), &Runtimes::default());
    assert_eq!(ids_of(&found, ContainerReason::AscendRuntime), [0, 4]);
}

#[test]
fn privileged_with_ascends_software_has_every_card_and_the_nearest_reason_is_told() {
    let host = || HostConfig { privileged: Some(true), ..devices(&["/dev/davinci3"]) };
    let found = given(&container(host(), &["ASCEND_HOME_PATH=/usr/local/x"]), &Runtimes::default());
    assert_eq!(found.len(), 8);
    assert_eq!(found[3], (3, ContainerReason::Device));
    assert_eq!(found[0], (0, ContainerReason::Privileged));
    // A monitor: what it was given by name, and no more.
    let monitor = given(&container(host(), &["PATH=/usr/bin"]), &Runtimes::default());
    assert_eq!(monitor, [(3, ContainerReason::Device)]);
}

#[test]
fn what_cannot_be_looked_at_is_an_error() {
    let claim = Claim::of(&container(devices(&["/dev/x"]), &[]), &Runtimes::default(), &Ascend).unwrap();
    let denied = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(claim.cards(&cards(), &denied, &Ascend).is_err());
    assert!(Claim::of(&ContainerInspectResponse::default(), &Runtimes::default(), &Ascend).is_none());
}

#[test]
fn another_kind_of_card_is_claimed_in_its_own_words() {
    let given = |host: HostConfig, env: &[&str]| {
        let claim = Claim::of(&container(host, env), &Runtimes::default(), &Other).unwrap();
        let found = claim.cards(&cards(), &|_| Ok(Vec::new()), &Other).unwrap();
        found.into_keys().map(|card| card.0).collect::<Vec<_>>()
    };
    assert_eq!(given(devices(&["/dev/other131", "/dev/davinci5"]), &[]), [3]);
    assert_eq!(given(HostConfig::default(), &["OTHER_CARDS=all"]).len(), 8);
    assert_eq!(given(HostConfig::default(), &["ASCEND_VISIBLE_DEVICES=all"]), [0; 0]);
    let privileged = || HostConfig { privileged: Some(true), ..HostConfig::default() };
    assert_eq!(given(privileged(), &["PATH=/opt/other-toolkit/bin"]).len(), 8);
    assert_eq!(given(privileged(), &["ASCEND_HOME_PATH=/usr/local/x"]), [0; 0]);
}
