//! Pulling from a real registry on loopback: open, private, absent, and one that breaks off.

use super::proxy::{Changes, Proxy};
use super::rig::{Rig, docker_with, free_port, socket};
use crate::registry::Registry;
use berth::engine::Engine;
use berth::engine::image::PullProgress;
use berth::engine::registry::credentials;
use berth::error::flatten;
use berth::host::RealHost;
use std::path::PathBuf;
use std::time::Duration;

/// alice, `s3cret?~>`: with these, base64 has characters in which its two alphabets differ.
const AUTH: &str = "YWxpY2U6czNjcmV0P34+";

/// A credentials file as `docker login` writes it.
fn login(rig: &Rig, address: &str) -> PathBuf {
    let dir = rig.path("login");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("config.json");
    std::fs::write(&file, format!(r#"{{"auths": {{"{address}": {{"auth": "{AUTH}"}}}}}}"#)).unwrap();
    file
}

/// Puts the busybox image into the registry and forgets it here.
async fn push(rig: &Rig, address: &str) -> (String, String) {
    let id = rig.image().await;
    let reference = format!("{address}/{}:1", rig.prefix);
    rig.docker(&["tag", &id, &reference]);
    let pushed = docker_with(&rig.path("login"), &["push", &reference]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    rig.docker(&["rmi", "-f", &reference, &format!("{}:base", rig.prefix)]);
    assert_eq!(rig.engine.inspect_image(&reference).await.unwrap(), None);
    (id, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_shows_its_layers_and_ends_with_the_image() {
    let rig = Rig::new().await;
    let registry = Registry::start(rig.dir.path(), "open", false);
    let (id, reference) = push(&rig, &registry.address).await;
    // As the agent does it: a task of its own, which reports.
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel::<PullProgress>();
    let (engine, wanted) = (rig.engine.clone(), reference.clone());
    let task =
        tokio::spawn(async move { engine.pull(&wanted, None, |update| report.send(update).unwrap()).await });
    let mut seen = Vec::new();
    while let Some(update) = reports.recv().await {
        seen.push(update);
    }
    let image = task.await.unwrap().unwrap();
    assert_eq!(image.id, id);
    assert!(seen.iter().any(|update| update.layer.is_some() && update.status == "Pull complete"), "{seen:?}");
    assert!(seen.iter().any(|update| update.total.is_some() && update.current.is_some()), "{seen:?}");
    rig.engine.pull(&reference, None, |_| {}).await.unwrap();

    let absent = format!("{}/{}:none", registry.address, rig.prefix);
    let fault = flatten(&rig.engine.pull(&absent, None, |_| {}).await.unwrap_err());
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("no such image")), "{fault:?}");
    let closed = format!("127.0.0.1:{}/x:1", free_port());
    let fault = flatten(&rig.engine.pull(&closed, None, |_| {}).await.unwrap_err());
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("cannot be reached")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_is_pulled_from_with_dockers_own_credentials() {
    let rig = Rig::new().await;
    let registry = Registry::start(rig.dir.path(), "private", true);
    let file = login(&rig, &registry.address);
    let (id, reference) = push(&rig, &registry.address).await;
    let fault = flatten(&rig.engine.pull(&reference, None, |_| {}).await.unwrap_err());
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("docker login")), "{fault:?}");
    let host = RealHost::default();
    let found = credentials(&host, &file, &reference).await.unwrap();
    assert!(found.is_some());
    assert_eq!(rig.engine.pull(&reference, found, |_| {}).await.unwrap().id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_reached_when_it_answers_whatever_it_says() {
    let rig = Rig::new().await;
    let limit = Duration::from_secs(20);
    for private in [false, true] {
        let registry = Registry::start(rig.dir.path(), if private { "private" } else { "open" }, private);
        rig.engine.reach(&registry.address, limit).await.unwrap();
        rig.engine.reach(&format!("{}/", registry.address), limit).await.unwrap();
    }
    let closed = rig.engine.reach(&format!("127.0.0.1:{}", free_port()), limit).await.unwrap_err();
    assert!(closed.contains("connection refused"), "{closed}");
    // Names of this kind never resolve.
    rig.engine.reach("registry.invalid", limit).await.unwrap_err();
    assert!(rig.engine.reach("a b", limit).await.unwrap_err().contains("is not an image reference"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_breaks_off_is_no_success() {
    let rig = Rig::new().await;
    let registry = Registry::start(rig.dir.path(), "open", false);
    let (_, reference) = push(&rig, &registry.address).await;
    for bytes in [0, 300, 420] {
        let path = rig.path(&format!("cut{bytes}.sock"));
        let cut = Changes { cut: Some(("/images/create", bytes)), ..Changes::default() };
        let proxy = Proxy::start(path.clone(), &socket(), Some(cut));
        let engine = Engine::connect(&path).await.unwrap();
        engine.pull(&reference, None, |_| {}).await.unwrap_err();
        proxy.stop();
    }
}
