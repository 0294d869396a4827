//! Images of every kind become berths.

use crate::machine::variable;
use crate::registry::Registry;
use crate::rig::{ALICE, Rig, Setup};
use serde_json::Value;
use std::time::{Duration, Instant};

#[test]
fn an_image_of_one_file_is_enough() {
    let Some(rig) = Rig::with(Setup { image: "busybox", ..Setup::default() }) else { return };
    let berth = rig.request(&["--cards", "1"]);
    assert_eq!(berth["ssh_user"], "root", "the image has no account");
    let said = rig.ssh_ok(&berth, "/bin/busybox id -u; /bin/busybox ls /home/ma-user; npu-smi info -l");
    assert!(said.starts_with("0\nwork\n") && said.contains("NPU ID"), "{said}");
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
}

#[test]
fn a_debian_image_has_bash_and_its_environment() {
    let Some(mut rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let change = [
        "ENV TOOLKIT_HOME=/opt/toolkit",
        "ENV PATH=/opt/toolkit/bin:/usr/local/bin:/usr/bin:/bin",
        "CMD [\"/bin/false\"]",
    ];
    rig.import_with("base", "debian", &change);
    let check = rig.json(&["image", "check", "base"]);
    let findings = check["findings"].as_array().unwrap();
    let verdict = |id: &str| findings.iter().find(|finding| finding["id"] == id).unwrap()["verdict"].clone();
    for id in ["image.user", "image.shell", "image.glibc", "image.tar", "image.home"] {
        assert_eq!(verdict(id), "ok", "{check:#}");
    }
    // What the image runs by itself, which ends at once, is of no matter.
    let berth = rig.request(&["--cards", "2"]);
    let said =
        rig.ssh_ok(&berth, "echo $BASH_VERSION; echo $TOOLKIT_HOME; echo $PATH; id -un; npu-smi info -l");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("5."), "bash is the shell: {said}");
    assert_eq!(lines[1], "/opt/toolkit");
    assert!(lines[2].starts_with("/opt/toolkit/bin:"), "{said}");
    assert_eq!(lines[3], "ma-user");
    assert_eq!(said.matches("NPU ID").count(), 2, "{said}");
}

#[test]
fn the_catalogue_grows_by_import_and_shrinks_by_remove() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let ran = rig.berth(&["image", "list"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("the catalogue is empty"), "{ran:?}");
    let refused = rig.refused(2, &["request", "--user", "alice", "--cards", "1"]);
    assert!(refused.contains("berth image import FILE --name NAME"), "{refused}");

    let tar = variable("BERTH_TEST_IMAGES").unwrap().join("workspace.tar").display().to_string();
    // Not one that another agent of this engine has.
    let name = format!("t{}-{}", std::process::id(), rig.slot.major());
    let image = rig.json(&["image", "import", &tar, "--name", &name, "--description", "for tests"]);
    let reference = image["reference"].as_str().unwrap().to_owned();
    assert_eq!(image["default"], true, "the only one there is");
    assert_eq!(rig.request(&["--cards", "1"])["image"], name);
    // A second image changes nothing for whoever names none, until an administrator says so.
    rig.ok(&["image", "add", "second", &reference]);
    assert_eq!(rig.request(&["--cards", "1", "--name", "still"])["image"], name);
    rig.refused(2, &["image", "default", "nope"]);
    rig.refused_as(ALICE, 3, &["image", "default", "second"]);
    assert_eq!(rig.json(&["image", "default", "second"])["default"], true);
    assert!(rig.ok(&["image", "list"]).contains("second (default)"));
    assert_eq!(rig.request(&["--cards", "1", "--name", "other"])["image"], "second");
    rig.ok(&["image", "remove", "second"]);
    assert_eq!(
        rig.request(&["--cards", "1", "--name", "first"])["image"],
        name,
        "what is gone is no default"
    );
    for name in ["still", "other", "first"] {
        rig.ok(&["release", name]);
    }
    rig.refused(3, &["image", "import", &tar, "--name", &name]);
    rig.refused(2, &["image", "import", &tar, "--name", "../x"]);
    rig.ok(&["image", "remove", &name]);
    assert_eq!(rig.json(&["image", "list"])["images"], Value::Array(vec![]));
    assert_eq!(rig.json(&["show", "dev"])["state"], "live", "berths of it go on");
    let here = rig.json(&["list"])["berths"][0]["image_id"].clone();
    assert_eq!(rig.docker(&["image", "inspect", "-f", "{{.Id}}", &reference]), here.as_str().unwrap());
    rig.ok(&["release", "dev"]);
    rig.docker(&["rmi", &reference]);
}

#[test]
fn what_is_no_image_is_refused() {
    let Some(rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    std::fs::write(rig.path("text.tar"), "this is no archive").unwrap();
    for (file, code) in [("text.tar", 2), ("none.tar", 5), ("storage", 2)] {
        let said = rig.refused(code, &["image", "import", &rig.text(file), "--name", "x"]);
        assert!(said.contains(file), "{said}");
    }
    let fifo = rig.text("fifo");
    crate::machine::run("mkfifo", &[&fifo]);
    rig.refused(2, &["image", "import", &fifo, "--name", "x"]);
    rig.refused(6, &["image", "pull", "x", "127.0.0.1:1/none:none"]);
    rig.refused(2, &["image", "check", "nope"]);
    rig.refused(2, &["image", "remove", "nope"]);
}

/// The name of an image can be somebody else's in a registry: what is gone here is never fetched by its name.
#[test]
fn an_imported_image_that_is_gone_is_imported_again_and_never_pulled() {
    let Some(mut rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let tar = variable("BERTH_TEST_IMAGES").unwrap().join("busybox.tar").display().to_string();
    let name = format!("p{}-{}", std::process::id(), rig.slot.major());
    let reference = rig.json(&["image", "import", &tar, "--name", &name])["reference"].clone();
    let reference = reference.as_str().unwrap();
    rig.docker(&["rmi", reference]);
    let again = format!("berth image import {tar} --name {name}");
    let gone = |rig: &Rig| {
        for args in [
            &["request", "--user", "alice", "--cards", "1", "--image", &name][..],
            &["image", "check", &name],
            &["image", "pull", &name],
        ] {
            let said = rig.refused(3, args);
            assert!(said.contains("no registry has it") && said.contains(&again), "{args:?}: {said}");
        }
    };
    gone(&rig);
    // Something else under its name is not what was imported.
    rig.import("other", "busybox");
    rig.docker(&["tag", &rig.reference("other"), reference]);
    gone(&rig);
    assert_eq!(rig.json(&["image", "list"])["images"][0]["image_id"], Value::Null);
    // Of a catalogue that an older berth wrote: nothing says which image it was.
    let catalogue = std::fs::read_to_string(rig.path("images.toml")).unwrap();
    let old: Vec<&str> = catalogue.lines().filter(|line| !line.starts_with("id = ")).collect();
    std::fs::write(rig.path("images.toml"), old.join("\n")).unwrap();
    rig.docker(&["rmi", reference]);
    gone(&rig);
    rig.docker(&["tag", &rig.reference("other"), reference]);
    rig.request(&["--cards", "1", "--image", &name]);
    let pinned = std::fs::read_to_string(rig.path("images.toml")).unwrap();
    assert_eq!(pinned.matches("id = \"sha256:").count(), 1, "the first use says which one it is: {pinned}");
    rig.ok(&["release", "dev"]);
    rig.docker(&["rmi", reference]);
}

#[test]
fn a_pulled_image_stays_what_it_was_until_it_is_pulled_again() {
    let Some(mut rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    let registry = Registry::start(rig.dir.path(), "registry", false);
    let reference = format!("{}/team/base:1", registry.address);
    let publish = |rig: &mut Rig, label: &str| {
        let tar = variable("BERTH_TEST_IMAGES").unwrap().join("busybox.tar").display().to_string();
        rig.docker(&["import", "--change", &format!("ENV WHICH={label}"), &tar, &reference]);
        rig.docker(&["push", &reference]);
        let id = rig.docker(&["image", "inspect", "-f", "{{.Id}}", &reference]);
        rig.docker(&["rmi", "-f", &id]);
        id
    };
    let first = publish(&mut rig, "first");
    rig.ok(&["image", "pull", "base", &reference]);
    let second = publish(&mut rig, "second");
    // Somebody pulls by hand what the tag names now, and the first is gone from the engine.
    rig.docker(&["pull", &reference]);
    rig.try_docker(&["rmi", "-f", &first]);
    let berth = rig.request(&["--cards", "1"]);
    assert_eq!(berth["image_id"], first.as_str(), "fetched by its digest");
    rig.ok(&["release", "dev"]);
    rig.ok(&["image", "pull", "base"]);
    assert_eq!(rig.request(&["--cards", "1"])["image_id"], second.as_str());
    let pinned = rig.events().iter().filter(|event| event["kind"] == "image.pinned").count();
    assert_eq!(pinned, 1, "told when it changed");
    rig.ok(&["release", "dev"]);
    for id in [first, second] {
        rig.docker(&["rmi", "-f", &id]);
    }
}

/// Docker and runc would wait at such a file for ever, and so would everybody after them.
#[test]
fn an_image_that_would_hold_a_start_up_is_refused_before() {
    let Some(mut rig) = Rig::with(Setup { image: "", ..Setup::default() }) else { return };
    for (name, make) in [
        ("fifo", ["mkfifo", "passwd"].as_slice()),
        ("kmsg", ["ln", "-s", "/proc/kmsg", "passwd"].as_slice()),
        ("device", ["mknod", "group", "c", "5", "0"].as_slice()),
    ] {
        let (root, tar) = (rig.path(name), rig.text(&format!("{name}.tar")));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        crate::machine::run("env", &[&["-C", root.join("etc").to_str().unwrap()], make].concat());
        crate::machine::run("tar", &["-C", root.to_str().unwrap(), "-cf", &tar, "."]);
        let reference = rig.reference(name);
        rig.docker(&["import", &tar, &reference]);
        rig.add_image(name, &reference);
        let began = Instant::now();
        let said = rig.refused(6, &["request", "--user", "alice", "--cards", "1", "--image", name]);
        assert!(said.contains("of the image"), "{said}");
        assert_eq!(rig.berth(&["image", "check", name]).code, 6);
        assert!(began.elapsed() < Duration::from_secs(30), "{name}: {:?}", began.elapsed());
        assert_eq!(rig.containers(), Vec::<String>::new(), "no probe is left");
    }
}
