//! Finding the engine, and speaking to one as old as the oldest system image of an Snt9b node brings.

use super::proxy::{Changes, Proxy};
use super::rig::{Rig, socket};
use berth::engine::readback::{compare, expected_numbers, observe};
use berth::engine::{Api, Engine};
use berth::error::{ErrorClass, flatten};

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_docker_18_09_is_enough() {
    let rig = Rig::new().await;
    let path = rig.path("old.sock");
    let proxy =
        Proxy::start(path.clone(), &socket(), Some(Changes { api: Some("1.39"), ..Changes::default() }));
    let engine = Engine::connect(&path).await.unwrap();
    assert_eq!(engine.api(), Api::new(1, 39));
    let facts = engine.facts().await.unwrap();
    assert_eq!(facts.api_version, "1.39");
    assert!(facts.lacks.iter().any(|what| what.contains("cgroup namespace")), "{facts:?}");

    let image = rig.image().await;
    let spec = rig.spec(&image, 3, "busybox sleep 600");
    let id = engine.create(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    let seen = observe(&engine, &id, &spec.mounts).await.unwrap();
    assert_eq!(compare(&spec, &expected_numbers(&spec.devices).unwrap(), &seen), []);
    assert_eq!(engine.list_owned(&rig.prefix).await.unwrap().len(), 1);
    assert_eq!(engine.inspect_image(&image).await.unwrap().unwrap().id, image);
    engine.remove(&id, true).await.unwrap();
    let asked = proxy.asked();
    let newer = asked.iter().find(|line| !line.contains(" /v1.39/") && !line.contains(" /version "));
    assert_eq!(newer, None);
    proxy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_too_old_or_not_there_is_said_so() {
    let rig = Rig::new().await;
    let path = rig.path("old.sock");
    let proxy =
        Proxy::start(path.clone(), &socket(), Some(Changes { api: Some("1.38"), ..Changes::default() }));
    let fault = flatten(&Engine::connect(&path).await.err().unwrap());
    assert!(fault.message.contains("speaks API 1.38; berth needs 1.39"), "{fault:?}");
    proxy.stop();
    let fault = flatten(&Engine::connect(&path).await.err().unwrap());
    assert!(fault.message.contains("no Docker Engine answers at") && fault.help.is_some(), "{fault:?}");
    assert_eq!(fault.class, ErrorClass::Docker);
    // A socket file that nobody listens on, as a daemon that was killed leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let fault = flatten(&Engine::connect(&path).await.err().unwrap());
    assert!(fault.message.contains("Connection refused"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_the_engine() {
    let rig = Rig::new().await;
    let facts = rig.engine.facts().await.unwrap();
    assert!(facts.runtimes.iter().any(|runtime| runtime == "runc"), "{facts:?}");
    assert!(facts.data_root.is_some() && facts.storage_driver.is_some() && facts.cgroup_version.is_some());
    assert!(!facts.version.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hangs.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connected = tokio::time::timeout(std::time::Duration::from_secs(20), Engine::connect(&path)).await;
    let fault = flatten(&connected.expect("connecting has a time limit").err().unwrap());
    assert!(fault.message.contains("does not answer"), "{fault:?}");
}
