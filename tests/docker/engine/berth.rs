//! A berth's container from creation to removal, and what it really got.

use super::rig::{MAJOR, Rig};
use crate::machine::until;
use berth::engine::readback::{compare, expected_numbers, observe};
use berth::engine::{BerthLabels, OwnedContainer};
use berth::error::{ErrorClass, flatten};
use berth::model::CardId;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

const FOREVER: &str = "busybox sleep 600";

#[tokio::test(flavor = "multi_thread")]
async fn a_berth_has_its_cards_and_no_others() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let spec = rig.spec(&image, 3, FOREVER);
    let numbers = expected_numbers(&spec.devices).unwrap();
    let id = rig.engine.create(&spec).await.unwrap();
    rig.engine.start(&id).await.unwrap();
    let seen = observe(&rig.engine, &id, &spec.mounts).await.unwrap();
    assert_eq!(compare(&spec, &numbers, &seen), [], "{seen:#?}");

    // The kernel lets its own card through, where no driver answers (ENXIO), and refuses any other (EPERM).
    let own = rig.exec(&id, "exec 3<>/dev/davinci3");
    assert!(own.contains("No such device or address"), "{own}");
    let other = rig.exec(&id, &format!("busybox mknod /tmp/d c {MAJOR} 4 && exec 3<>/tmp/d"));
    assert!(other.contains("Operation not permitted"), "{other}");
    // Read-only mounts are read-only, also behind a link of the image; storage is not.
    let written =
        rig.exec(&id, "echo x > /etc/localtime; echo x > /opt/shared/y; echo x > /home/ma-user/work/z");
    assert_eq!(written.matches("Read-only file system").count(), 2, "{written}");
    assert!(rig.path("storage/z").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_as_asked_for_is_found_out_alone() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let spec = rig.spec(&image, 3, FOREVER);
    let numbers = expected_numbers(&spec.devices).unwrap();
    let device = |minor: u32, access: &str| {
        let host = rig.path(&format!("davinci{minor}"));
        format!("{}:/dev/davinci{minor}:{access}", host.display())
    };
    rig.node(4);
    let shared = format!("{}:/opt/shared", rig.dir.path().display());
    let name = rig.name("other");
    rig.start(
        "other",
        &[
            "--device",
            &device(3, "rwm"),
            "--device",
            &device(4, "rw"),
            "--cap-add",
            "SYS_ADMIN",
            "--pid",
            "host",
            "-m",
            "32m",
            "-v",
            &shared,
            "-p",
            "127.0.0.1::23",
        ],
    );
    let seen = observe(&rig.engine, &name, &spec.mounts).await.unwrap();
    let found: Vec<String> = compare(&spec, &numbers, &seen).into_iter().map(|d| d.what).collect();
    for what in [
        "published ports",
        "added capabilities",
        "namespaces shared with others",
        "devices",
        "the kernel's device rules",
        "device nodes",
        "mount /home/ma-user/work",
        "mount /etc/localtime",
        "mount /opt/shared",
        "memory limit",
        "process limit",
        "CPUs",
        "CPU limit (nanoseconds a second)",
        "no-new-privileges",
    ] {
        assert!(found.iter().any(|got| got == what), "{what} is not in {found:?}");
    }
    rig.docker(&["rm", "-f", &name]);
    rig.start("other", &rig.privileged());
    let seen = observe(&rig.engine, &name, &spec.mounts).await.unwrap();
    let found: Vec<String> = compare(&spec, &numbers, &seen).into_iter().map(|d| d.what).collect();
    for what in ["privileged", "the kernel's device rules", "device nodes"] {
        assert!(found.iter().any(|got| got == what), "{what} is not in {found:?}");
    }
}

fn labels(rig: &Rig, port: u16) -> BerthLabels {
    BerthLabels {
        instance: rig.prefix.clone(),
        id: 7,
        owner: "alice".into(),
        name: "train".into(),
        cards: vec![CardId(3)],
        port,
        image: "base".into(),
        until: None,
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

async fn only_owned(rig: &Rig) -> OwnedContainer {
    let mut owned = rig.engine.list_owned(&rig.prefix).await.unwrap();
    assert_eq!(owned.len(), 1, "{owned:?}");
    owned.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_container() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let serve = "echo ready; echo worse >&2; while :; do echo hello | busybox nc -l -p 22; done";
    let mut spec = rig.spec(&image, 3, serve);
    spec.labels = labels(&rig, spec.listen.port()).build();
    let id = rig.engine.create(&spec).await.unwrap();
    let owned = only_owned(&rig).await;
    assert_eq!(owned.berth.as_ref(), Some(&labels(&rig, spec.listen.port())));
    assert_eq!(
        (owned.container_id.as_str(), owned.container_name.as_str()),
        (id.as_str(), spec.name.as_str())
    );
    assert_eq!((owned.running, owned.status.as_str()), (false, "created"));

    rig.engine.start(&id).await.unwrap();
    rig.engine.start(&id).await.unwrap();
    assert!(only_owned(&rig).await.running);
    let state = rig.engine.inspect(&id).await.unwrap().unwrap();
    assert!(state.running && state.pid.is_some() && state.address.is_some(), "{state:?}");
    assert_eq!(state.image_id, image);
    let hello = until("an answer on the published port", Duration::from_secs(10), || {
        let mut text = String::new();
        TcpStream::connect(spec.listen).ok()?.read_to_string(&mut text).ok().filter(|_| !text.is_empty())?;
        Some(text)
    });
    assert_eq!(hello, "hello\n");
    let logs = rig.engine.logs_tail(&id, 100).await.unwrap();
    assert!(logs.contains("ready\n") && logs.contains("worse\n"), "{logs:?}");

    rig.engine.stop(&id, 1).await.unwrap();
    rig.engine.stop(&id, 1).await.unwrap();
    let state = rig.engine.inspect(&id).await.unwrap().unwrap();
    assert!(!state.running && state.address.is_none(), "{state:?}");
    let error = flatten(&observe(&rig.engine, &id, &spec.mounts).await.unwrap_err());
    assert!(error.message.contains("it does not run"), "{error:?}");
    rig.engine.remove(&id, true).await.unwrap();
    rig.engine.remove(&id, true).await.unwrap();
    rig.engine.stop(&id, 1).await.unwrap();
    assert_eq!(rig.engine.inspect(&id).await.unwrap(), None);
    assert_eq!(rig.engine.list_owned(&rig.prefix).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_clearly() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let spec = rig.spec(&image, 3, FOREVER);
    let id = rig.engine.create(&spec).await.unwrap();
    rig.engine.start(&id).await.unwrap();
    let fault = flatten(&rig.engine.create(&spec).await.unwrap_err());
    assert_eq!(fault.class, ErrorClass::Busy, "the name is taken: {fault:?}");

    let mut second = spec.clone();
    second.name = rig.name("second");
    let id = rig.engine.create(&second).await.unwrap();
    let fault = flatten(&rig.engine.start(&id).await.unwrap_err());
    assert_eq!(fault.class, ErrorClass::Busy, "the port is taken: {fault:?}");

    second.name = rig.name("third");
    second.listen.set_port(super::rig::free_port());
    second.mounts[0].source = rig.path("none");
    let fault = flatten(&rig.engine.create(&second).await.unwrap_err());
    assert!(fault.message.contains("does not exist"), "a source is never made: {fault:?}");
    assert!(!rig.path("none").exists());

    second.mounts.remove(0);
    std::fs::remove_file(rig.path("davinci3")).unwrap();
    assert!(expected_numbers(&second.devices).is_err());
    let id = rig.engine.create(&second).await.unwrap();
    let fault = flatten(&rig.engine.start(&id).await.unwrap_err());
    assert!(fault.message.contains("davinci3") && fault.help.is_some(), "{fault:?}");
}
