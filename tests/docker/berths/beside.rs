//! Holders that the engine does not tell of, by the programs that people start them with: containerd's `ctr`, podman with
//! CDI, the ascend runtime under another name, and an edit of Docker's own files.

use super::conditions::{PATIENCE, told, wait_for};
use crate::machine::{both, try_run, until, variable};
use crate::own_engine::OwnEngine;
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// `None`, loudly, where a program is not installed that scripts/test installs.
fn program(name: &str) -> Option<()> {
    let found = std::env::var("PATH").unwrap().split(':').any(|dir| Path::new(dir).join(name).exists());
    if !found {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{name} is not installed in CI");
        eprintln!("SKIPPED: {name} is not installed; run scripts/test docker");
    }
    found.then_some(())
}

/// A root file system with busybox alone.
fn root(at: &Path) -> PathBuf {
    let root = at.join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.expect("busybox-static is installed"), root.join("bin/busybox")).unwrap();
    root
}

/// A containerd that no Docker uses.
struct Containerd {
    dir: TempDir,
    daemon: Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut daemon = Command::new("containerd");
        daemon.arg("--config").arg(&config).arg("--root").arg(dir.path().join("data"));
        daemon.arg("--state").arg(dir.path().join("state")).arg("--address").arg(dir.path().join("sock"));
        let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let containerd = Self { dir, daemon };
        until("an answer of containerd", Duration::from_secs(30), || {
            containerd.ctr(&["version"]).output().unwrap().status.success().then_some(())
        });
        containerd
    }

    fn ctr(&self, args: &[&str]) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.dir.path().join("sock")).args(["--namespace", "k8s.io"]).args(args);
        ctr.stdin(Stdio::null());
        ctr
    }

    fn end(&self, name: &str) {
        try_run(&mut self.ctr(&["task", "kill", "--signal", "KILL", name]));
        until("the task's end", Duration::from_secs(20), || {
            try_run(&mut self.ctr(&["task", "delete", name]));
            let listed = both(&try_run(&mut self.ctr(&["task", "ls", "-q"])));
            (!listed.contains(name)).then_some(())
        });
        try_run(&mut self.ctr(&["container", "delete", name]));
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let listed = self.ctr(&["task", "ls", "-q"]).output();
        for name in listed.iter().flat_map(|listed| {
            String::from_utf8_lossy(&listed.stdout)
                .into_owned()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        }) {
            let _ = self.ctr(&["task", "delete", "--force", &name]).output();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// As Kubernetes' containers are beside Docker: in containerd's namespace k8s.io.
#[test]
fn a_container_of_ctr_holds_its_cards() {
    let Some(rig) = Rig::start() else { return };
    let containerd = Containerd::start();
    let (root, node) = (root(containerd.dir.path()), rig.text("state/sim/dev/davinci6"));
    let name = format!("{:064x}", rig.slot.major());
    let rootfs = root.display().to_string();
    let log = std::fs::File::create(rig.path("ctr.log")).unwrap();
    // A pipe would be the container's, and never end.
    let start = ["run", "-d", "--rootfs", "--device", &node, &rootfs, &name, "/bin/busybox", "sleep", "600"];
    let started = containerd.ctr(&start).stdout(Stdio::null()).stderr(log).status().unwrap();
    assert!(started.success(), "{}", std::fs::read_to_string(rig.path("ctr.log")).unwrap());
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "6"]);
    let holder = rig.cards()[6]["holders"][0].clone();
    containerd.end(&name);
    assert!(said.contains("card 6 is held by container 000000000000 (not of this Docker Engine"), "{said}");
    let reason = if Path::new("/sys/fs/cgroup/devices").exists() { "device-rule" } else { "device-node" };
    assert_eq!((&holder["id"], &holder["reason"]), (&json!(name), &json!(reason)));
    assert_eq!(rig.request(&["--card-ids", "6"])["cards"], json!([6]));
}

/// What a vendor's tool writes for engines that know CDI; it goes with this.
struct Cdi(PathBuf);

impl Cdi {
    fn write(vendor: &str, node: &str) -> Self {
        let devices = json!([{"name": "3", "containerEdits": {"deviceNodes": [{"path": "/dev/davinci3", "hostPath": node}]}}]);
        let spec = json!({"cdiVersion": "0.5.0", "kind": format!("{vendor}/npu"), "devices": devices});
        std::fs::create_dir_all("/run/cdi").unwrap();
        let cdi = Self(Path::new("/run/cdi").join(format!("{vendor}.json")));
        std::fs::write(&cdi.0, spec.to_string()).unwrap();
        cdi
    }
}

impl Drop for Cdi {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// podman, with all that it keeps in one directory.
struct Podman {
    dir: TempDir,
    name: String,
}

impl Podman {
    fn command(&self, args: &[&str]) -> Command {
        let at = |name: &str| self.dir.path().join(name);
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(at("data")).arg("--runroot").arg(at("run")).arg("--tmpdir").arg(at("tmp"));
        podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "vfs"]);
        podman.args(["--runtime", "runc"]).args(args).stdin(Stdio::null());
        podman
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--force", "--time", "0", &self.name]).output();
    }
}

#[test]
fn a_container_of_podman_s_with_a_cdi_device_holds_that_card() {
    let (Some(rig), Some(())) = (Rig::start(), program("podman")) else { return };
    let vendor = format!("berth-test-{}.com", rig.slot.major());
    let _cdi = Cdi::write(&vendor, &rig.text("state/sim/dev/davinci3"));
    let podman = Podman { dir: tempfile::tempdir().unwrap(), name: format!("cdi-{}", rig.slot.major()) };
    let (root, device) = (root(podman.dir.path()), format!("{vendor}/npu=3"));
    let rootfs = root.display().to_string();
    let log = std::fs::File::create(rig.path("podman.log")).unwrap();
    // podman's own limits may be more than whoever runs the tests may give.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];
    let options = ["--network", "none", "--name", &podman.name, "--device", &device, "--rootfs", &rootfs];
    let start = [&["run", "-d"], &limits[..], &options].concat();
    let program = ["/bin/busybox", "sleep", "600"];
    let mut start = podman.command(&[&start[..], &program].concat());
    let started = start.stdout(Stdio::null()).stderr(log).status().unwrap();
    assert!(started.success(), "{}", std::fs::read_to_string(rig.path("podman.log")).unwrap());
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(
        said.contains("card 3 is held by container ") && said.contains("not of this Docker Engine"),
        "{said}"
    );
    drop(podman);
    assert_eq!(rig.request(&["--card-ids", "3"])["cards"], json!([3]));
}

/// A runtime as Ascend's is, behind a link, under a name that says nothing.
fn engine_with_a_disguised_runtime() -> (TempDir, OwnEngine) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().join("ascend-docker-runtime");
    std::fs::write(&runtime, "#!/bin/sh\nexec runc \"$@\"\n").unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
    let link = dir.path().join("ordinary");
    std::os::unix::fs::symlink(&runtime, &link).unwrap();
    let plain = dir.path().join("runc-by-a-link");
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    std::os::unix::fs::symlink(runc, &plain).unwrap();
    let engine = OwnEngine::start(&json!({"runtimes": {"ordinary": {"path": link}, "npu": {"path": plain}}}));
    (dir, engine)
}

#[test]
fn a_runtime_is_what_its_link_leads_to() {
    if variable("BERTH_TEST_DOCKER").is_none() {
        return;
    }
    let (_dir, engine) = engine_with_a_disguised_runtime();
    let Some(mut rig) = Rig::with(Setup { docker: Some(engine.socket()), ..Setup::default() }) else {
        return;
    };
    let visible = ["-e", "ASCEND_VISIBLE_DEVICES=3"];
    rig.foreign("plain", &[&["--runtime", "npu"][..], &visible].concat());
    assert_eq!(rig.cards()[3]["holders"], json!([]), "runc does nothing with it, whatever it is called");
    let name = rig.foreign("disguised", &[&["--runtime", "ordinary"][..], &visible].concat());
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(said.contains(&name) && said.contains("has it by ASCEND_VISIBLE_DEVICES"), "{said}");
}

/// Docker keeps what a container has in a file, and believes it when it starts again.
#[test]
fn a_berth_whose_devices_were_edited_in_docker_s_files_is_found_and_holds_them() {
    if variable("BERTH_TEST_DOCKER").is_none() {
        return;
    }
    let mut engine = OwnEngine::start(&json!({}));
    let Some(rig) = Rig::with(Setup { docker: Some(engine.socket()), ..Setup::default() }) else { return };
    let berth = rig.request(&["--card-ids", "1"]);
    let container = berth["container_id"].as_str().unwrap();
    engine.stop();
    let file = engine.data().join("containers").join(container).join("hostconfig.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let devices = kept["Devices"].as_array_mut().unwrap();
    let own = devices.iter_mut().find(|device| device["PathInContainer"] == "/dev/davinci1").unwrap();
    own["PathOnHost"] = json!(rig.text("state/sim/dev/davinci5"));
    std::fs::write(&file, kept.to_string()).unwrap();
    engine.start_again();
    // It is tried some times to bring it back, and each time it is stopped before anybody can log in.
    wait_for(&rig, "alice/dev", &["dead"], PATIENCE);
    let shown = rig.ok(&["show", "alice/dev"]);
    assert!(shown.contains("got other devices than its own"), "{shown}");
    engine.docker(&["start", container]);
    wait_for(&rig, "alice/dev", &["devices-changed"], PATIENCE);
    let major = rig.slot.major();
    let shown = rig.ok(&["show", "alice/dev"]);
    assert!(
        shown.contains("started with other devices") && shown.contains(&format!("{major}, 5")),
        "{shown}"
    );
    assert!(told(&rig).contains(&"berth.devices-changed".to_owned()), "{:?}", told(&rig));
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        eprintln!("SKIPPED: on cgroup v2 the rules cannot be read");
        return;
    }
    // Nobody is given the card that it has now.
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "5"]);
    assert!(said.contains("card 5 is held by container alice/dev ("), "{said}");
    rig.ok(&["release", "alice/dev"]);
    assert!(rig.ok(&["request", "--user", "bob", "--card-ids", "5", "--json"]).contains("\"live\""));
}
