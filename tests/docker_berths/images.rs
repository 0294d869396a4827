//! Images of every kind become berths.

use crate::machine::variable;
use crate::rig::{ALICE, Rig, Setup};
use serde_json::Value;

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
