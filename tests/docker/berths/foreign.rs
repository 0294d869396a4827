//! Cards that somebody has whom berth did not start: containers, processes, what npu-smi lists.

use crate::machine::{run, until};
use crate::rig::{Rig, Setup};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn a_container_with_a_card_holds_it() {
    let Some(mut rig) = Rig::start() else { return };
    let node = format!("{}:/dev/davinci3", rig.text("state/sim/dev/davinci3"));
    let name = rig.foreign("intruder", &["--device", &node]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(
        said.contains(&format!("card 3 is held by container {name} (")) && said.contains("has its device"),
        "{said}"
    );
    let rule = format!("c {}:5 rwm", rig.slot.major());
    let ruled = rig.foreign("ruled", &["--device-cgroup-rule", &rule]);
    let said = rig.refused(7, &["request", "--user", "alice", "--cards", "7"]);
    assert!(said.contains("only cards 0,1,2,4,6,7 are free") && said.contains(&ruled), "{said}");
    let holder = rig.cards()[3]["holders"][0].clone();
    assert_eq!((&holder["kind"], &holder["reason"]), (&json!("container"), &json!("device")));
    assert_eq!(rig.request(&["--cards", "6"])["cards"], json!([0, 1, 2, 4, 6, 7]));
    until("the events of it", Duration::from_secs(20), || {
        let events = rig.events();
        let taken = events.iter().filter(|event| event["kind"] == "card.taken");
        (taken.filter(|event| event["text"].as_str().unwrap().contains(&name)).count() == 1).then_some(())
    });
    rig.docker(&["rm", "-f", &name]);
    assert_eq!(rig.request(&["--card-ids", "3", "--name", "now"])["state"], "live");
}

#[test]
fn who_takes_a_card_of_a_berth_is_shown_beside_it() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "2"]);
    let node = format!("{}:/dev/x", rig.text("state/sim/dev/davinci2"));
    let name = rig.foreign("thief", &["--device", &node]);
    let holders = rig.cards()[2]["holders"].clone();
    assert_eq!((&holders[0]["kind"], &holders[1]["name"]), (&json!("berth"), &json!(name)));
    rig.ok(&["release", "alice/dev"]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "2"]);
    assert!(said.contains(&name), "{said}");
}

#[test]
fn who_waits_hears_that_a_container_has_gone() {
    let Some(mut rig) = Rig::start() else { return };
    let node = format!("{}:/dev/x", rig.text("state/sim/dev/davinci2"));
    let name = rig.foreign("visitor", &["--device", &node]);
    let log = std::fs::File::create(rig.path("wait")).unwrap();
    let args = ["request", "--user", "alice", "--card-ids", "2", "--wait", "60s"];
    let mut child = rig.command(&args).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until("somebody waits", Duration::from_secs(20), || {
        std::fs::read_to_string(rig.path("wait")).unwrap().contains(&name).then_some(())
    });
    rig.docker(&["rm", "-f", &name]);
    let status = until("the berth", Duration::from_secs(30), || child.try_wait().unwrap());
    assert!(status.success(), "{}", std::fs::read_to_string(rig.path("wait")).unwrap());
}

/// A process that keeps a file open until it is dropped.
struct Opener(Child);

impl Opener {
    fn start(path: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<\"$0\"; echo open; exec sleep 600"]).arg(path);
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No driver answers a simulated node, so nobody can have it open: the loop driver's stands in for one. No container may
/// open that one, and nobody on a machine has it open for long.
fn openable(rig: &Rig, card: u32) -> PathBuf {
    let node = rig.path(&format!("state/sim/dev/davinci{card}"));
    std::fs::remove_file(&node).unwrap();
    run("mknod", &[node.to_str().unwrap(), "c", "10", "237"]);
    node
}

const O_PATH: i32 = 0o10_000_000;

#[test]
fn a_process_with_a_card_open_holds_it() {
    let Some(rig) = Rig::start() else { return };
    let node = openable(&rig, 5);
    // A path is no right to the device, and keeps nobody from it.
    let mut path = std::fs::OpenOptions::new();
    let path = std::os::unix::fs::OpenOptionsExt::custom_flags(path.read(true), O_PATH).open(&node).unwrap();
    assert_eq!(rig.cards()[5]["holders"], json!([]));
    drop(path);
    let opener = Opener::start(&node);
    let pid = opener.0.id();
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "5"]);
    assert!(said.contains(&format!("card 5 is held by process {pid} (sleep of root)")), "{said}");
    let holder = rig.cards()[5]["holders"].clone();
    assert_eq!(holder, json!([{"kind": "process", "pid": pid, "name": "sleep", "user": "root"}]));
    drop(opener);
    until("the card is free", Duration::from_secs(10), || {
        (rig.cards()[5]["holders"] == json!([])).then_some(())
    });
}

#[test]
fn what_npu_smi_lists_holds_a_card() {
    let Some(rig) =
        Rig::with(Setup { config: vec![("[tools]", "npu-smi-max-age = \"0s\"".into())], ..Setup::default() })
    else {
        return;
    };
    rig.ok(&["sim", "fault", "--holder", "5:4242:python"]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "5"]);
    assert!(said.contains("card 5 is held by process 4242 (python)"), "{said}");
    assert!(rig.ok(&["cards"]).contains("process 4242 (python)"));
    rig.ok(&["sim", "clear"]);
    assert_eq!(rig.request(&["--card-ids", "5"])["cards"], json!([5]));
}

#[test]
fn a_card_that_is_cut_is_not_given_out_as_a_whole() {
    let Some(rig) = Rig::start() else { return };
    let node = rig.text("state/sim/dev/vdavinci164");
    run("mknod", &[&node, "c", &rig.slot.major().to_string(), "164"]);
    assert_eq!(rig.cards()[4]["holders"], json!([{"kind": "vnpu", "ids": [164]}]));
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "4"]);
    assert!(said.contains("card 4 is held by vNPU 164, into which it is cut"), "{said}");
    std::fs::remove_file(node).unwrap();
    assert_eq!(rig.request(&["--card-ids", "4"])["cards"], json!([4]));
}

/// A container of runc's, which no engine knows; removed when it is dropped.
struct ByHand {
    root: PathBuf,
    name: String,
}

impl ByHand {
    /// With card 6, as `ctr run --device` makes one.
    fn start(rig: &Rig) -> Self {
        let bundle = rig.path("bundle");
        std::fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        std::fs::copy(busybox.expect("busybox-static is installed"), bundle.join("rootfs/bin/busybox"))
            .unwrap();
        run("runc", &["spec", "--bundle", bundle.to_str().unwrap()]);
        let config = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        let (major, minor) = (rig.slot.major(), 6);
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/bin/busybox", "sleep", "600"]);
        spec["linux"]["devices"] =
            json!([{"path": "/dev/davinci6", "type": "c", "major": major, "minor": minor}]);
        let rules = spec["linux"]["resources"]["devices"].as_array_mut().unwrap();
        rules.push(json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
        std::fs::write(&config, spec.to_string()).unwrap();
        let by_hand = Self { root: rig.path("runc"), name: format!("berth-by-hand-{major}") };
        let log = std::fs::File::create(rig.path("runc.log")).unwrap();
        let mut start = by_hand.runc(&["run", "-d", "--bundle", bundle.to_str().unwrap()]);
        let started = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status().unwrap();
        assert!(started.success(), "{}", std::fs::read_to_string(rig.path("runc.log")).unwrap());
        by_hand
    }

    fn runc(&self, args: &[&str]) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(&self.root).args(args).arg(&self.name);
        runc
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.runc(&["delete", "--force"]).stderr(Stdio::null()).status();
    }
}

#[test]
fn who_runs_beside_docker_holds_the_cards_that_the_kernel_lets_it_use() {
    let Some(rig) = Rig::start() else { return };
    let by_hand = ByHand::start(&rig);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "6"]);
    assert!(said.contains("card 6 is held by cgroup ") && said.contains(&by_hand.name), "{said}");
    let holder = rig.cards()[6]["holders"][0].clone();
    assert_eq!(holder["kind"], json!("cgroup"));
    let reason = if Path::new("/sys/fs/cgroup/devices").exists() { "device-rule" } else { "device-node" };
    assert_eq!(holder["reason"], json!(reason), "{holder}");
    drop(by_hand);
    assert_eq!(rig.request(&["--card-ids", "6"])["cards"], json!([6]));
}

#[test]
fn a_node_in_a_dev_of_its_own_holds_a_card_if_it_may_be_opened() {
    let Some(rig) = Rig::start() else { return };
    let inside = |minor: u32, drop: &str| {
        let script = format!(
            "mount -t tmpfs none /dev && mknod /dev/x c {} {minor} && echo ready && exec {drop} sleep 600",
            rig.slot.major()
        );
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Opener(child)
    };
    let _root = inside(2, "setpriv --bounding-set=-sys_admin,-sys_rawio");
    // These two hold nothing: one has no right to the node, the other every right, as a monitor has.
    let _nobody = inside(3, "setpriv --reuid=65534 --regid=65534 --clear-groups");
    let _monitor = inside(4, "");
    let held = until("the node is seen", Duration::from_secs(10), || {
        let cards = rig.cards();
        (cards[2]["holders"][0]["reason"] == json!("device-node")).then_some(cards)
    });
    assert_eq!(held[2]["holders"][0]["kind"], json!("cgroup"));
    until("the others have become what they are", Duration::from_secs(10), || {
        let cards = rig.cards();
        (cards[3]["holders"] == json!([]) && cards[4]["holders"] == json!([])).then_some(())
    });
}

/// With many descriptors of one file.
const MANY: &str = "import os, sys\nfor _ in range(int(sys.argv[1])): os.dup(0)\n\
                    print('ready', flush=True)\nsys.stdin.read()";
/// With one that was sent over a socket and never received, and in no table.
const ON_ITS_WAY: &str = "import os, socket, sys\nleft, right = socket.socketpair()\n\
                          fd = os.open('/dev/null', os.O_RDONLY)\nsocket.send_fds(left, [b'x'], [fd])\nos.close(fd)\n\
                          print('ready', flush=True)\nsys.stdin.read()";

/// Processes in the device cgroup of a container.
struct Crowd(Vec<Child>);

impl Crowd {
    fn start(container: &str, processes: usize, script: &str, descriptors: usize) -> Self {
        let cgroup = format!("/sys/fs/cgroup/devices/docker/{container}/cgroup.procs");
        let start = || {
            let mut child = Command::new("python3")
                .args(["-c", script, &descriptors.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            std::fs::write(&cgroup, child.id().to_string()).unwrap();
            let mut line = [0; 6];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
            child
        };
        Self((0..processes).map(|_| start()).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The small form of 300 processes with 20,000 descriptors each: more than are looked at. To other tests' agents they are
/// strangers, whose descriptors take all of their time.
#[test]
fn what_a_berth_has_open_neither_costs_a_look_nor_hides_other_cards_alone() {
    let Some(rig) = Rig::start() else { return };
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        eprintln!("SKIPPED: a process can be put into a device cgroup alone only on cgroup v1");
        return;
    }
    let crowded = rig.request(&["--card-ids", "0"]);
    rig.request(&["--card-ids", "5", "--name", "other"]);
    let container = crowded["container_id"].as_str().unwrap().to_owned();
    let crowd = Crowd::start(&container, 15, MANY, 18_000);
    // Nothing in it can have any card but its own.
    let cards = rig.cards();
    assert!(cards[1..5].iter().all(|card| card["holders"] == json!([])), "{cards:?}");
    // Its owner had another berth meanwhile, which may have handed card 5 over: that card alone stays closed.
    rig.ok(&["release", "alice/other"]);
    let cards = rig.cards();
    let holder = &cards[5]["holders"][0];
    assert_eq!((&holder["kind"], &holder["berth"]), (&json!("not-looked"), &json!("alice/dev")), "{cards:?}");
    assert!((1..8).filter(|id| *id != 5).all(|id| cards[id]["holders"] == json!([])), "{cards:?}");
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "5"]);
    assert!(said.contains("perhaps berth alice/dev, with more open files than could be looked at"), "{said}");
    drop(crowd);
    let args = ["request", "--user", "bob", "--card-ids", "5", "--json"];
    assert!(rig.ok(&args).contains("\"live\""));
}

#[test]
fn a_card_that_may_be_on_its_way_to_a_berth_is_not_given_to_others() {
    let Some(rig) = Rig::start() else { return };
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        eprintln!("SKIPPED: a process can be put into a device cgroup alone only on cgroup v1");
        return;
    }
    let kept = rig.request(&["--card-ids", "0"]);
    rig.request(&["--card-ids", "5", "--name", "other"]);
    let sender = Crowd::start(kept["container_id"].as_str().unwrap(), 1, ON_ITS_WAY, 0);
    assert!(
        rig.cards()[1..5].iter().all(|card| card["holders"] == json!([])),
        "nothing can be on its way yet"
    );
    rig.ok(&["release", "alice/other"]);
    let cards = rig.cards();
    let holder = &cards[5]["holders"][0];
    assert_eq!(
        (&holder["kind"], &holder["what"]),
        (&json!("not-looked"), &json!("hidden-files")),
        "{cards:?}"
    );
    assert!((1..8).filter(|id| *id != 5).all(|id| cards[id]["holders"] == json!([])), "{cards:?}");
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "5"]);
    assert!(said.contains("perhaps berth alice/dev, with open files that no table shows"), "{said}");
    drop(sender);
    assert!(rig.ok(&["request", "--user", "bob", "--card-ids", "5", "--json"]).contains("\"live\""));
}

/// Cards of every agent: no other test may run beside it.
#[test]
fn a_privileged_container_holds_cards_if_it_may_use_them_alone() {
    let monitor = format!("monitor-{}", std::process::id());
    let exempt = vec![("[docker]", format!("exempt = [\"{monitor}\"]"))];
    let Some(mut rig) = Rig::with(Setup { config: exempt, ..Setup::default() }) else { return };
    let image = rig.reference("base");
    // The runtime that scripts/test gives its engine where root has not every capability.
    let runtimes = rig.docker(&["info", "--format", "{{json .Runtimes}}"]);
    let runtime: &[&str] = if runtimes.contains("\"rig\"") { &["--runtime", "rig"] } else { &[] };
    let run = |rig: &Rig, name: &str, more: &[&str]| {
        let start = ["run", "-d", "--privileged", "--network", "none", "--name", name];
        let program = [image.as_str(), "/bin/busybox", "sleep", "600"];
        rig.docker(&[&start, runtime, more, &program].concat());
    };
    let cann: &[&str] = &["-e", "ASCEND_TOOLKIT_HOME=/usr/local/Ascend/ascend-toolkit/latest"];
    // Like a node exporter: it could open every card, and has none open.
    let (exporter, user) = (format!("exporter-{}", rig.slot.major()), format!("all-{}", rig.slot.major()));
    run(&rig, &exporter, &[]);
    run(&rig, &monitor, cann);
    let quiet = rig.berth(&["request", "--user", "alice", "--cards", "8"]);
    let cards = rig.cards();
    run(&rig, &user, cann);
    let ran = rig.berth(&["request", "--user", "bob", "--cards", "1"]);
    let held = rig.cards();
    let shown = rig.ok(&["cards"]);
    rig.docker(&["rm", "-f", &exporter, &monitor, &user]);
    assert_eq!(quiet.code, 0, "{quiet:?}");
    assert_eq!(cards[0]["exempt"][0]["name"], json!(monitor));
    assert!(shown.contains(&format!("exempt: container {monitor}")), "{shown}");
    assert_eq!(ran.code, 7, "{ran:?}");
    ran.assert_one_sentence();
    let names: Vec<&Value> =
        held[5]["holders"].as_array().unwrap().iter().map(|holder| &holder["name"]).collect();
    assert_eq!(names, [&json!("dev"), &json!(user)], "{held:?}");
    assert!(ran.err.contains("privileged"), "{ran:?}");
    rig.kill_agent();
}
