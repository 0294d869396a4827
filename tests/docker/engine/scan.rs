//! Containers that others started, and events of them.

use super::proxy::Proxy;
use super::rig::{MAJOR, Rig, socket};
use berth::accel::{Ascend, CardNode};
use berth::engine::events::watch;
use berth::engine::{BerthLabels, Engine, ForeignScan, Known};
use berth::model::holder::ContainerReason;
use berth::model::{CardId, Holder};
use std::collections::HashSet;
use std::time::Duration;

fn cards() -> Vec<CardNode> {
    (0..8).map(|id| CardNode { id: CardId(id), number: Some((MAJOR, id)), part: None }).collect()
}

/// (card, container's name without the rig's prefix, reason), of this rig's containers.
async fn held(rig: &Rig, scan: &mut ForeignScan, known: &Known) -> Vec<(u32, String, ContainerReason)> {
    let found = scan.look(&cards(), known).await.unwrap();
    let prefix = format!("{}-", rig.prefix);
    found
        .held
        .into_iter()
        .filter_map(|(card, holder)| match holder {
            Holder::Container { name, reason, .. } => {
                Some((card.0, name.strip_prefix(&prefix)?.to_owned(), reason))
            }
            _ => None,
        })
        .collect()
}

fn is(card: u32, name: &str, reason: ContainerReason) -> (u32, String, ContainerReason) {
    (card, name.into(), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_others_are_seen_alone() {
    use ContainerReason::{Device, Privileged};
    let rig = Rig::new().await;
    rig.image().await;
    let mut scan = ForeignScan::new(rig.engine.clone(), &Ascend, "nobody");
    let known = Known::default();
    assert_eq!(held(&rig, &mut scan, &known).await, []);

    let node = format!("{}:/dev/davinci0", rig.node(2).display());
    let device = rig.start("device", &["--device", &node]);
    rig.start("rule", &["--device-cgroup-rule", &format!("c {MAJOR}:5 rw")]);
    // Only the ascend runtime reads it.
    rig.start("env", &["-e", "ASCEND_VISIBLE_DEVICES=0-7"]);
    rig.run(&["create"], "created", &["--device", &node]);
    let two = [is(2, "device", Device), is(5, "rule", Device)];
    assert_eq!(held(&rig, &mut scan, &known).await, two);
    rig.docker(&["pause", &device]);
    assert_eq!(held(&rig, &mut scan, &known).await, two, "a paused container still has its cards");
    rig.docker(&["rename", &device, &rig.name("renamed")]);
    assert_eq!(held(&rig, &mut scan, &known).await[0], is(2, "renamed", Device));
    rig.docker(&["unpause", &device]);
    rig.docker(&["kill", &device]);
    assert_eq!(held(&rig, &mut scan, &known).await, [is(5, "rule", Device)]);

    // A monitor could use every card, and uses none.
    rig.start("monitor", &rig.privileged());
    assert_eq!(held(&rig, &mut scan, &known).await, [is(5, "rule", Device)]);
    let cann = ["-e", "ASCEND_HOME_PATH=/usr/local/Ascend/latest"];
    let privileged = rig.start("privileged", &[&rig.privileged()[..], &cann].concat());
    let all = held(&rig, &mut scan, &known).await;
    assert_eq!(all.iter().filter(|entry| entry.1 == "privileged" && entry.2 == Privileged).count(), 8);
    rig.docker(&["rm", "-f", &privileged]);
    assert_eq!(held(&rig, &mut scan, &known).await, [is(5, "rule", Device)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_are_foreign_only_when_nobody_knows_them() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let mut spec = rig.spec(&image, 3, "busybox sleep 600");
    let labels = BerthLabels {
        instance: rig.prefix.clone(),
        id: 7,
        owner: "alice".into(),
        name: "train".into(),
        cards: vec![CardId(3), CardId(6), CardId(99)],
        port: spec.listen.port(),
        image: "base".into(),
        until: None,
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    spec.labels = labels.build();
    let id = rig.engine.create(&spec).await.unwrap();
    rig.engine.start(&id).await.unwrap();
    let mut scan = ForeignScan::new(rig.engine.clone(), &Ascend, &rig.prefix);
    let by_container = Known { containers: HashSet::from([id]), ..Known::default() };
    let by_berth = Known { creating: HashSet::from([spec.name.clone()]), ..Known::default() };
    assert_eq!(held(&rig, &mut scan, &by_container).await, []);
    assert_eq!(held(&rig, &mut scan, &by_berth).await, []);
    let unknown = ContainerReason::UnknownBerth;
    // Card 3 it really has, card 6 it says it has; there is no card 99.
    let stray = held(&rig, &mut scan, &Known::default()).await;
    assert_eq!(stray, [is(3, "berth", unknown), is(6, "berth", unknown)]);
    // To another agent on this node it is a container as any other.
    let mut other = ForeignScan::new(rig.engine.clone(), &Ascend, "another");
    assert_eq!(held(&rig, &mut other, &by_berth).await, [is(3, "berth", ContainerReason::Device)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_answer_is_no_empty_answer() {
    let rig = Rig::new().await;
    let proxy = Proxy::start(rig.path("proxy.sock"), &socket(), None);
    let engine = Engine::connect(&rig.path("proxy.sock")).await.unwrap();
    let mut scan = ForeignScan::new(engine, &Ascend, "nobody");
    scan.look(&cards(), &Known::default()).await.unwrap();
    proxy.stop();
    let error = berth::error::flatten(&scan.look(&cards(), &Known::default()).await.unwrap_err());
    assert!(error.message.contains("no Docker Engine answers"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_ticks_and_an_engine_that_goes_away_comes_back() {
    let rig = Rig::new().await;
    rig.image().await;
    let path = rig.path("proxy.sock");
    let proxy = Proxy::start(path.clone(), &socket(), None);
    let mut feed = watch(Engine::connect(&path).await.unwrap());
    let second = Duration::from_secs(1);
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, feed.wait_for(|feed| feed.up)).await.unwrap().unwrap();
    let tag = format!("{}:base", rig.prefix);
    let (name, network) = (rig.name("x"), rig.network());
    for args in [
        vec!["create", "--name", &name, "--network", &network, &tag, "/bin/busybox", "sleep", "600"],
        vec!["start", &name],
        vec!["pause", &name],
        vec!["unpause", &name],
        vec!["kill", &name],
        vec!["rm", &name],
    ] {
        let before = feed.borrow_and_update().ticks;
        rig.docker(&args);
        let ticked = tokio::time::timeout(second, feed.wait_for(|feed| feed.ticks > before)).await;
        assert!(ticked.is_ok(), "no tick within a second of {args:?}");
    }
    proxy.stop();
    let down = tokio::time::timeout(patience, feed.wait_for(|feed| !feed.up)).await.unwrap().unwrap().clone();
    assert!(down.problem.is_some(), "{down:?}");
    let proxy = Proxy::start(path, &socket(), None);
    tokio::time::timeout(patience, feed.wait_for(|feed| feed.up)).await.unwrap().unwrap();
    proxy.stop();
}
