//! Images out of files, and what is found inside them.

use super::rig::Rig;
use crate::machine::run;
use berth::engine::{PROBE_LIMIT, Probe};
use berth::error::flatten;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_root_file_system_becomes_an_image() {
    let rig = Rig::new().await;
    let tar = rig.rootfs_tar();
    let reference = format!("{}/sub:root", rig.prefix);
    let plain = rig.engine.add_archive(File::open(&tar).unwrap(), &reference, |_| {}).await.unwrap();
    assert!(plain.id.starts_with("sha256:") && plain.size > 100_000, "{plain:?}");
    assert_eq!(plain.tags.join(" "), reference);
    run("gzip", &["-k", tar.to_str().unwrap()]);
    let packed = File::open(rig.path("rootfs.tar.gz")).unwrap();
    let packed = rig.engine.add_archive(packed, &format!("{}:packed", rig.prefix), |_| {}).await.unwrap();
    assert_eq!(packed.size, plain.size);
    assert!(rig.engine.list_images().await.unwrap().iter().any(|image| image.tags.contains(&reference)));

    rig.engine.remove_image(&reference).await.unwrap();
    rig.engine.remove_image(&reference).await.unwrap();
    assert_eq!(rig.engine.inspect_image(&reference).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saved_is_loaded() {
    let rig = Rig::new().await;
    let id = rig.image().await;
    let base = format!("{}:base", rig.prefix);
    let saved = rig.path("saved.tar");
    let saved_text = saved.to_str().unwrap();
    rig.docker(&["save", "-o", saved_text, &base]);
    rig.docker(&["rmi", "-f", &base]);
    assert_eq!(rig.engine.inspect_image(&base).await.unwrap(), None);
    let other = format!("{}:mine", rig.prefix);
    let loaded = rig.engine.add_archive(File::open(&saved).unwrap(), &other, |_| {}).await.unwrap();
    assert_eq!(loaded.id, id);
    assert!(loaded.tags.contains(&other) && loaded.tags.contains(&base), "{loaded:?}");

    // By id, without a name, and gzipped.
    rig.docker(&["save", "-o", saved_text, &id]);
    rig.docker(&["rmi", "-f", &base, &other]);
    run("gzip", &["-f", saved.to_str().unwrap()]);
    let packed = File::open(rig.path("saved.tar.gz")).unwrap();
    assert_eq!(rig.engine.add_archive(packed, &other, |_| {}).await.unwrap().id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_images_are_refused() {
    let rig = Rig::new().await;
    let tar = rig.rootfs_tar();
    let whole = std::fs::read(&tar).unwrap();
    let half = rig.path("half.tar");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let reference = format!("{}:half", rig.prefix);
    rig.engine.add_archive(File::open(&half).unwrap(), &reference, |_| {}).await.unwrap_err();
    assert_eq!(rig.engine.inspect_image(&reference).await.unwrap(), None);
    std::fs::write(&half, "hello").unwrap();
    let fault =
        flatten(&rig.engine.add_archive(File::open(&half).unwrap(), &reference, |_| {}).await.unwrap_err());
    assert!(fault.help.is_some(), "{fault:?}");
    assert!(rig.engine.inspect_image("../../containers/json").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_has_is_asked_inside_it() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let binary = rig.path("berth");
    let users = ["ma-user".to_owned(), "dev".to_owned()];
    let script = |body: &str| {
        std::fs::write(&binary, format!("#!/bin/busybox sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let ask = async |limit: Duration| {
        let probe = Probe {
            image_id: &image,
            binary: &binary,
            users: &users,
            image_user: "1000:100",
            instance: &rig.prefix,
            limit,
        };
        rig.engine.probe(&probe).await.map_err(|error| flatten(&error).message)
    };
    script(
        r#"echo "{\"asked\": \"$*\", \"net\": \"$(busybox ls /sys/class/net)\"}"; echo x > /x && echo oops; exit 0"#,
    );
    let answer = ask(PROBE_LIMIT).await.unwrap();
    assert_eq!(answer["asked"], "inside probe --users ma-user,dev --image-user 1000:100");
    assert_eq!(answer["net"], "lo");

    script("echo broken >&2; exit 3");
    let message = ask(PROBE_LIMIT).await.unwrap_err();
    assert!(message.contains("ended with code 3: broken"), "{message}");
    script("echo no json");
    assert!(ask(PROBE_LIMIT).await.unwrap_err().contains("no JSON"));
    script("busybox yes | busybox head -c 70000");
    let message = ask(PROBE_LIMIT).await.unwrap_err();
    assert!(message.contains("64 KiB"), "{message}");
    script("busybox sleep 600");
    let message = ask(Duration::from_secs(1)).await.unwrap_err();
    assert!(message.contains("did not end within 1s"), "{message}");
    std::fs::write(&binary, [0x7f, b'E', b'L', b'F', 9, 9]).unwrap();
    assert!(ask(PROBE_LIMIT).await.is_err());
    let left = rig.docker(&["ps", "-aq", "--filter", &format!("label=berth.probe={}", rig.prefix)]);
    assert_eq!(left, "", "probes are left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_probe_leaves_nothing() {
    let rig = Rig::new().await;
    let image = rig.image().await;
    let binary = rig.path("berth");
    std::fs::write(&binary, "#!/bin/busybox sh\nbusybox sleep 600\n").unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (engine, prefix) = (rig.engine.clone(), rig.prefix.clone());
    let task = tokio::spawn(async move {
        let probe = Probe {
            image_id: &image,
            binary: &binary,
            users: &[],
            image_user: "",
            instance: &prefix,
            limit: PROBE_LIMIT,
        };
        engine.probe(&probe).await
    });
    let filter = format!("label=berth.probe={}", rig.prefix);
    let running = |all: &str| rig.docker(&["ps", all, "--filter", &filter]);
    let patience = Duration::from_secs(20);
    crate::machine::until("the probe", patience, || (!running("-q").is_empty()).then_some(()));
    task.abort();
    crate::machine::until("its removal", patience, || running("-aq").is_empty().then_some(()));

    // One of an agent that was killed is removed by the next, and only by that agent.
    let label = format!("berth.probe={}", rig.prefix);
    rig.run(&["create"], "left", &["--label", &label]);
    rig.engine.remove_probes("another").await.unwrap();
    assert!(rig.engine.inspect(&rig.name("left")).await.unwrap().is_some());
    rig.engine.remove_probes(&rig.prefix).await.unwrap();
    assert_eq!(rig.engine.inspect(&rig.name("left")).await.unwrap(), None);
}
